from __future__ import annotations

import math

import pytest
import torch

from trainers.losses.unlikelihood import (
    MIN_COMPLEMENT,
    leakage_unlikelihood,
    repeated_ngrams,
    repetition_unlikelihood,
    sequence_unlikelihood,
)


def rows(*probabilities: list[float]) -> torch.Tensor:
    return torch.tensor([probabilities]).log().requires_grad_()


def test_repetition_unlikelihood_by_hand():
    logits = rows([0.7, 0.1, 0.1, 0.1], [0.5, 0.2, 0.2, 0.1], [0.25, 0.25, 0.4, 0.1], [0.3, 0.4, 0.2, 0.1])
    # Targets 0 1 0 2. Candidates: none; 0 at .5; 1 at .25 (0 is the target); 0 at .3 and 1 at .4, 0 only once.
    loss = repetition_unlikelihood(logits, torch.tensor([[0, 1, 0, 2]]))
    assert loss.item() == pytest.approx(-sum(map(math.log, (0.5, 0.75, 0.7, 0.6))), rel=1e-5)


def test_repetition_unlikelihood_padding_is_neither_candidate_nor_position():
    logits = rows([0.7, 0.2, 0.1], [0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.1, 0.1, 0.8])
    loss = repetition_unlikelihood(logits, torch.tensor([[0, 1, -100, -100]]))
    assert loss.item() == pytest.approx(-math.log(0.5), rel=1e-5)
    loss.backward()
    assert logits.grad[:, 2:].abs().max() == 0


def test_repetition_unlikelihood_of_a_pack_is_that_of_its_documents():
    generator = torch.Generator().manual_seed(2)
    logits, labels = torch.randn(1, 7, 4, generator=generator), torch.tensor([[0, 1, 0, 1, 2, 2, -100]])
    packed = repetition_unlikelihood(logits, labels, torch.tensor([[0, 0, 0, 1, 1, 1, -1]]))
    alone = [repetition_unlikelihood(logits[:, part], labels[:, part]) for part in (slice(3), slice(3, 6))]
    assert packed.item() == pytest.approx(sum(alone).item(), rel=1e-6)
    assert packed < repetition_unlikelihood(logits, labels)


def test_repeated_ngrams_by_hand():
    #            5 6 is there again at 3, and 6 5 at 4, which overlap; 7 7 overlaps itself.
    ids = torch.tensor([[5, 6, 5, 6, 9, 9], [7, 7, 7, 8, -100, -100], [1, 2, 3, 4, 5, 6]])
    assert repeated_ngrams(ids, 2).int().tolist() == [[0, 0, 1, 1, 0, 0], [0, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0]]
    assert repeated_ngrams(ids, 1).int().tolist() == [[0, 0, 1, 1, 0, 1], [0, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0]]
    assert not repeated_ngrams(ids, 7).any()


def test_repeated_ngrams_equal_a_loop_over_sets():
    ids = torch.randint(3, (5, 30), generator=torch.Generator().manual_seed(4))
    wanted = torch.zeros_like(ids)
    for row, tokens in enumerate(ids.tolist()):
        seen = set()
        for place in range(len(tokens) - 2):
            if (ngram := tuple(tokens[place : place + 3])) in seen:
                wanted[row, place : place + 3] = 1
            seen.add(ngram)
    assert torch.equal(repeated_ngrams(ids, 3), wanted.bool())


def test_sequence_unlikelihood_by_hand():
    log_probs = torch.tensor([[0.5, 0.25, 1.0], [0.9, 0.2, 0.0]]).log().requires_grad_()
    loss = sequence_unlikelihood(log_probs, torch.tensor([[True, False, True], [False, True, True]]))
    assert loss.item() == pytest.approx(-math.log(0.5) - math.log(MIN_COMPLEMENT) - math.log(0.8), rel=1e-3)
    loss.backward()
    assert log_probs.grad.isfinite().all()


def test_repetition_unlikelihood_of_a_single_token_is_zero():
    assert repetition_unlikelihood(rows([0.5, 0.5]), torch.tensor([[1]])).item() == 0


def test_unlikelihood_of_a_batch_equals_loops_over_sets():
    generator = torch.Generator().manual_seed(5)
    logits = 2 * torch.randn(3, 9, 6, generator=generator)
    labels = torch.randint(6, (3, 9), generator=generator)
    labels[1, 4:], labels[2, 8:] = -100, -100
    foreign = torch.rand(3, 6, generator=generator) < 0.4
    repeated = leaked = 0.0
    for b in range(3):
        for t in range(9):
            if labels[b, t] == -100:
                continue
            p = logits[b, t].double().softmax(-1)
            target = {labels[b, t].item()}
            repeated -= sum(math.log(1 - p[c]) for c in set(labels[b, :t].tolist()) - target)
            leaked -= sum(math.log(1 - p[c]) for c in set(foreign[b].nonzero()[:, 0].tolist()) - target)
    assert repetition_unlikelihood(logits, labels).item() == pytest.approx(repeated, rel=1e-5)
    assert leakage_unlikelihood(logits, labels, foreign).item() == pytest.approx(leaked, rel=1e-5)


def test_leakage_unlikelihood_by_hand():
    logits = torch.cat([rows([0.5, 0.3, 0.2], [0.1, 0.6, 0.3]), rows([0.2, 0.2, 0.6], [0.2, 0.2, 0.6])])
    labels = torch.tensor([[0, 1], [2, -100]])
    foreign = torch.tensor([[True, True, False], [False, False, True]])
    # Row 0: token 1 at .3, then token 0 at .1, for each target is exempt. Row 1: its one candidate is the target.
    assert leakage_unlikelihood(logits, labels, foreign).item() == pytest.approx(-math.log(0.7 * 0.9), rel=1e-5)


def test_leakage_unlikelihood_without_candidates_is_zero_with_a_gradient():
    logits = torch.randn(2, 3, 4, requires_grad=True)
    leakage_unlikelihood(logits, torch.ones(2, 3).long(), torch.zeros(2, 4, dtype=torch.bool)).backward()
    assert logits.grad.abs().max() == 0


def test_leakage_unlikelihood_table_of_another_vocabulary_is_refused():
    with pytest.raises(ValueError, match=r"foreign is \(2, 5\); logits \(2, 3, 4\) need \(B, V\)"):
        leakage_unlikelihood(torch.zeros(2, 3, 4), torch.ones(2, 3).long(), torch.zeros(2, 5, dtype=torch.bool))


def test_unlikelihood_of_a_certain_candidate_is_finite_and_so_is_its_gradient():
    logits = torch.tensor([[[0.0, 0.0], [200.0, 0.0]]], requires_grad=True)
    loss = repetition_unlikelihood(logits, torch.tensor([[0, 1]]))
    loss.backward()
    assert loss.item() == pytest.approx(-math.log(MIN_COMPLEMENT), rel=1e-2)  # 1 - 1e-5 rounded to float32
    assert torch.isfinite(logits.grad).all()


def test_unlikelihood_gradient_pushes_the_candidate_down_by_its_probability():
    # d/dz_c of -log(1 - p_c) is p_c; of the others, v, it is -p_c p_v / (1 - p_c).
    logits = rows([0.5, 0.5, 1e-9], [0.4, 0.4, 0.2])
    repetition_unlikelihood(logits, torch.tensor([[0, 1]])).backward()
    assert logits.grad[0, 1].tolist() == pytest.approx([0.4, -0.4 * 0.4 / 0.6, -0.4 * 0.2 / 0.6], rel=1e-5)
