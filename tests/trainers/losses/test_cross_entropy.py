from __future__ import annotations

import math

import pytest
import torch

from trainers.losses.cross_entropy import count_kept, label_smoothed_cross_entropy, r_drop, token_log_probs


def test_cross_entropy_two_tokens_by_hand():
    # p = (1/2, 1/4, 1/4) for both tokens; targets 0 and 1: nll = ln 2 + ln 4 = 3 ln 2.
    logits = torch.log(torch.tensor([[[0.5, 0.25, 0.25], [0.5, 0.25, 0.25], [0.9, 0.05, 0.05]]]))
    entropy = label_smoothed_cross_entropy(logits, torch.tensor([[0, 1, -100]]))
    assert entropy.loss.item() == pytest.approx(3 * math.log(2))
    assert entropy.nll.item() == pytest.approx(3 * math.log(2))
    assert entropy.tokens.item() == 2


def test_cross_entropy_label_smoothing_by_hand():
    # eps 0.2, V 3: eps_i = 0.1; sum_v -log p_v = ln 2 + 2 ln 4 = 5 ln 2; loss = 0.7 ln 2 + 0.1 * 5 ln 2 = 1.2 ln 2.
    logits = torch.log(torch.tensor([[[0.5, 0.25, 0.25]]]))
    entropy = label_smoothed_cross_entropy(logits, torch.tensor([[0]]), label_smoothing=0.2)
    assert entropy.loss.item() == pytest.approx(1.2 * math.log(2))


def test_cross_entropy_drop_worst_keeps_the_lowest_losses():
    # nll of the four tokens: ln 2, 2 ln 2, 3 ln 2, 4 ln 2; a quarter is dropped: 6 ln 2 over three tokens.
    rows = [[1 - 2.0**-k, 2.0**-k] for k in (1, 2, 3, 4)]
    entropy = label_smoothed_cross_entropy(torch.log(torch.tensor([rows])), torch.ones(1, 4).long(), drop_worst=0.25)
    assert entropy.loss.item() == pytest.approx(6 * math.log(2), rel=1e-5)
    assert entropy.tokens.item() == 3


def test_cross_entropy_of_no_token_at_all_is_nothing_whatever_is_dropped():
    logits = torch.zeros(0, 5, requires_grad=True)
    entropy = label_smoothed_cross_entropy(logits, torch.zeros(0).long(), 0.1, drop_worst=0.5)
    assert (entropy.loss.item(), entropy.tokens.item()) == (0.0, 0)
    assert count_kept(0, 0.5) == count_kept(0, 0.0) == 0


def test_cross_entropy_drop_worst_keeps_one_token_at_least():
    logits = torch.tensor([[[1.0, 2.0], [3.0, 1.0]]])
    entropy = label_smoothed_cross_entropy(logits, torch.tensor([[0, 0]]), drop_worst=0.99)
    assert entropy.tokens.item() == 1
    assert entropy.loss.item() == pytest.approx(math.log(1 + math.exp(-2)))


def test_cross_entropy_shifted_logits_give_the_same_loss_and_gradient():
    torch.manual_seed(0)
    labels = torch.tensor([[1, 4, -100], [0, -100, -100]])
    gradients = []
    for shift in (0.0, 50.0):
        logits = (torch.arange(30.0).reshape(2, 3, 5).sin() + shift).requires_grad_()
        label_smoothed_cross_entropy(logits, labels, 0.1).loss.backward()
        gradients.append(logits.grad)
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)
    assert gradients[0][labels.eq(-100)].abs().max() == 0


def test_r_drop_by_hand():
    # KL((1/2, 1/2) || (1/4, 3/4)) and back: their mean is ((1/2 - 1/4)(ln 2) + (1/2 - 3/4)(ln (2/3))) / 2.
    p, q = torch.tensor([[[0.5, 0.5]]]).log(), torch.tensor([[[0.25, 0.75]]]).log()
    expected = (0.25 * math.log(2) - 0.25 * math.log(2 / 3)) / 2
    assert r_drop(torch.cat([p, q]), torch.tensor([[1], [1]])).item() == pytest.approx(expected, rel=1e-5)


def test_r_drop_of_equal_views_is_zero_and_padding_does_not_count():
    logits = torch.randn(2, 3, 7, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([[3, 2, -100], [3, 2, -100]])
    assert r_drop(torch.stack([logits[0], logits[0]]), labels).item() == 0
    changed = torch.stack([logits[0], logits[0].clone()])
    changed[1, 2] += torch.arange(7.0)  # only the padded position differs
    assert r_drop(changed, labels).item() == 0


def test_token_log_probs_by_hand():
    logits = torch.log(torch.tensor([[[0.5, 0.25, 0.25], [1.0, 3.0, 4.0]]])) + 7.0  # the second row sums to 8
    log_probs = token_log_probs(logits, torch.tensor([[1, 2]]))
    assert log_probs.tolist() == [pytest.approx([math.log(1 / 4), math.log(4 / 8)], rel=1e-5)]


def test_token_log_probs_equal_a_log_softmax_with_its_gradient():
    logits = torch.randn(3, 5, 11, generator=torch.Generator().manual_seed(2), requires_grad=True)
    token_ids = torch.arange(15).reshape(3, 5) % 11
    ours = token_log_probs(logits, token_ids)
    expected = logits.log_softmax(-1).gather(-1, token_ids[..., None]).squeeze(-1)
    torch.testing.assert_close(ours, expected)
    weights = torch.linspace(-2, 2, 15).reshape(3, 5)
    gradients = [torch.autograd.grad((weights * values).sum(), logits)[0] for values in (ours, expected)]
    torch.testing.assert_close(*gradients)


def test_token_log_probs_of_half_precision_are_summed_in_float32():
    logits = torch.zeros(1, 1, 4096, dtype=torch.bfloat16)
    log_prob = token_log_probs(logits, torch.tensor([[5]]))
    assert log_prob.dtype == torch.float32
    assert log_prob.item() == pytest.approx(-math.log(4096), rel=1e-6)
