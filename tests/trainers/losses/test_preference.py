"""The losses of pairs by hand."""

from __future__ import annotations

import math

import pytest
import torch

from trainers.losses.preference import dpo_margins, preference_loss, simpo_margins

SAID = [[-2.0, -3.0], [-1.0, -4.0]]
FROZEN = [[-2.5, -2.0], [-3.0, -4.5]]
BETA = 0.5


def sigmoid(number: float) -> float:
    return 1 / (1 + math.exp(-number))


def test_dpo_margins_and_loss_by_hand():
    margins = dpo_margins(torch.tensor(SAID), torch.tensor(FROZEN), BETA)
    # 0.5 * ((-2 + 2.5) - (-3 + 2)) = 0.75 and 0.5 * ((-1 + 3) - (-4 + 4.5)) = 0.75
    assert margins.tolist() == [0.75, 0.75]
    assert preference_loss(margins).item() == pytest.approx(2 * math.log(1 + math.exp(-0.75)), rel=1e-6)


def test_dpo_gradient_by_hand_flows_to_the_model_alone():
    said, frozen = (torch.tensor(numbers, requires_grad=True) for numbers in (SAID, FROZEN))
    preference_loss(dpo_margins(said, frozen, BETA)).backward()
    # d(-log s(m))/dm = -(1 - s(m)), and dm/d(log p) = beta for the chosen caption and -beta for the rejected one
    step = BETA * (1 - sigmoid(0.75))
    torch.testing.assert_close(said.grad, torch.tensor([[-step, step], [-step, step]]))
    assert frozen.grad is None


def test_dpo_of_a_model_that_is_its_own_reference_is_log_2_exactly():
    said = torch.tensor(SAID)
    margins = dpo_margins(said, said, BETA)
    assert margins.tolist() == [0.0, 0.0]
    assert torch.equal(preference_loss(margins[:1]), torch.tensor(math.log(2)))


@pytest.mark.parametrize("gamma", [0.0, 0.4])
def test_swapped_pairs_have_the_mirrored_margins_and_losses(gamma):
    said, frozen = torch.tensor(SAID), torch.tensor(FROZEN)
    margins, swapped = dpo_margins(said, frozen, BETA), dpo_margins(said.flip(1), frozen.flip(1), BETA)
    assert torch.equal(swapped, -margins)
    # -log s(-m - gamma) = -log s(m + gamma) + (m + gamma)
    mirrored = preference_loss(margins + gamma) + (margins + gamma).sum()
    torch.testing.assert_close(preference_loss(swapped, gamma), mirrored)


def test_simpo_margins_loss_and_gradient_by_hand():
    said = torch.tensor([[-2.0, -6.0]], requires_grad=True)
    margins = simpo_margins(said, torch.tensor([[2, 4]]), beta=2.0)
    # 2 * (-2 / 2) - 2 * (-6 / 4) = -2 + 3
    assert margins.tolist() == [1.0]
    loss = preference_loss(margins, gamma=0.5)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-0.5)), rel=1e-6)
    loss.backward()
    missing = 1 - sigmoid(0.5)
    torch.testing.assert_close(said.grad, torch.tensor([[-missing * 2 / 2, missing * 2 / 4]]))


def test_simpo_does_not_pay_for_length():
    """Twice as many tokens of the same probability are worth the same; DPO, which adds up, sees a difference."""
    said = torch.tensor([[-2.0, -4.0]])
    assert simpo_margins(said, torch.tensor([[2, 4]]), 2.0).item() == 0.0
    assert dpo_margins(said, torch.zeros(1, 2), 0.1).item() == pytest.approx(0.2)


def test_preference_loss_at_the_margin_that_is_aimed_at_is_log_2():
    assert torch.equal(preference_loss(torch.tensor([1.5]), gamma=1.5), torch.tensor(math.log(2)))


def test_preference_loss_is_finite_for_any_margin_and_zero_without_pairs():
    assert preference_loss(torch.tensor([-1e4])).item() == pytest.approx(1e4)
    assert preference_loss(torch.tensor([1e4])).item() == 0.0
    assert preference_loss(torch.zeros(0)).item() == 0.0


@pytest.mark.parametrize(("first", "second"), [((3, 2), (3,)), ((3, 1), (3, 1)), ((3, 2), (1, 2)), ((2,), (2,))])
def test_numbers_that_are_no_pairs_are_refused(first, second):
    for margins in (dpo_margins, simpo_margins):
        with pytest.raises(ValueError, match=r"needs two numbers of each pair, \(P, 2\) and \(P, 2\), not"):
            margins(torch.zeros(first), torch.ones(second), 1.0)
