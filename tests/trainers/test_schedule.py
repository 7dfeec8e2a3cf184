from __future__ import annotations

import pytest
import torch
from accelerate.data_loader import BatchSamplerShard
from torch.utils.data import BatchSampler

from runs.checkpoints import ENDLESS
from trainers.schedule import (
    EpochSampler,
    SimilarLengths,
    cosine_factor,
    polynomial_decay,
    polynomial_factor,
    rise_and_stay,
)


def test_polynomial_factor_by_hand():
    # 10 steps, 2 of warm-up, end ratio 0.2: 1/3, 2/3, then from 1 down by 0.1 a step.
    factors = [polynomial_factor(step, 10, 2, 0.2) for step in range(12)]
    assert factors == pytest.approx([1 / 3, 2 / 3, 1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.2])


def test_polynomial_factor_end_above_the_peak_rises():
    assert [polynomial_factor(step, 2, 0, 3.0) for step in range(3)] == pytest.approx([1.0, 2.0, 3.0])


def test_cosine_factor_by_hand():
    # 1 of warm-up, then two half cosines of 4 steps to 0.2: from 1 through 0.6 half-way, and again from 1.
    factors = [cosine_factor(step, 9, 1, 0.2, 2) for step in range(11)]
    quarter = 0.2 + 0.8 * (1 + 0.5**0.5) / 2
    fall = [1.0, quarter, 0.6, 1.2 - quarter]
    assert factors == pytest.approx([0.5, *fall, *fall, 0.2, 0.2])


def test_rise_and_stay_never_falls():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.6)
    (rate,) = rise_and_stay(optimizer, 2).lr_lambdas
    assert [rate(step) for step in (0, 1, 2, 10**6, ENDLESS)] == pytest.approx([1 / 3, 2 / 3, 1.0, 1.0, 1.0])


def test_polynomial_decay_sets_learning_rates_of_the_optimizer():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    scheduler = polynomial_decay(optimizer, total_steps=4, warmup=0.0, lr=0.5, lr_end=0.1)
    seen = []
    for _ in range(5):
        seen.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    assert seen == pytest.approx([0.5, 0.4, 0.3, 0.2, 0.1])


def test_epoch_sampler_order_depends_on_seed_and_epoch_alone():
    def order(seed: int, epoch: int) -> list[int]:
        sampler = EpochSampler(range(50), seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    torch.manual_seed(0)
    first = order(7, 3)
    torch.manual_seed(99)
    assert order(7, 3) == first
    assert sorted(first) == list(range(50))
    assert len({tuple(order(seed, epoch)) for seed in (7, 8) for epoch in (0, 3)}) == 4


def test_epoch_sampler_keeps_groups_together_and_shuffles_them():
    groups = [[3 * number, 3 * number + 1, 3 * number + 2] for number in range(20)] + [[61], [60, 62]]

    def order(seed: int, epoch: int) -> list[int]:
        sampler = EpochSampler(range(63), seed, groups)
        sampler.set_epoch(epoch)
        assert len(sampler) == 63
        return list(sampler)

    first = order(7, 3)
    assert order(7, 3) == first
    assert sorted(first) == list(range(63))
    for group in groups:
        start = first.index(group[0])
        assert first[start : start + len(group)] == group
    assert len({tuple(order(seed, epoch)) for seed in (7, 8) for epoch in (0, 3)}) == 4


def test_similar_lengths_fill_batches_and_keep_every_row_once():
    """103 rows of lengths 0 to 9: sorted within 6 batches of 8, a batch spans few lengths."""
    lengths = SimilarLengths(lambda epoch, row: (row * 7 + epoch) % 10, batch_size=8, batches=6)

    def order(seed: int, epoch: int) -> list[int]:
        sampler = EpochSampler(range(103), seed, lengths=lengths)
        sampler.set_epoch(epoch)
        return list(sampler)

    first = order(7, 3)
    assert order(7, 3) == first
    assert sorted(first) == list(range(103))
    batches = [[lengths.length_of(3, row) for row in first[start : start + 8]] for start in range(0, 96, 8)]
    assert max(max(batch) - min(batch) for batch in batches) <= 3
    means = [sum(batch) / 8 for batch in batches]
    assert means not in (sorted(means), sorted(means, reverse=True))  # short batches do not come first
    plain = EpochSampler(range(103), 7)
    plain.set_epoch(3)
    assert first[96:] == list(plain)[96:]  # those that fill no batch stay the last
    assert len({tuple(order(seed, epoch)) for seed in (7, 8) for epoch in (0, 3)}) == 4


def _length(epoch: int, row: int) -> int:
    """Groups of three rows are about as long as one another, rows within them are not."""
    return row // 3 * 7 % 10 + row % 3


def test_groups_of_similar_length_share_batches_and_stay_together():
    groups = [[row, row + 1, row + 2] for row in range(0, 120, 3)]
    sampler = EpochSampler(range(120), 7, groups, SimilarLengths(_length, batch_size=9, batches=5))
    orders = []
    for epoch in (0, 1):
        sampler.set_epoch(epoch)
        order = list(sampler)
        assert list(sampler) == order
        assert sorted(order) == list(range(120))
        assert all(order[place : place + 3] == groups[order[place] // 3] for place in range(0, 120, 3))
        orders.append(order)
    assert orders[0] != orders[1]
    longest = [max(_length(0, row) for row in orders[0][start : start + 9]) for start in range(0, 117, 9)]
    apart = EpochSampler(range(120), 7, groups)
    spread = [list(apart)[start : start + 9] for start in range(0, 117, 9)]
    assert sum(longest) < sum(max(_length(0, row) for row in rows) for rows in spread) - 20


def test_two_processes_get_whole_batches_of_similar_length_and_every_row_once():
    lengths = SimilarLengths(lambda epoch, row: row * 7 % 10, batch_size=8, batches=6)
    dealt = []
    for rank in (0, 1):
        sampler = EpochSampler(range(96), 7, lengths=lengths)
        dealt.append([*BatchSamplerShard(BatchSampler(sampler, 8, False), num_processes=2, process_index=rank)])
    assert sorted(row for batches in dealt for rows in batches for row in rows) == list(range(96))
    for rows in (rows for batches in dealt for rows in batches):
        assert max(row * 7 % 10 for row in rows) - min(row * 7 % 10 for row in rows) <= 3
