from __future__ import annotations

import copy

import pytest
import torch

from models.ofa.sampling import sample_captions

BOS, PAD, EOS = 0, 1, 2
IMAGES, SAMPLES, LENGTH, TEXT_VOCABULARY = 3, 4, 9, 23


@pytest.fixture(scope="module")
def model(tiny_ofa):
    # With this seed some captions end and some run to the limit, however they are made.
    return tiny_ofa(14, text_vocab_size=TEXT_VOCABULARY)


@pytest.fixture(scope="module")
def inputs(tiny_inputs) -> dict[str, torch.Tensor]:
    return tiny_inputs(7)


@pytest.fixture(scope="module")
def encoded(model, inputs):
    with torch.no_grad():
        return model.encoder(**inputs)


@pytest.fixture
def uniforms() -> torch.Tensor:
    generator = torch.Generator().manual_seed(11)
    return torch.rand(IMAGES, SAMPLES, LENGTH, dtype=torch.float64, generator=generator)


def _draw_one_by_one(model, inputs, uniforms, temperature: float = 1.0, top_p: float = 1.0) -> torch.Tensor:
    """The captions, each in full passes of its own without cache, drawn in float64; top-p by a loop."""
    captions = torch.full(uniforms.shape, -100)
    for image, sample in torch.cartesian_prod(torch.arange(IMAGES), torch.arange(uniforms.shape[1])).tolist():
        one, tokens = {key: value[image, None] for key, value in inputs.items()}, [BOS]
        for position, uniform in enumerate(uniforms[image, sample].tolist()):
            logits = model(**one, decoder_input_ids=torch.tensor([tokens])).logits[0, -1, :TEXT_VOCABULARY]
            logits[PAD] = -torch.inf
            probabilities = (logits.double() / temperature).softmax(-1).tolist()
            left = 1.0
            for token in sorted(range(TEXT_VOCABULARY), key=lambda token: probabilities[token]):
                if left - probabilities[token] < top_p:
                    break
                left -= probabilities[token]
                probabilities[token] = 0.0
            target = uniform * sum(probabilities)
            token = next(token for token in range(TEXT_VOCABULARY) if sum(probabilities[: token + 1]) > target)
            captions[image, sample, position] = token
            tokens.append(token)
            if token == EOS:
                break
    return captions.flatten(0, 1)


def _widen(captions: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.pad(captions, (0, LENGTH - captions.shape[1]), value=-100)


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 1.0), (1.6, 0.8)])
@torch.no_grad()
def test_sampled_captions_equal_those_drawn_one_by_one(model, inputs, encoded, uniforms, temperature, top_p):
    drawn = sample_captions(model, encoded, uniforms, temperature=temperature, top_p=top_p)
    expected = _draw_one_by_one(model, inputs, uniforms, temperature, top_p)
    assert torch.equal(_widen(drawn), expected)
    ends = expected.eq(EOS).any(1)
    assert ends.any()  # or nothing behind an EOS was compared
    assert not ends.all()


def test_first_tokens_have_the_models_probabilities(model, encoded):
    """With evenly spaced uniforms each share is within one draw of its probability."""
    draws = 2000
    spaced = (torch.arange(draws, dtype=torch.float64) + 0.5) / draws
    first = sample_captions(model, encoded, spaced[None, :, None].expand(IMAGES, -1, 1)).view(IMAGES, draws)
    with torch.no_grad():
        logits = model(encoder_outputs=encoded, decoder_input_ids=torch.full((IMAGES, 1), BOS), caption_logits=True)
    logits = logits.logits[:, 0]
    logits[:, PAD] = -torch.inf
    shares = torch.stack([row.bincount(minlength=TEXT_VOCABULARY) for row in first]) / draws
    assert (shares - logits.softmax(-1)).abs().max() < 1.001 / draws


def test_captions_do_not_depend_on_batch_order_or_number_of_samples(model, inputs, encoded, uniforms):
    together = _widen(sample_captions(model, encoded, uniforms)).unflatten(0, (IMAGES, SAMPLES))
    assert len({tuple(row) for row in together.flatten(0, 1).tolist()}) == IMAGES * SAMPLES
    order = [2, 0, 1]
    with torch.no_grad():
        shuffled = model.encoder(**{key: value[order] for key, value in inputs.items()})
    reordered = sample_captions(model, shuffled, uniforms[order])
    assert torch.equal(_widen(reordered), together[order].flatten(0, 1))
    for image in range(IMAGES):
        with torch.no_grad():
            alone = model.encoder(**{key: value[image, None] for key, value in inputs.items()})
        for sample in range(SAMPLES):
            caption = sample_captions(model, alone, uniforms[image, None, sample, None])
            assert torch.equal(_widen(caption)[0], together[image, sample])


def test_captions_end_once_or_run_to_the_limit(model, encoded, uniforms):
    for row in sample_captions(model, encoded, uniforms).tolist():
        counted = [token for token in row if token != -100]
        assert row == counted + [-100] * (len(row) - len(counted))
        assert counted.count(EOS) == (1 if len(counted) < LENGTH else int(counted[-1] == EOS))
        assert all(token == BOS or EOS <= token < TEXT_VOCABULARY for token in counted)


def test_greedy_captions_equal_those_of_generate(model, encoded, uniforms):
    greedy = sample_captions(model, encoded, uniforms, with_greedy=True).unflatten(0, (IMAGES, -1))[:, -1]
    rules = {"max_length": LENGTH + 1, "min_length": 0, "no_repeat_ngram_size": 0, "forced_eos_token_id": None}
    found = model.generate(torch.zeros(IMAGES, 1).long(), encoder_outputs=encoded, **rules)[:, 1:]
    expected = found.masked_fill(found.eq(PAD), -100)
    assert torch.equal(_widen(greedy), _widen(expected))
    assert expected.eq(EOS).any(1).tolist() == [True, False, False]
    alone = sample_captions(model, encoded, uniforms[:, :0], with_greedy=True)
    assert torch.equal(_widen(alone), _widen(expected))


def test_greedy_companions_leave_the_samples_alone(model, encoded, uniforms):
    with_greedy = sample_captions(model, encoded, uniforms, with_greedy=True, temperature=1.3, top_p=0.9)
    without = sample_captions(model, encoded, uniforms, temperature=1.3, top_p=0.9)
    sampled = with_greedy.unflatten(0, (IMAGES, -1))[:, :-1].flatten(0, 1)
    assert torch.equal(_widen(sampled), _widen(without))


def test_padding_is_never_drawn_however_likely(model, encoded, uniforms):
    before = sample_captions(model, encoded, uniforms, with_greedy=True)
    with torch.no_grad():
        hidden = model.decoder(torch.full((IMAGES, 1), BOS), encoded)[:, 0]
        likely = copy.deepcopy(model)
        likely.decoder.output_projection.weight[PAD] = 20 * hidden.mean(0)
        assert (likely.decoder.output_projection(hidden).softmax(-1)[:, PAD] > 0.9).all()
    assert torch.equal(sample_captions(likely, encoded, uniforms, with_greedy=True), before)


def test_encoder_is_not_run_and_its_keys_are_computed_once_per_image(model, encoded, uniforms, monkeypatch):
    projected = []
    for layer in model.decoder.layers:
        plain = layer.cross_attn.key_value
        monkeypatch.setattr(layer.cross_attn, "key_value", lambda h, plain=plain: projected.append(len(h)) or plain(h))
    monkeypatch.setattr(model.encoder, "forward", lambda *_: pytest.fail("a second encoder pass"))
    sample_captions(model, encoded, uniforms, with_greedy=True)
    assert projected == [IMAGES] * len(model.decoder.layers)


def test_decoding_stops_when_all_captions_have_ended(model, encoded, uniforms):
    with torch.no_grad():
        logits = model(encoder_outputs=encoded, decoder_input_ids=torch.full((IMAGES, 1), BOS)).logits[:, 0]
    logits = logits[:, :TEXT_VOCABULARY]
    logits[:, PAD] = -torch.inf
    probabilities = logits.double().softmax(-1)
    # In the middle of EOS at the first position, so all captions are EOS alone.
    uniforms[:, :, 0] = (probabilities[:, :EOS].sum(1) + probabilities[:, EOS] / 2)[:, None]
    passes = []
    hook = model.decoder.register_forward_hook(lambda *_: passes.append(1))
    drawn = sample_captions(model, encoded, uniforms)
    hook.remove()
    assert drawn.tolist() == [[EOS]] * (IMAGES * SAMPLES)
    assert len(passes) == 1


def test_sampling_keeps_no_graph(model, encoded, uniforms):
    assert not sample_captions(model, encoded, uniforms).requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())
