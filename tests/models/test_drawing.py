from __future__ import annotations

import pytest
import torch

from models.drawing import BLOCK, draw, keep_likeliest


def test_draw_inverts_the_cumulative_distribution_by_hand():
    # Probabilities 1/2, 0, 1/4, 1/4: their running sum is 0.5, 0.5, 0.75, 1.
    logits = torch.tensor([0.5, 0.0, 0.25, 0.25]).log()
    uniforms = torch.tensor([0.0, 0.4999, 0.5001, 0.7499, 0.7501, 0.9999], dtype=torch.float64)
    assert draw(logits.repeat(6, 1), uniforms).tolist() == [0, 0, 2, 2, 3, 3]


@pytest.mark.parametrize("vocabulary", [5, BLOCK, BLOCK + 1, 3 * BLOCK - 7])
def test_draw_over_blocks_equals_one_search_in_the_whole_cumulative_distribution(vocabulary):
    generator = torch.Generator().manual_seed(vocabulary)
    logits = 3 * torch.randn(500, vocabulary, generator=generator)
    uniforms = torch.rand(500, dtype=torch.float64, generator=generator)
    weights = (logits - logits.amax(-1, keepdim=True)).exp().double()
    sums = weights.cumsum(-1)
    expected = torch.searchsorted(sums, uniforms[:, None] * sums[:, -1:], right=True)[:, 0]
    assert torch.equal(draw(logits.clone(), uniforms), expected)


def test_draw_frequencies_follow_the_probabilities():
    generator = torch.Generator().manual_seed(2)
    vocabulary, draws = BLOCK + 44, 200_000
    logits = torch.randn(vocabulary, generator=generator)
    logits[[1, 17, BLOCK, vocabulary - 1]] = -torch.inf
    counts = torch.zeros(vocabulary)
    for _ in range(20):
        uniforms = torch.rand(draws // 20, dtype=torch.float64, generator=generator)
        counts += draw(logits.repeat(draws // 20, 1), uniforms).bincount(minlength=vocabulary)
    expected = logits.softmax(-1) * draws
    possible = expected > 0
    assert expected[possible].min() > 10
    assert not counts[~possible].any()
    chi_square = ((counts - expected)[possible].square() / expected[possible]).sum().item()
    freedom = possible.sum().item() - 1
    # Mean and variance of chi-square are its degrees of freedom and twice that; also not too good to be random.
    assert abs(chi_square - freedom) < 4 * (2 * freedom) ** 0.5


def test_draw_never_chooses_what_has_no_probability():
    """At the ends of the interval, and with a uniform that falls on the very start of a block."""
    generator = torch.Generator().manual_seed(0)
    rows, largest = 4000, 1 - 2**-53
    logits = 9 * torch.randn(rows, 3 * BLOCK - 7, generator=generator)
    logits[:, ::BLOCK] = logits[:, BLOCK - 1 :: BLOCK] = logits[:, -3:] = -torch.inf
    masses = torch.nn.functional.pad((logits - logits.amax(-1, keepdim=True)).exp(), (0, 7))
    sums = masses.unflatten(1, (-1, BLOCK)).sum(-1, dtype=torch.float64).cumsum(-1)
    zero = torch.zeros(rows, dtype=torch.float64)
    for uniforms in (zero, zero + largest, *(sums[:, :2] / sums[:, 2:]).unbind(1)):
        drawn = draw(logits.clone(), uniforms)
        assert not logits.gather(1, drawn[:, None]).isneginf().any()


@pytest.mark.parametrize("column", [0, BLOCK - 1, BLOCK, 2 * BLOCK])
def test_draw_of_a_certain_token_is_that_token(column):
    logits = torch.full((3, 2 * BLOCK + 1), -torch.inf)
    logits[:, column] = -40.0
    uniforms = torch.tensor([0.0, 0.5, 1 - 2**-53], dtype=torch.float64)
    assert draw(logits, uniforms).tolist() == [column] * 3


def test_draw_from_the_logits_of_a_diverged_model_stays_within_the_vocabulary():
    """So that training ends with the advice on a NaN loss, and not with an index error."""
    drawn = draw(torch.full((2, BLOCK + 3), torch.nan), torch.tensor([0.0, 0.9], dtype=torch.float64))
    assert drawn.min() >= 0
    assert drawn.max() < BLOCK + 3


@pytest.mark.parametrize(("top_p", "kept"), [(0.4, [1]), (0.6, [1, 3]), (0.76, [1, 2, 3]), (1e-9, [1])])
def test_keep_likeliest_by_hand(top_p, kept):
    # In descending order 0.5, 0.25, 0.15, 0.1; before each of them 0, 0.5, 0.75, 0.9.
    logits = torch.tensor([[0.1, 0.5, 0.15, 0.25]]).log() + 3
    given = logits.clone()
    result = keep_likeliest(logits, top_p)
    assert result[0].isfinite().nonzero()[:, 0].tolist() == kept
    assert torch.equal(result[0, kept], given[0, kept])
