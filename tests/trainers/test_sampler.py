from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from models.ofa.captioner import OFACaptioner
from models.rules import generate_arguments
from models.settings import Decoding
from trainers.sampler import Sampler

PAD, EOS = 1, 2
ROWS = [40, 7, 13]
DECODING = Decoding(num_beams=5, max_length=8, min_length=2, no_repeat_ngram_size=2, length_penalty=0.7)


@pytest.fixture(scope="module")
def captioner(tiny_ofa):
    # With this seed some captions end and some run to the limit, however they are made.
    return OFACaptioner(tiny_ofa(14, text_vocab_size=23), None)


@pytest.fixture(scope="module")
def inputs() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return {
        "input_ids": torch.randint(4, 67, (len(ROWS), 7), generator=generator),
        "patch_images": torch.randn(len(ROWS), 3, 64, 48, generator=generator),
    }


def _encode(captioner, inputs, images: list[int] | None = None):
    chosen = [0, 1, 2] if images is None else images
    with torch.no_grad():
        return captioner.encode({key: value[chosen] for key, value in inputs.items()})


def _widen(token_ids: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.pad(token_ids, (0, DECODING.max_length + 1 - token_ids.shape[-1]), value=-100)


def _draw(sampler: Sampler, captioner, inputs, images: list[int] | None = None, epoch: int = 2) -> torch.Tensor:
    rows = ROWS if images is None else [ROWS[image] for image in images]
    return _widen(sampler.draw(captioner, _encode(captioner, inputs, images), rows, epoch).token_ids)


def test_draws_depend_on_seed_epoch_and_row_alone(captioner, inputs):
    sampler = Sampler(4, "multinomial", DECODING, seed=5)
    drawn = _draw(sampler, captioner, inputs)
    assert drawn.shape == (3, 4, DECODING.max_length + 1)
    torch.manual_seed(99)
    assert torch.equal(_draw(sampler, captioner, inputs, [2, 0]), drawn[[2, 0]])
    assert torch.equal(_draw(sampler, captioner, inputs, [1]), drawn[[1]])
    assert not torch.equal(_draw(sampler, captioner, inputs, epoch=3), drawn)
    assert not torch.equal(_draw(replace(sampler, seed=6), captioner, inputs), drawn)
    other_rows = sampler.draw(captioner, _encode(captioner, inputs), [41, 8, 14], 2).token_ids
    assert not torch.equal(_widen(other_rows), drawn)
    assert all(len({tuple(caption) for caption in image}) > 1 for image in drawn.tolist())


def test_draws_are_bounded_by_the_decoding_length_with_eos(captioner, inputs):
    drawn = _draw(Sampler(30, "multinomial", DECODING), captioner, inputs).flatten(0, 1)
    counted = drawn.ne(-100).sum(1)
    ended = drawn.eq(EOS).any(1)
    assert counted.max() == DECODING.max_length + 1
    assert (counted[~ended] == DECODING.max_length + 1).all()
    assert ended.any()
    assert not ended.all()


@pytest.mark.parametrize("sharpened", [{"temperature": 1e-3}, {"top_p": 1e-6}])
def test_sharpened_draws_are_the_greedy_caption(captioner, inputs, sharpened):
    sampler = Sampler(3, "multinomial", DECODING, with_greedy=True, **sharpened)
    samples = sampler.draw(captioner, _encode(captioner, inputs), ROWS, 0)
    assert torch.equal(samples.token_ids, samples.greedy_ids[:, None].expand(-1, 3, -1))


@pytest.mark.parametrize("method", ["multinomial", "beam"])
def test_greedy_captions_are_kept_apart_from_the_samples_and_as_long(captioner, inputs, method):
    encoded = _encode(captioner, inputs)
    samples = Sampler(2, method, DECODING, with_greedy=True).draw(captioner, encoded, ROWS, 0)
    nothing = torch.empty(3, 0, DECODING.max_length + 1, dtype=torch.float64)
    assert torch.equal(_widen(samples.greedy_ids), _widen(captioner.sample(encoded, nothing, with_greedy=True)))
    assert samples.token_ids.shape == (3, 2, samples.greedy_ids.shape[1])
    plain = Sampler(2, method, DECODING).draw(captioner, encoded, ROWS, 0)
    assert plain.greedy_ids is None
    assert torch.equal(_widen(samples.token_ids), _widen(plain.token_ids))


@pytest.mark.parametrize("method", ["multinomial", "beam"])
def test_one_sample_keeps_its_dimension(captioner, inputs, method):
    samples = Sampler(1, method, DECODING, with_greedy=True).draw(captioner, _encode(captioner, inputs), ROWS, 0)
    assert samples.token_ids.shape[:2] == (3, 1)
    assert samples.greedy_ids.shape == (3, samples.token_ids.shape[2])


def test_beams_of_another_length_than_the_greedy_captions_are_filled_up(captioner, inputs):
    """All beams of this image end before its greedy caption does."""
    short = Decoding(max_length=8, min_length=1, no_repeat_ngram_size=0, length_penalty=-3.0)
    encoded = _encode(captioner, inputs, [0])
    apart = Sampler(2, "beam", short).draw(captioner, encoded, [0], 0).token_ids
    samples = Sampler(2, "beam", short, with_greedy=True).draw(captioner, encoded, [0], 0)
    assert apart.shape[2] != samples.greedy_ids.ne(-100).sum()
    assert samples.token_ids.shape[2] == samples.greedy_ids.shape[1]
    assert torch.equal(_widen(samples.token_ids), _widen(apart))


@pytest.mark.parametrize("num_samples", [1, 4])
def test_beams_are_the_best_of_generate_without_a_forced_end(captioner, inputs, num_samples):
    encoded = _encode(captioner, inputs)
    token_ids = Sampler(num_samples, "beam", DECODING).draw(captioner, encoded, ROWS, 0).token_ids
    rules = generate_arguments(replace(DECODING, num_beams=num_samples)) | {"forced_eos_token_id": None}
    expected = captioner.module.generate(**inputs, num_return_sequences=num_samples, **rules)[:, 1:]
    assert torch.equal(_widen(token_ids.flatten(0, 1)), _widen(expected.masked_fill(expected.eq(PAD), -100)))


def test_beams_that_run_to_the_limit_have_no_eos_and_nothing_follows_one(captioner, inputs):
    token_ids = (
        Sampler(4, "beam", DECODING).draw(captioner, _encode(captioner, inputs), ROWS, 0).token_ids.flatten(0, 1)
    )
    ended = token_ids.eq(EOS).any(1)
    assert ended.any()
    assert not ended.all()
    assert (token_ids[~ended] != -100).all()
    for row in token_ids[ended].tolist():
        assert set(row[row.index(EOS) + 1 :]) <= {-100}


@pytest.mark.parametrize("method", ["multinomial", "beam"])
def test_drawing_runs_no_encoder_and_keeps_no_graph(captioner, inputs, method, monkeypatch):
    encoded = captioner.encode(inputs)
    monkeypatch.setattr(captioner.module.encoder, "forward", lambda *_, **__: pytest.fail("a second encoder pass"))
    samples = Sampler(3, method, DECODING, with_greedy=True).draw(captioner, encoded, ROWS, 0)
    assert encoded.last_hidden_state.requires_grad
    assert samples.token_ids.dtype == samples.greedy_ids.dtype == torch.int64
