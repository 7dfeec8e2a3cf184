from __future__ import annotations

import pytest
import torch

from trainers.schedule import EpochSampler, polynomial_decay, polynomial_factor


def test_polynomial_factor_by_hand():
    # 10 steps, 2 of warm-up, end ratio 0.2: 1/3, 2/3, then from 1 down by 0.1 a step.
    factors = [polynomial_factor(step, 10, 2, 0.2) for step in range(12)]
    assert factors == pytest.approx([1 / 3, 2 / 3, 1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.2])


def test_polynomial_factor_end_above_the_peak_rises():
    assert [polynomial_factor(step, 2, 0, 3.0) for step in range(3)] == pytest.approx([1.0, 2.0, 3.0])


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
