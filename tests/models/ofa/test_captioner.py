from __future__ import annotations

import copy

import pytest
import torch

from models.ofa.captioner import OFACaptioner
from models.rules import generate_arguments
from models.settings import Decoding
from trainers.losses.cross_entropy import token_log_probs

PAD, EOS, TEXT_VOCABULARY = 1, 2, 23
DECODING = Decoding(num_beams=3, max_length=6, min_length=1, no_repeat_ngram_size=2)


@pytest.fixture
def captioner(tiny_ofa):
    return OFACaptioner(tiny_ofa(14, text_vocab_size=TEXT_VOCABULARY), None)


@pytest.fixture
def batch(tiny_inputs):
    """Three pictures, the last masked out; entries that are no inputs are passed over."""
    return tiny_inputs(7) | {"rows": torch.arange(3), "labels": torch.zeros(3, 2).long()}


@pytest.fixture
def captions():
    """Two of each picture, of different lengths."""
    return torch.tensor([[4, 9, EOS], [22, EOS, -100], [5, 6, 7], [EOS, -100, -100], [8, 8, EOS], [21, 20, EOS]])


def test_logits_of_encoded_pictures_equal_the_model_s_own(captioner, batch, captions):
    before = torch.tensor([[0, 4, 9], [0, 22, EOS], [0, 5, 6], [0, EOS, PAD], [0, 8, 8], [0, 21, 20]])
    inputs = {name: batch[name].repeat_interleave(2, 0) for name in ("input_ids", "patch_images", "patch_masks")}
    with torch.no_grad():
        ours = captioner.logits(captioner.encode(batch), captions)
        theirs = captioner.module(**inputs, decoder_input_ids=before).logits
    assert ours.shape == (6, 3, 67)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_logits_of_uneven_captions_are_those_of_each_picture_repeated(captioner, batch, captions):
    """One, none and five captions of the three pictures; gradients reach the encoder alike."""
    rows = torch.tensor([0, 2, 2, 2, 2, 2])
    inputs = {name: batch[name][rows] for name in ("input_ids", "patch_images", "patch_masks")}
    found = []
    for encoded, caption_rows in ((captioner.encode(batch), rows), (captioner.encode(inputs), None)):
        captioner.module.zero_grad()
        logits = captioner.logits(encoded, captions, caption_rows=caption_rows)
        (logits * torch.linspace(-1, 1, logits.numel()).view_as(logits)).sum().backward()
        gradients = [p.grad for p in captioner.module.parameters() if p.grad is not None]
        found.append((logits.detach(), torch.cat([gradient.flatten() for gradient in gradients])))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-5, atol=1e-5)
    assert (found[0][1] - found[1][1]).norm() <= 1e-5 * found[1][1].norm()


def test_packed_logits_are_those_of_the_tokens_that_count(captioner, batch, captions):
    with torch.no_grad():
        encoded = captioner.encode(batch)
        packed = captioner.logits(encoded, captions, packed=True)
        whole = captioner.logits(encoded, captions)
    assert packed.shape == (15, 67)
    torch.testing.assert_close(packed, whole[captions.ne(-100)], rtol=1e-5, atol=1e-5)


def test_drawable_logits_hold_what_a_caption_can_be_made_of_without_padding(captioner, batch, captions):
    with torch.no_grad():
        encoded = captioner.encode(batch)
        drawable = captioner.logits(encoded, captions, drawable=True)
        whole = captioner.logits(encoded, captions)
    assert drawable.shape == (6, 3, TEXT_VOCABULARY)
    assert drawable[..., PAD].isneginf().all()
    rest = [token for token in range(TEXT_VOCABULARY) if token != PAD]
    torch.testing.assert_close(drawable[..., rest], whole[..., rest], rtol=1e-6, atol=1e-6)


def test_token_log_probs_equal_those_of_drawable_logits(captioner, batch, captions):
    encoded = captioner.encode(batch)
    ours = captioner.token_log_probs(encoded, captions, temperature=0.7)
    logits = captioner.logits(encoded, captions, drawable=True) / 0.7
    expected = token_log_probs(logits, captions.clamp(min=0)).masked_fill(captions.lt(0), 0.0)
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)
    assert ours.requires_grad
    assert (ours[captions.lt(0)] == 0).all()


@pytest.mark.parametrize("force_end", [True, False])
def test_beams_equal_generate_on_the_pictures(captioner, batch, force_end):
    inputs = {name: batch[name] for name in ("input_ids", "patch_images", "patch_masks")}
    ours = captioner.beams(captioner.encode(batch), DECODING, num_captions=2, force_end=force_end)
    forced = {} if force_end else {"forced_eos_token_id": None}
    theirs = captioner.module.generate(**inputs, **generate_arguments(DECODING), num_return_sequences=2, **forced)
    assert torch.equal(ours, theirs[:, 1:].masked_fill(theirs[:, 1:].eq(PAD), -100))


def test_through_calls_what_it_is_given_and_leaves_the_first_alone(captioner, batch, captions):
    other = copy.deepcopy(captioner.module)
    with torch.no_grad():
        other.decoder.output_projection.weight.zero_()
    through = captioner.through(other)
    assert through.logits(through.encode(batch), captions).abs().max() == 0
    assert captioner.logits(captioner.encode(batch), captions).abs().max() > 0
    assert through.module is captioner.module


def test_frozen_copy_stays_as_it_was(captioner, batch, captions):
    frozen = captioner.frozen_copy()
    before = frozen.logits(frozen.encode(batch), captions)
    beams = frozen.beams(frozen.encode(batch), DECODING)
    with torch.no_grad():
        for parameter in captioner.module.decoder.parameters():
            parameter.mul_(0.3)
    assert torch.equal(frozen.logits(frozen.encode(batch), captions), before)
    assert torch.equal(frozen.beams(frozen.encode(batch), DECODING), beams)
    assert not before.requires_grad
    assert not torch.equal(captioner.logits(captioner.encode(batch), captions), before)


def test_captions_are_made_in_the_weights_number_format_though_a_trainer_wraps_the_forward_pass(captioner, batch):
    plain = captioner.encode(batch).last_hidden_state
    forward = captioner.module.forward
    captioner.module.forward = torch.autocast("cpu", torch.bfloat16)(forward)  # what accelerate does to a model
    assert torch.equal(captioner.encode(batch).last_hidden_state, plain)
    through = captioner.through(captioner.module)
    assert not torch.equal(through.encode(batch).last_hidden_state, plain)


def test_parts_cover_what_is_frozen_by_name(captioner):
    parts = captioner.parts()
    assert parts["vision"] == [captioner.module.encoder.embed_images]
    assert parts["decoder"] == [captioner.module.decoder]
    assert {module.weight.shape for module in parts["embeddings"]} == {(67, 32)}
    names = {name for name, module in captioner.module.decoder.named_children() if module in [*parts["unused"]]}
    assert names == {"embed_image_positions", "image_pos_ln", "image_rel_pos_table_list", "code_layernorm_embedding"}


def test_limits_are_those_of_the_position_tables(captioner):
    assert captioner.limits() == (16, 5 * 16, 32 - 2)


SHOWN = torch.tensor([1, 0, 1, 1, 0])


@pytest.mark.parametrize("as_features", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_rows_that_share_a_picture_are_encoded_as_if_each_had_its_own(captioner, as_features, masked):
    """States and gradients, with the picture of one row masked out; the vision network sees two pictures for five."""
    generator = torch.Generator().manual_seed(2)
    given = {"input_ids": torch.randint(4, 67, (5, 6), generator=generator)}
    pictures = torch.randn(2, 3, 64, 48, generator=generator)
    if masked:
        given["patch_masks"] = torch.tensor([True, True, False, True, True])
    vision = captioner.module.encoder.embed_images
    name = "image_features" if as_features else "patch_images"
    pictures = vision(pictures).detach() if as_features else pictures
    seen = []
    vision.register_forward_hook(lambda module, passed, out: seen.append(len(out)))

    def states_and_gradients(batch):
        captioner.module.zero_grad()
        states = captioner.encode(batch).last_hidden_state
        (states * torch.arange(1.0, states.shape[-1] + 1) * SHOWN[:, None, None].add(1)).sum().backward()
        parameters = captioner.module.encoder.named_parameters()
        return states, {name: value.grad.clone() for name, value in parameters if value.grad is not None}

    states, gradients = states_and_gradients(given | {name: pictures, "picture_rows": SHOWN})
    expected, expected_gradients = states_and_gradients(given | {name: pictures[SHOWN]})
    torch.testing.assert_close(states, expected, rtol=1e-5, atol=1e-5)
    assert gradients.keys() == expected_gradients.keys()
    for key, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected_gradients[key], rtol=1e-3, atol=1e-3, msg=key)
    assert seen == ([] if as_features else [2, 5])
