from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from models.ofa import OFAForConditionalGeneration
from models.ofa.scoring import ROWS_PER_BLOCK, projected_log_probs

PAD, BANNED = 1, 3
IMAGES, SAMPLES, LENGTH, TEXT_VOCABULARY = 3, 4, 6, 53


@pytest.fixture(scope="module")
def model(tiny_ofa) -> OFAForConditionalGeneration:
    return tiny_ofa(3, text_vocab_size=TEXT_VOCABULARY)


@pytest.fixture
def inputs(tiny_inputs) -> dict[str, torch.Tensor]:
    return tiny_inputs(7)


@pytest.fixture
def captions() -> torch.Tensor:
    """Four per image: one runs to the end, one ends early, one is a single token, one is not counted at all."""
    token_ids = torch.randint(
        4, TEXT_VOCABULARY, (IMAGES * SAMPLES, LENGTH), generator=torch.Generator().manual_seed(1)
    )
    for row, length in zip((1, 2, 3, 9), (4, 1, 0, 2), strict=True):
        token_ids[row, length:] = -100
    return token_ids


def _projection(rows: int, vocabulary: int = 41) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(rows)
    hidden = torch.randn(rows, 9, generator=generator)
    weight = torch.randn(vocabulary, 9, generator=generator)
    token_ids = torch.randint(4, vocabulary, (rows,), generator=generator)
    return hidden, weight, token_ids, torch.randn(rows, generator=generator)


def _plain_log_probs(hidden: torch.Tensor, weight: torch.Tensor, token_ids: torch.Tensor) -> torch.Tensor:
    logits = hidden.double() @ weight.double().T
    banned = torch.arange(len(weight)) == BANNED
    return logits.masked_fill(banned, -torch.inf).log_softmax(-1).gather(-1, token_ids[:, None])[:, 0]


@pytest.mark.parametrize("rows", [1, ROWS_PER_BLOCK, 2 * ROWS_PER_BLOCK + 23])
def test_projected_log_probs_equal_log_softmax_in_value_and_gradients(rows):
    hidden, weight, token_ids, factors = _projection(rows)
    results = []
    for function in (lambda *given: projected_log_probs(*given, BANNED), _plain_log_probs):
        leaves = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
        log_probs = function(*leaves, token_ids)
        (log_probs * factors).sum().backward()
        results.append((log_probs.detach().float(), *(leaf.grad for leaf in leaves)))
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)
    assert not results[0][2][BANNED].any()


def test_projected_log_probs_of_a_frozen_projection_look_at_the_vocabulary_once(monkeypatch):
    from models.ofa import scoring

    hidden, weight, token_ids, _ = _projection(ROWS_PER_BLOCK + 5)
    plain, passes = scoring._block_log_probs, []
    monkeypatch.setattr(scoring, "_block_log_probs", lambda *given: passes.append(1) or plain(*given))
    projected_log_probs(hidden.requires_grad_(), weight, token_ids, BANNED).sum().backward()
    assert len(passes) == 2  # blocks
    assert weight.grad is None
    passes.clear()
    projected_log_probs(hidden, weight.requires_grad_(), token_ids, BANNED).sum().backward()
    assert len(passes) == 4


def test_projected_log_probs_of_the_banned_token_are_minus_infinity_and_of_the_others_sum_to_one():
    hidden, weight, _, _ = _projection(1, vocabulary=11)
    log_probs = projected_log_probs(hidden.expand(11, -1), weight, torch.arange(11), BANNED)
    assert log_probs[BANNED] == -torch.inf
    assert log_probs.exp().sum().item() == pytest.approx(1.0, abs=1e-6)


def _scores_from_logits(model, token_ids: torch.Tensor, temperature: float, **given: torch.Tensor) -> torch.Tensor:
    logits = model(**given, decoder_input_ids=model.shift_right(token_ids), caption_logits=True).logits / temperature
    padding = torch.arange(logits.shape[-1]) == PAD
    log_probs = logits.masked_fill(padding, -torch.inf).log_softmax(-1)
    chosen = log_probs.gather(-1, token_ids.clamp(min=0)[..., None])[..., 0]
    return chosen.masked_fill(token_ids.eq(-100), 0.0)


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_scored_ids_equal_log_softmax_of_the_caption_logits(model, inputs, captions, temperature):
    with torch.no_grad():
        encoded = model(**inputs, encode_only=True).encoder_outputs
        output = model(encoder_outputs=encoded, scored_ids=captions, temperature=temperature)
        expected = _scores_from_logits(model, captions, temperature, encoder_outputs=encoded)
    assert output.logits is None
    torch.testing.assert_close(output.token_log_probs, expected, rtol=1e-5, atol=1e-5)
    assert not output.token_log_probs[captions.eq(-100)].any()


def _gradients(model: OFAForConditionalGeneration, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def _assert_same_gradients(ours: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == expected.keys()
    largest = max(gradient.norm() for gradient in expected.values())
    for name, gradient in expected.items():
        # Key biases shift all scores of a query alike: their gradient is rounding, small beside all others.
        assert (ours[name] - gradient).norm() <= 1e-4 * gradient.norm() + 1e-7 * largest, name


@pytest.mark.parametrize("frozen_embeddings", [True, False])
def test_one_encoder_pass_for_k_captions_equals_k_full_passes_in_the_gradient_of_every_parameter(
    model, inputs, captions, frozen_embeddings
):
    weights = torch.randn(captions.shape, generator=torch.Generator().manual_seed(8))
    model.get_input_embeddings().requires_grad_(not frozen_embeddings)
    encoded = model(**inputs, encode_only=True).encoder_outputs
    shared = model(encoder_outputs=encoded, scored_ids=captions, temperature=0.8).token_log_probs
    ours = _gradients(model, (shared * weights).sum())

    by_sample = captions.unflatten(0, (IMAGES, SAMPLES)).unbind(1)
    separate = [_scores_from_logits(model, token_ids, 0.8, **inputs) for token_ids in by_sample]
    expected = torch.stack(separate, dim=1).flatten(0, 1)
    torch.testing.assert_close(shared, expected, rtol=1e-4, atol=1e-5)
    theirs = _gradients(model, (expected * weights).sum())
    model.get_input_embeddings().requires_grad_(True)

    assert ("encoder.embed_tokens.weight" in ours) != frozen_embeddings
    assert {"encoder.embed_images.conv1.weight", "decoder.layers.1.cross_attn.k_proj.weight"} <= ours.keys()
    _assert_same_gradients(ours, theirs)


def test_positions_that_are_not_counted_have_no_gradient(model, inputs, captions):
    encoded = model(**inputs, encode_only=True).encoder_outputs
    scores = model(encoder_outputs=encoded, scored_ids=captions).token_log_probs
    whole = _gradients(model, scores.sum())
    encoded = model(**inputs, encode_only=True).encoder_outputs
    scores = model(encoder_outputs=encoded, scored_ids=captions).token_log_probs
    _assert_same_gradients(_gradients(model, scores[captions.ne(-100)].sum()), whole)

    encoded = model(**inputs, encode_only=True).encoder_outputs
    nothing = model(encoder_outputs=encoded, scored_ids=torch.full((IMAGES, 3), -100)).token_log_probs
    assert nothing.shape == (IMAGES, 3)
    assert not any(gradient.any() for gradient in _gradients(model, nothing.sum()).values())


def test_captions_of_a_single_token_keep_their_shape(model, inputs, captions):
    first = captions[:, :1].clamp(min=4)
    with torch.no_grad():
        encoded = model(**inputs, encode_only=True).encoder_outputs
        scores = model(encoder_outputs=encoded, scored_ids=first).token_log_probs
        expected = _scores_from_logits(model, first, 1.0, encoder_outputs=encoded)
    assert scores.shape == (IMAGES * SAMPLES, 1)
    torch.testing.assert_close(scores, expected, rtol=1e-5, atol=1e-5)


def test_encode_only_stops_before_the_decoder_and_scoring_needs_no_second_encoder_pass(model, inputs, captions):
    encoded_rows, decoded_rows = [], []
    hooks = [
        model.encoder.register_forward_hook(
            lambda _, given, output: encoded_rows.append(len(output.last_hidden_state))
        ),
        model.decoder.register_forward_hook(lambda _, given, output: decoded_rows.append(len(output))),
    ]
    with torch.no_grad():
        output = model(**inputs, encode_only=True)
        assert (encoded_rows, decoded_rows) == ([IMAGES], [])
        model(encoder_outputs=output.encoder_outputs, scored_ids=captions)
    for hook in hooks:
        hook.remove()
    assert output.logits is output.loss is output.token_log_probs is None
    assert (encoded_rows, decoded_rows) == ([IMAGES], [IMAGES * SAMPLES])


def test_image_features_equal_the_pictures_they_were_computed_from(model, inputs, captions):
    pictures = dict(inputs)
    features = model.encoder.embed_images(pictures.pop("patch_images")).detach()
    from_features = model(**pictures, image_features=features, scored_ids=captions[::SAMPLES])
    from_pictures = model(**inputs, scored_ids=captions[::SAMPLES])
    torch.testing.assert_close(from_features.token_log_probs, from_pictures.token_log_probs, rtol=1e-5, atol=1e-5)
    ours, theirs = (_gradients(model, output.token_log_probs.sum()) for output in (from_features, from_pictures))
    vision = {name for name in theirs if name.startswith("encoder.embed_images.")}
    assert vision
    assert not vision & ours.keys()
    _assert_same_gradients(ours, {name: theirs[name] for name in theirs.keys() - vision})


def test_scored_ids_give_the_golden_self_critical_loss(shared):
    """The golden loss is a softmax over all 320 tokens, padding included; ours leaves padding out.

    So small a vocabulary has no codes, and nothing else is cut off: log p = log p(no padding) + log(1 - p(padding)),
    where the probability of padding is that of the golden logits.
    """
    folder = shared / "golden/ofa/small"
    given, outputs = (load_file(folder / f"{name}.safetensors") for name in ("inputs", "outputs"))
    golden = json.loads((folder / "scalars.json").read_bytes())["scst_loss_sum"]
    opened = OFAForConditionalGeneration.from_pretrained(folder).eval()
    assert opened.config.text_vocab_size == opened.config.vocab_size == 320
    counted = given["target"].ne(PAD)
    scored_ids = given["target"].masked_fill(~counted, -100)
    assert torch.equal(opened.shift_right(scored_ids)[counted], given["decoder_input_ids"][counted])
    pictures = {name: given[name] for name in ("input_ids", "patch_images", "patch_masks")}
    with torch.no_grad():
        encoded = opened(**pictures, encode_only=True).encoder_outputs
        without_padding = opened(encoder_outputs=encoded, scored_ids=scored_ids).token_log_probs
    padding = outputs["logits"].softmax(-1)[..., PAD].masked_fill(~counted, 0.0)
    assert padding.max() > 1e-4  # or the correction would show nothing
    log_probs = without_padding + torch.log1p(-padding)
    assert -(log_probs * given["reward"][:, None]).sum().item() == pytest.approx(golden, rel=1e-5)
