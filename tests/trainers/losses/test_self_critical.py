from __future__ import annotations

import itertools
import json
import math

import pytest
import torch
from safetensors.torch import load_file
from torch.distributions import Categorical

from models.ofa import OFAForConditionalGeneration
from trainers.losses.cross_entropy import token_log_probs
from trainers.losses.self_critical import advantages, kl_divergence, leave_one_out_advantage, self_critical_loss

PAD = 1


@pytest.fixture(scope="module")
def golden(shared):
    folder = shared / "golden/ofa/small"
    inputs, outputs = (load_file(folder / f"{name}.safetensors") for name in ("inputs", "outputs"))
    expected = json.loads((folder / "scalars.json").read_bytes())["scst_loss_sum"]
    return {"folder": folder, "inputs": inputs, "logits": outputs["logits"], "loss": expected}


def golden_loss(golden, logits) -> float:
    target = golden["inputs"]["target"]
    return self_critical_loss(token_log_probs(logits, target), golden["inputs"]["reward"], target.ne(PAD)).item()


def test_self_critical_loss_of_golden_logits_equals_the_golden(golden):
    assert golden_loss(golden, golden["logits"]) == pytest.approx(golden["loss"], rel=1e-6)


def test_self_critical_loss_of_our_logits_equals_the_golden(golden):
    names = ("input_ids", "patch_images", "patch_masks", "decoder_input_ids")
    with torch.no_grad():
        model = OFAForConditionalGeneration.from_pretrained(golden["folder"]).eval()
        logits = model(**{name: golden["inputs"][name] for name in names}).logits
    assert golden_loss(golden, logits) == pytest.approx(golden["loss"], rel=1e-5)


def test_leave_one_out_advantage_by_hand():
    # Siblings' means: (2 + 6)/2 = 4, (1 + 6)/2 = 3.5, (1 + 2)/2 = 1.5.
    assert leave_one_out_advantage(torch.tensor([[1.0, 2.0, 6.0]])).tolist() == [[-3.0, -1.5, 4.5]]


def test_group_mean_is_leave_one_out_scaled_down():
    rewards = torch.tensor([[1.0, 2.0, 6.0], [0.0, 0.5, 0.25]], dtype=torch.float64)
    # The mean of the first row is 3.
    assert advantages(rewards, "group_mean")[0].tolist() == [-2.0, -1.0, 3.0]
    torch.testing.assert_close(advantages(rewards, "group_mean"), leave_one_out_advantage(rewards) * 2 / 3)


def test_greedy_baseline_is_the_reward_of_the_own_image():
    rewards, greedy = torch.tensor([[1.0, 4.0], [2.0, 2.0]]), torch.tensor([3.0, 0.5])
    assert advantages(rewards, "greedy", greedy).tolist() == [[-2.0, 1.0], [1.5, 1.5]]
    assert advantages(rewards[:, :1], "greedy", greedy).tolist() == [[-2.0], [1.5]]


@pytest.mark.parametrize("baseline", ["leave_one_out", "group_mean"])
@pytest.mark.parametrize("num_samples", [2, 3, 5, 7])
def test_advantages_of_equal_rewards_are_exactly_zero(baseline, num_samples):
    # 0.1 + 0.1 + 0.1 is not 3 * 0.1 in floating point.
    for dtype in (torch.float32, torch.float64):
        assert advantages(torch.full((1, num_samples), 0.1, dtype=dtype), baseline).abs().max() == 0


@pytest.mark.parametrize("baseline", ["leave_one_out", "group_mean", "greedy"])
def test_advantages_carry_no_gradient(baseline):
    rewards = torch.tensor([[1.0, 2.0]], requires_grad=True)
    assert not advantages(rewards, baseline, torch.tensor([1.0])).requires_grad


@pytest.mark.parametrize(
    ("baseline", "rewards", "greedy", "message"),
    [
        ("leave_one_out", torch.ones(3, 1), None, r"leave_one_out needs .* K of 2 or more, not \(3, 1\)"),
        ("group_mean", torch.ones(3, 1), None, r"group_mean needs .* K of 2 or more, not \(3, 1\)"),
        ("leave_one_out", torch.ones(3), None, r"not \(3,\)"),
        ("greedy", torch.ones(3, 2), None, r"greedy rewards \(B,\), not \(3, 2\) and None"),
        ("greedy", torch.ones(3, 2), torch.ones(3, 1), r"not \(3, 2\) and \(3, 1\)"),
        ("greedy", torch.ones(3), torch.ones(3), r"not \(3,\) and \(3,\)"),
        ("mean", torch.ones(3, 2), None, "baseline='mean': unknown; use one of leave_one_out, group_mean, greedy"),
    ],
)
def test_advantages_wrong_input_is_refused(baseline, rewards, greedy, message):
    with pytest.raises(ValueError, match=message):
        advantages(rewards, baseline, greedy)


def test_self_critical_loss_by_hand():
    token_log_probs = torch.tensor([[-1.0, -2.0, -math.inf], [-3.0, -4.0, -5.0]], requires_grad=True)
    mask = torch.tensor([[True, True, False], [True, True, True]])
    loss = self_critical_loss(token_log_probs, torch.tensor([2.0, -0.5]), mask)
    loss.backward()
    assert loss.item() == 2.0 * (1 + 2) - 0.5 * (3 + 4 + 5)
    assert token_log_probs.grad.tolist() == [[-2.0, -2.0, 0.0], [0.5, 0.5, 0.5]]


def test_self_critical_loss_single_token_keeps_one_term_per_sample():
    token_log_probs = torch.tensor([[-1.0], [-2.0], [-4.0]])  # N = 3, T = 1
    loss = self_critical_loss(token_log_probs, torch.tensor([2.0, 0.0, -1.0]), torch.ones(3, 1, dtype=torch.bool))
    assert loss.item() == 2.0 + 0.0 - 4.0  # an (N, N) broadcast would give 7


@pytest.mark.parametrize(
    ("advantage_shape", "mask_shape"), [((3, 1), (3, 2)), ((2,), (3, 2)), ((3,), (3, 1)), ((), (3, 2))]
)
def test_self_critical_loss_wrong_shape_is_refused(advantage_shape, mask_shape):
    with pytest.raises(ValueError, match=r"advantages \(N,\) and a caption mask \(N, T\)"):
        self_critical_loss(torch.zeros(3, 2), torch.zeros(advantage_shape), torch.ones(mask_shape, dtype=torch.bool))


# A policy over captions of one or two tokens: token 0 ends a caption, 1 and 2 are words. All seven captions, padded.
CAPTIONS = torch.tensor([[0, 0], [1, 0], [1, 1], [1, 2], [2, 0], [2, 1], [2, 2]])
MASK = torch.tensor([[True, False], *[[True, True]] * 6])
REWARDS = torch.tensor([0.3, 1.0, -2.0, 4.0, 0.0, 0.7, 2.5])
GREEDY = 1.0


@pytest.mark.parametrize(
    ("baseline", "num_samples", "scale"),
    [
        ("leave_one_out", 2, 1),
        ("leave_one_out", 3, 1),
        ("group_mean", 2, 1 / 2),
        ("group_mean", 3, 2 / 3),
        ("greedy", 1, 1),
        ("greedy", 2, 1),
    ],
)
def test_expected_gradient_over_all_draws_is_that_of_the_expected_reward(baseline, num_samples, scale):
    theta = torch.randn(3, 3, generator=torch.Generator().manual_seed(3), requires_grad=True)  # row 0: the first token

    def log_probs(captions):
        rows = torch.stack([torch.zeros_like(captions[:, 0]), captions[:, 0]], dim=1)  # a second token follows a word
        return token_log_probs(theta[rows], captions)

    probabilities = (log_probs(CAPTIONS) * MASK).sum(1).exp()  # (7,)
    assert probabilities.sum().item() == pytest.approx(1, abs=1e-6)
    exact = torch.autograd.grad((probabilities * REWARDS).sum(), theta)[0]

    draws = torch.tensor(list(itertools.product(range(7), repeat=num_samples)))  # (7 ** K, K): every outcome
    chances = probabilities.detach()[draws].prod(1)
    advantage = advantages(REWARDS[draws], baseline, torch.full((len(draws),), GREEDY)) * chances[:, None]
    drawn = draws.flatten()
    loss = self_critical_loss(log_probs(CAPTIONS[drawn]), advantage.flatten(), MASK[drawn])
    expected = torch.autograd.grad(loss, theta)[0]

    torch.testing.assert_close(expected / num_samples, -scale * exact, rtol=1e-4, atol=1e-6)


def test_leave_one_out_has_less_variance_than_no_baseline():
    # K = 2 draws from p = (1/2, 1/2) with rewards 10 and 11; the gradient of -log p_i by the first logit is -1/2 for
    # i = 0 and +1/2 for i = 1. Advantages of the draws (0, 1) are -1 and +1: 1/2 + 1/2 = 1; of equal draws 0.
    # Without a baseline: (0, 0): -10 * 2/2 = -10; (0, 1): (11 - 10)/2 = 0.5; (1, 1): 11.
    logits = torch.zeros(1, 2, requires_grad=True)
    gradients = {}
    for draw in ([0, 0], [0, 1], [1, 1]):
        rewards = torch.tensor([[10.0, 11.0]])[:, draw]
        tokens = torch.tensor(draw)[:, None]
        for name, values in (("siblings", leave_one_out_advantage(rewards)), ("none", rewards)):
            chosen = token_log_probs(logits.expand(2, 1, 2), tokens)
            loss = self_critical_loss(chosen, values.flatten(), torch.ones(2, 1, dtype=torch.bool))
            gradients.setdefault(name, []).append(torch.autograd.grad(loss, logits)[0][0, 0].item())
    assert gradients == {"siblings": pytest.approx([0, 1, 0]), "none": pytest.approx([-10, 0.5, 11])}


def test_kl_divergence_by_hand():
    # KL((1/2, 1/2) || (1/4, 3/4)) = (ln 2 + ln (2/3)) / 2; the second position does not count.
    p = torch.tensor([[[0.5, 0.5], [0.9, 0.1]]]).log()
    q = torch.tensor([[[0.25, 0.75], [0.1, 0.9]]]).log()
    divergence = kl_divergence(p, q, torch.tensor([[True, False]]))
    assert divergence.item() == pytest.approx((math.log(2) + math.log(2 / 3)) / 2, rel=1e-5)


def test_kl_divergence_equals_torch_distributions_and_moves_the_first_argument_only():
    generator = torch.Generator().manual_seed(4)
    logits, frozen = (3 * torch.randn(4, 5, 17, generator=generator) for _ in range(2))
    logits.requires_grad_(), frozen.requires_grad_()
    mask = torch.rand(4, 5, generator=generator) < 0.6
    ours = kl_divergence(logits, frozen, mask)
    by_position = torch.distributions.kl_divergence(Categorical(logits=logits), Categorical(logits=frozen))
    expected = by_position[mask].sum()
    assert ours.item() == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(torch.autograd.grad(ours, logits)[0], torch.autograd.grad(expected, logits)[0])
    assert torch.autograd.grad(kl_divergence(logits, frozen, mask), frozen, allow_unused=True) == (None,)


def test_kl_divergence_banned_token_changes_neither_value_nor_gradient():
    mask, pairs = torch.ones(1, 1, dtype=torch.bool), []
    for ban in (False, True):
        logits, frozen = (torch.tensor([[values]]) for values in ([1.0, 0.0, 2.0], [0.0, 1.0, 2.0]))
        if ban:
            banned = torch.full((1, 1, 1), -math.inf)
            logits, frozen = (torch.cat([tensor, banned], dim=-1) for tensor in (logits, frozen))
        logits.requires_grad_()
        divergence = kl_divergence(logits, frozen, mask)
        divergence.backward()
        pairs.append((divergence.detach(), logits.grad[..., :3]))
    torch.testing.assert_close(*pairs, rtol=1e-6, atol=0)
    assert pairs[0][0] > 0


def test_kl_divergence_without_counted_tokens_is_zero_with_a_gradient():
    logits = torch.zeros(1, 2, 3, requires_grad=True)
    kl_divergence(logits, torch.zeros(1, 2, 3), torch.zeros(1, 2, dtype=torch.bool)).backward()
    assert logits.grad.abs().max() == 0
