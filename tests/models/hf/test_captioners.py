"""Every captioner of transformers says of captions what its own class says, though its pictures pass it once."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoTokenizer

from models import open_captioner
from models.hf.network import CAPTIONS_PER_ROW
from models.settings import CaptionerSettings, Decoding
from preprocessors.pictures.feature_cache import in_evaluation
from preprocessors.pictures.images import MEAN_STD
from preprocessors.text.captions import encode_caption, encode_words
from preprocessors.text.styles import StyleRegistry
from tests.hf_folders import score_with_smolvlm, write_smolvlm

LENGTH, SAMPLES = 6, 3
PLAIN = Decoding(num_beams=1, max_length=LENGTH, min_length=0, no_repeat_ngram_size=0)


@pytest.fixture(scope="module")
def encoded(case, batch):
    with torch.no_grad():
        return case.captioner.encode(batch)


@pytest.fixture(scope="module")
def uniforms():
    return torch.rand(3, SAMPLES, LENGTH, dtype=torch.float64, generator=torch.Generator().manual_seed(8))


def _tokens(row: torch.Tensor) -> list[int]:
    return [token for token in row.tolist() if token >= 0]


@torch.no_grad()
def test_logits_equal_the_class_s_own(case, batch, encoded, captions):
    logits = case.captioner.logits(encoded, captions)
    assert logits.shape == (6, 3, len(case.captioner.tokenizer))
    for row, caption in enumerate(captions):
        own = case.own_logits(batch, row // 2, _tokens(caption))
        torch.testing.assert_close(logits[row, : len(own)], own, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_logits_of_uneven_packed_and_many_captions_are_the_same(case, encoded, captions):
    captioner = case.captioner
    rows = torch.tensor([0, 2, 2, 2, 2, 2])
    wanted = captioner.logits(encoded.__class__(*(part if part is None else part[rows] for part in encoded)), captions)
    uneven = captioner.logits(encoded, captions, caption_rows=rows)
    counted = captions.ge(0)
    torch.testing.assert_close(uneven[counted], wanted[counted], rtol=1e-5, atol=1e-5)
    packed = captioner.logits(encoded, captions, caption_rows=rows, packed=True)
    torch.testing.assert_close(packed, wanted[counted], rtol=1e-5, atol=1e-5)

    first = captioner.logits(encoded, captions[:, :1])  # of which nothing stands behind the prefix
    torch.testing.assert_close(first, captioner.logits(encoded, captions)[:, :1], rtol=1e-5, atol=1e-5)

    many = captions[:, None].expand(-1, CAPTIONS_PER_ROW, -1).flatten(0, 1)  # 32 of each picture: rows of their own
    found = captioner.logits(encoded, many).unflatten(0, (6, -1))
    same = captioner.logits(encoded, captions)
    torch.testing.assert_close(found[:, -1][counted], same[counted], rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 0.8)])
def test_sampled_captions_equal_those_drawn_one_by_one(case, batch, encoded, uniforms, temperature, top_p):
    drawn = case.captioner.sample(encoded, uniforms, with_greedy=True, temperature=temperature, top_p=top_p)
    ended = 0
    for row, caption in enumerate(drawn):
        image, number = divmod(row, SAMPLES + 1)
        draws = uniforms[image, number].tolist() if number < SAMPLES else [None] * LENGTH
        expected = _draw(case, batch, image, draws, temperature, top_p)
        assert _tokens(caption) == expected
        ended += case.captioner.tokenizer.eos_token_id in expected
    assert 0 < ended < len(drawn)


def _draw(case, batch, image, uniforms, temperature, top_p) -> list[int]:
    """One caption in full passes of the class, in float64; None draws the likeliest."""
    caption: list[int] = []
    for uniform in uniforms:
        logits = case.own_logits(batch, image, [*caption, 0])[-1]
        logits[case.banned()] = -torch.inf
        chances = (logits.double() / temperature).softmax(-1)
        order = chances.argsort(descending=True)
        inside = chances[order].cumsum(0) - chances[order] < top_p
        chances[order[~inside]] = 0.0
        sums = chances.cumsum(0)
        caption.append(int(order[0]) if uniform is None else int((sums <= uniform * sums[-1]).sum()))
        if caption[-1] == case.captioner.tokenizer.eos_token_id:
            break
    return caption


@torch.no_grad()
@pytest.mark.parametrize("num_beams", [1, 3])
def test_beams_equal_the_class_s_own_generate(case, batch, encoded, num_beams):
    found = case.captioner.beams(encoded, replace(PLAIN, num_beams=num_beams), force_end=False)
    options = {"num_beams": num_beams, "max_new_tokens": LENGTH + 1, "suppress_tokens": case.banned()}
    options |= {"renormalize_logits": True, "early_stopping": num_beams > 1}
    for image, caption in enumerate(found):
        prompt = [t for t in batch["input_ids"][image].tolist() if t != case.captioner.tokenizer.pad_token_id]
        own = case.generate(case.own, batch["patch_images"][image, None], prompt, **options)
        assert _tokens(caption) == own[: len(_tokens(caption))]
        assert len(own) == len(_tokens(caption))


@torch.no_grad()
def test_beams_obey_the_rules(case, encoded):
    tokenizer = case.captioner.tokenizer
    found = case.captioner.beams(
        encoded, Decoding(num_beams=4, max_length=5, min_length=3, no_repeat_ngram_size=2), num_captions=2
    )
    assert len(found) == 6
    for caption in map(_tokens, found):
        assert caption[-1] == tokenizer.eos_token_id
        assert 4 <= len(caption) <= 6
        pairs = list(zip(caption, caption[1:], strict=False))
        assert len({*pairs}) == len(pairs)
        assert not {*caption[:-1]} & {*case.banned(), tokenizer.eos_token_id}


@torch.no_grad()
def test_guided_captions_are_drawn_from_the_combined_log_probabilities(case, batch, encoded, uniforms):
    """With a weight of 2: twice what the prompt adds to the neutral one, worked out with the class."""
    plain = case.batch(*["the"] * 3) | {"patch_images": batch["patch_images"]}
    neutral = case.captioner.encode(plain)
    drawn = case.captioner.sample(encoded, uniforms, guidance=2.0, neutral=neutral)
    for row, caption in enumerate(map(_tokens, drawn)):
        image, number = divmod(row, SAMPLES)
        styled, other = (case.own_logits(inputs, image, caption).double().log_softmax(-1) for inputs in (batch, plain))
        scores = 2 * styled - other
        scores[:, case.banned()] = -torch.inf
        sums = scores.softmax(-1).cumsum(-1)
        targets = uniforms[image, number, : len(caption), None]
        assert caption == (sums <= targets * sums[:, -1:]).sum(-1).tolist()
    rules = replace(PLAIN, num_beams=2, guidance=0.0)
    asked = case.captioner.beams(encoded, rules, neutral=neutral)
    assert torch.equal(asked, case.captioner.beams(neutral, replace(rules, guidance=1.0)))


@torch.no_grad()
def test_prefix_stands_first_and_steps_go_on_from_it(case, batch, encoded, captions):
    captioner, eos = case.captioner, case.captioner.tokenizer.eos_token_id
    prefix = captions[0, :2].tolist()
    (uniform,) = torch.rand(1, 1, 4, dtype=torch.float64)
    one = captioner.encode({name: tensor[:1] for name, tensor in batch.items()})
    drawn = captioner.sample(one, uniform[None], prefix=prefix)
    assert _tokens(drawn[0])[:2] == prefix
    assert captioner.beams(encoded, PLAIN, prefix=prefix)[:, :2].tolist() == [prefix] * 3

    steps = captioner.steps(one, prefix, 3)
    steps.take(torch.tensor([0, 0, 0]), captions[0].clone())
    steps.take(torch.tensor([2, 0]), torch.tensor([captions[3, 1], eos]))  # rows swap and one goes
    for row, said in enumerate(([captions[0, 2], captions[3, 1]], [captions[0, 0], eos])):
        scores = case.own_logits(batch, 0, [*prefix, *map(int, said), 0])[-1]
        scores[case.banned()] = -torch.inf
        expected = scores.log_softmax(-1)[: steps.log_probs.shape[1]]
        torch.testing.assert_close(steps.log_probs[row], expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match=r"\d+ tokens of prompt and caption: the model has positions for \d+"):
        captioner.steps(one, prefix, 10_000)


@torch.no_grad()
def test_fused_scores_are_added(case, encoded):
    """A model that wants one token alone gets it at every place."""
    wanted = int(case.captioner._drawable().nonzero()[9])
    wish = F.one_hot(torch.tensor(wanted), len(case.captioner.tokenizer)).float() * 1e4
    found = case.captioner.beams(encoded, PLAIN, fusion=lambda ids: wish.expand(len(ids), -1), force_end=False)
    assert found[:, :LENGTH].eq(wanted).all()
    uniforms = torch.rand(3, 2, LENGTH, dtype=torch.float64)
    assert case.captioner.sample(encoded, uniforms, fusion=lambda ids: wish.expand(len(ids), -1)).eq(wanted).all()


def test_gradients_of_shared_rows_equal_those_of_the_class(case, batch, captions):
    """Of the captions' log-probabilities with unequal weights, over all parameters."""
    weights = torch.tensor([0.5, -1.0, 2.0, 0.3, -0.7, 1.1])
    captioner = case.captioner
    scores = captioner.token_log_probs(captioner.encode(batch), captions, temperature=0.8)
    assert scores[captions.lt(0)].eq(0).all()
    (scores.sum(1) * weights).sum().backward()
    ours = {name: p.grad.clone() for name, p in captioner.module.named_parameters() if p.grad is not None}
    captioner.module.zero_grad(set_to_none=True)

    own, total = case.own, torch.zeros(())
    for row, caption in enumerate(map(_tokens, captions)):
        logits = case.own_logits(batch, row // 2, caption) / 0.8
        logits = logits.index_fill(-1, torch.tensor(case.banned()), -torch.inf)
        chosen = logits.log_softmax(-1).gather(-1, torch.tensor(caption)[:, None]).sum()
        torch.testing.assert_close(scores[row].sum(), chosen, rtol=1e-5, atol=1e-4)
        total = total + weights[row] * chosen
    total.backward()
    theirs = {name: p.grad.clone() for name, p in own.named_parameters() if p.grad is not None}
    own.zero_grad(set_to_none=True)
    assert ours.keys() == theirs.keys() == {name for name, _ in own.named_parameters()}  # else processes would wait
    left, right = (torch.cat([found[name].flatten() for name in theirs]) for found in (ours, theirs))
    assert (left - right).norm() <= 1e-5 * right.norm()


@torch.no_grad()
def test_each_picture_passes_the_vision_network_once_and_each_prompt_the_decoder(case, batch, captions):
    """Of three prompts that share two pictures, with 4 captions each and their scores."""
    captioner, seen, prefilled = case.captioner, [], []
    (vision,) = captioner.parts()["vision"]
    hook = vision.network.register_forward_hook(lambda module, given, found: seen.append(len(given[0])))
    decode = captioner.module.decode
    captioner.module.decode = lambda embeddings, *rest: prefilled.append(embeddings.shape) or decode(embeddings, *rest)
    try:
        inputs = batch | {"patch_images": batch["patch_images"][:2], "picture_rows": torch.tensor([0, 0, 1])}
        encoded = captioner.encode(inputs)
        drawn = captioner.sample(encoded, torch.rand(3, 3, LENGTH, dtype=torch.float64), with_greedy=True)
        captioner.token_log_probs(encoded, drawn)
    finally:
        hook.remove()
        del captioner.module.decode
    assert seen == [2]
    assert {shape[0] for shape in prefilled} == {3}  # rows are pictures with prompts, never captions
    expected = captioner.encode(batch | {"patch_images": inputs["patch_images"][[0, 0, 1]]})
    torch.testing.assert_close(captioner.logits(encoded, captions), captioner.logits(expected, captions))


@torch.no_grad()
def test_features_stand_in_for_pictures(case, batch, encoded, captions):
    (vision,) = case.captioner.parts()["vision"]
    features = vision(batch["patch_images"])
    assert features.ndim == 4
    assert features.shape[0] == 3
    inputs = {
        "input_ids": batch["input_ids"],
        "image_features": torch.stack([*features]),
        "patch_masks": torch.tensor([True] * 3),
    }
    found = case.captioner.logits(case.captioner.encode(inputs), captions)
    torch.testing.assert_close(found, case.captioner.logits(encoded, captions), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_what_is_filled_up_and_what_else_is_in_the_batch_changes_nothing(case, batch, encoded, uniforms):
    drawn = case.captioner.sample(encoded, uniforms)
    alone = case.captioner.encode({name: tensor[1:2] for name, tensor in batch.items()})
    rows = case.captioner.sample(alone, uniforms[1:2])
    assert [*map(_tokens, rows)] == [*map(_tokens, drawn)][SAMPLES : 2 * SAMPLES]


@torch.no_grad()
def test_prompts_without_pictures_are_read(case, batch, captions):
    text = {"input_ids": batch["input_ids"]}
    alone = case.captioner.logits(case.captioner.encode(text), captions)
    assert alone.isfinite().all()
    shown = case.captioner.logits(case.captioner.encode(batch), captions)
    assert not torch.allclose(alone, shown, atol=1e-3)
    masked = batch | {"patch_masks": torch.tensor([True, False, True])}
    other = batch["patch_images"].clone()
    other[1] += 1.0
    first, second = (
        case.captioner.logits(case.captioner.encode(masked | {"patch_images": pictures}), captions)
        for pictures in (batch["patch_images"], other)
    )
    torch.testing.assert_close(first, second)  # a picture that is masked out is not seen
    torch.testing.assert_close(first[:2], shown[:2], rtol=1e-5, atol=1e-5)


def test_style_token_is_one_entry_wherever_it_stands_and_is_saved(case, tmp_path):
    captioner = open_captioner(case.folder)
    tokenizer, before = captioner.tokenizer, len(captioner.tokenizer)
    old = captioner.family.text_model(captioner.module).get_input_embeddings().weight.detach().clone()
    captioner.add_style_tokens({"<style_0>": "dog", "<style_1>": "two people"})
    assert len(tokenizer) == before + 2
    (first,) = tokenizer.encode_text("<style_0>")
    assert first == before
    for text in ("a <style_1> reply", "a<style_1>reply", " <style_1>."):
        assert tokenizer.encode_text(text).count(before + 1) == 1
    text_model = captioner.family.text_model(captioner.module)
    weight = text_model.get_input_embeddings().weight
    assert text_model.get_output_embeddings().weight is weight  # still tied
    assert text_model.get_output_embeddings().weight.shape[0] == before + 2
    torch.testing.assert_close(weight[:before], old)
    torch.testing.assert_close(weight[before + 1], old[tokenizer.encode_text(" two people")].mean(0))
    assert tokenizer.decode_caption([before, *tokenizer.encode_text(" a dog")]) == "a dog"  # nobody reads it

    captioner.save(tmp_path, None)
    again = open_captioner(tmp_path)
    assert again.tokenizer.style_tokens == ["<style_0>", "<style_1>"]
    assert again.vision() == captioner.vision()
    state, opened = captioner.module.state_dict(), again.module.state_dict()
    assert state.keys() == opened.keys()
    assert all(torch.equal(tensor, opened[name]) for name, tensor in state.items())
    again.add_style_tokens({"<style_0>": "sea"})
    assert len(again.tokenizer) == before + 2
    assert torch.equal(again.family.text_model(again.module).get_input_embeddings().weight, weight)


@torch.no_grad()
def test_saved_folder_is_opened_by_transformers_itself(case, batch, captions, tmp_path):
    captioner = open_captioner(case.folder)
    captioner.add_style_tokens({"<style_0>": "dog"})
    captioner.save(tmp_path, None)
    own, info = type(case.own).from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    library = AutoTokenizer.from_pretrained(tmp_path)
    assert len(library) == len(captioner.tokenizer)
    text = "look at <style_0> in the sea"
    assert library(text, add_special_tokens=False).input_ids == captioner.tokenizer.encode_text(text)
    caption = _tokens(captions[0])
    ours = captioner.logits(captioner.encode(batch), captions)[0]
    torch.testing.assert_close(case.own_logits(batch, 0, caption, own.eval()), ours, rtol=1e-5, atol=1e-5)


def test_what_a_person_writes_is_no_special_token(case):
    tokenizer = case.captioner.tokenizer
    special = {*case.banned(), tokenizer.eos_token_id}
    for text in ("[SEP] [PAD]", "</s> <pad> <s>", "<|im_end|>"):
        unknown = {n for n in special if tokenizer.library.id_to_token(n) == "[UNK]"}
        assert not {*tokenizer.encode_text(text)} & (special - unknown)


def test_texts_come_back_from_their_tokens(case):
    tokenizer = case.captioner.tokenizer
    for text in ("two people look at the sea", "a dog runs"):
        assert tokenizer.decode_caption([*tokenizer.encode_text(f" {text}"), tokenizer.eos_token_id, 5]) == text
    pieces = tokenizer.pieces()
    assert len(pieces) == len(tokenizer)
    joined = b"".join(pieces[token] for token in tokenizer.encode_text(" a dog"))
    assert joined == b" a dog"
    assert not pieces[tokenizer.eos_token_id]


def test_a_vision_network_that_is_frozen_stays_in_evaluation(case):
    captioner = case.captioner.frozen_copy()
    module = captioner.module.requires_grad_(True)
    assert module.train().vision_network().training
    for part in captioner.parts()["vision"]:
        part.requires_grad_(False)
    assert not module.train().vision_network().training
    assert module.training
    assert all(parameter.requires_grad for part in captioner.parts()["decoder"] for parameter in part.parameters())


def test_embeddings_are_with_what_is_tied_to_them_and_stages_can_be_trained_alone(case):
    parts = case.captioner.parts()
    ids = [id(parameter) for module in parts["embeddings"] for parameter in module.parameters()]
    assert id(case.captioner.family.text_model(case.captioner.module).get_output_embeddings().weight) in ids
    (vision,) = parts["vision"]
    within = {id(parameter) for parameter in vision.parameters()}
    for stage in parts["vision_stages"]:
        assert {id(parameter) for parameter in stage.parameters()} <= within
    assert len(parts["vision_stages"]) > 1


def test_new_one_is_refused(case):
    from models.captioner import NewModel

    wanted = NewModel("nano", {}, [], [], 300, 0, 1)
    with pytest.raises(ValueError, match=r"model\.preset=nano: .* is opened from a folder \(model\.name\)"):
        type(case.captioner).new(wanted)


def test_looking_at_pictures_leaves_the_mode_as_it_was(case):
    captioner = case.captioner.frozen_copy()
    captioner.module.requires_grad_(True)
    for mode in (False, True):
        captioner.module.train(mode)
        (vision,) = captioner.parts()["vision"]
        with in_evaluation(vision):
            assert not captioner.module.vision_network().training
        assert captioner.module.vision_network().training is mode


@pytest.mark.parametrize("inject", ["code", "token"])
def test_style_that_would_be_read_in_pieces_is_refused(case, inject):
    registry = StyleRegistry(["pirate"], inject=inject)
    settings = CaptionerSettings(32, 32, MEAN_STD["half"], "a {} dog", "a dog", (), PLAIN)
    captioner = open_captioner(case.folder)
    with pytest.raises(ValueError, match=f"style.inject={inject}: .* has no <.*_0> in its vocabulary and would read"):
        captioner.preprocessor(registry, settings)
    captioner.add_style_tokens({registry.token_of(name): name for name in registry.names})
    ids = captioner.preprocessor(registry, settings).prompt_ids("pirate")
    assert len(captioner.tokenizer) - 2 in ids


@torch.no_grad()
def test_half_precision_is_close(case, batch, encoded, captions, uniforms):
    """Under autocast, as in training, where numbers of both formats meet in the attention."""
    counted = captions.ge(0)
    with torch.autocast("cpu", torch.bfloat16):
        half = case.captioner.encode(batch)
        logits = case.captioner.logits(half, captions)[counted]
        assert case.captioner.sample(half, uniforms).shape[0] == 3 * SAMPLES
        assert len(case.captioner.beams(half, PLAIN)) == 3
    full = case.captioner.logits(encoded, captions)[counted]
    assert (logits.float() - full).norm() < 0.05 * full.norm()


def test_caption_of_a_conversation_begins_with_the_space_of_its_template(tmp_path):
    """The models were trained on "Assistant: a dog", whose first word is another token than that of "a dog"."""
    write_smolvlm(tmp_path)
    tokenizer = open_captioner(tmp_path).tokenizer
    answer, whole = (tokenizer.encode_text(text) for text in ("\nAssistant:", "\nAssistant: a dog runs"))
    assert [*answer, *encode_caption(tokenizer, "a dog runs")] == whole
    assert encode_caption(tokenizer, "a dog runs") != tokenizer.encode_text("a dog runs")
    assert encode_caption(tokenizer, "") == []
    words = [token for word in ("a", " dog", " runs") for token in encode_words(tokenizer, word)]
    assert words == tokenizer.encode_text("a dog runs")  # as they stand in the prompt of masked captions


@torch.no_grad()
def test_idefics3_is_read_as_smolvlm_is(tmp_path):
    own = write_smolvlm(tmp_path, family="Idefics3")
    captioner = open_captioner(tmp_path)
    ids = [
        captioner.tokenizer.bos_token_id,
        *captioner.tokenizer.encode_text("a dog"),
        captioner.tokenizer.eos_token_id,
    ]
    picture = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    encoded = captioner.encode({"input_ids": torch.tensor([ids]), "patch_images": picture})
    caption = [20, 21, 22]
    logits = captioner.logits(encoded, torch.tensor([caption]))[0]
    torch.testing.assert_close(logits, score_with_smolvlm(own, picture, ids, caption), rtol=1e-5, atol=1e-5)
