from __future__ import annotations

import math
import re
import statistics

import pytest
import torch

from configuration.loading import RunConfig
from trainers.callbacks import to_metrics
from trainers.monitoring import ALARM_STEPS, FIRST_STEPS, DrawingAlarms, StepMeter, record_samples


def test_step_meter_means_are_over_counts_and_not_over_micro_batches():
    meter = StepMeter()
    meter.add("scst", torch.tensor(6.0, requires_grad=True), torch.tensor(2))
    meter.add("scst", 4.0, 8)
    assert meter.drain() == {"scst": (6 + 4) / (2 + 8)}


def test_step_meter_deviation_is_that_of_all_values_together():
    meter, values = StepMeter(), [0.25, 0.5, 3.0, 1.0, 7.5]
    meter.add_values("reward", torch.tensor([values[:2]]))
    meter.add_values("reward", torch.tensor(values[2:]))
    meter.add_values("reward/bleu_4", torch.tensor([2.0, 4.0]))
    assert meter.drain() == pytest.approx(
        {
            "reward": statistics.mean(values),
            "reward_std": statistics.pstdev(values),
            "reward/bleu_4": 3.0,
            "reward_std/bleu_4": 1.0,
        }
    )


def test_step_meter_deviation_of_equal_large_values_is_zero_but_for_rounding():
    meter = StepMeter()
    for _ in range(1000):
        meter.add_values("reward", torch.full((5,), 9.7))
    assert 0 <= meter.drain()["reward_std"] < 1e-6  # float32 sums of squares would be off by 1e-2


def test_step_meter_steps_are_reported_one_by_one_and_together_at_the_log_entry():
    meter = StepMeter()
    meter.add("kl", 6.0, 2)
    assert meter.end_step() == {"kl": 3.0}
    assert meter.end_step() == {}
    meter.add("kl", 4.0, 8)
    assert meter.end_step() == {"kl": 0.5}
    meter.add("kl", 1.0, 1)  # its step is still open
    assert meter.drain() == {"kl": 11 / 11}
    assert meter.drain() == {}


def test_step_meter_count_of_zero_gives_no_number():
    meter = StepMeter()
    meter.add("masked_lm", torch.tensor(0.0), 0)
    meter.add("cross_entropy", 2.0, 1)
    assert meter.drain() == {"cross_entropy": 2.0}


def test_step_meter_two_ranks_give_the_numbers_of_one_process():
    rewards = [torch.tensor([0.5, 1.5, 4.0]), torch.tensor([2.0])]
    alone, sent = StepMeter(), []
    other = StepMeter(lambda sums: sent.append(sums) or sums)
    this = StepMeter(lambda sums: sums + sent[-1])
    for place, meter in enumerate((other, this)):
        order = ("scst", "kl") if place else ("kl", "scst")  # the order of adding may differ
        for name in order:
            meter.add(name, place + 1.0, 3)
            alone.add(name, place + 1.0, 3)
        meter.add_values("reward", rewards[place])
        alone.add_values("reward", rewards[place])
    other.end_step()
    step, expected = this.end_step(), alone.end_step()
    assert step == pytest.approx(expected, rel=1e-12)
    assert expected["reward"] == 2.0
    assert this.drain() == step
    assert len(sent) == 1  # the log entry needs no word from the other rank


@pytest.mark.parametrize("values", [(math.inf, -math.inf), (math.inf, math.inf), (1.0, math.nan)])
def test_step_meter_numbers_that_are_not_finite_stay_so(values):
    meter = StepMeter()
    for value in values:
        meter.add("scst", torch.tensor(value), 1)
        meter.add_values("reward", torch.tensor([value]))
    step = meter.end_step()
    total = sum(values)
    assert [step["scst"], step["reward"]] == pytest.approx([total, total], nan_ok=True)


def record(meter, rewards, captions=("a b", "a b"), greedy=None, ended=(True, True)):
    record_samples(
        meter,
        rewards=rewards,
        terms={"length": torch.ones(2)},
        caption_mask=torch.tensor([[True, True, False], [True, True, True]]),
        ended=ended,
        captions=captions,
        greedy_rewards=greedy,
    )


def test_record_samples_by_hand():
    meter = StepMeter()
    captions = ("a dog runs", "a dog", "dog", "")
    record(meter, torch.tensor([[1.0, 1.0], [2.0, 4.0]]), captions, ended=(True, False, True, True))
    assert meter.drain() == pytest.approx(
        {
            "reward": 2.0,
            "reward_std": math.sqrt((1 + 1 + 0 + 4) / 4),
            "reward/length": 1.0,
            "reward_std/length": 0.0,
            "flat_share": 0.5,  # the first image
            "caption_length": 2.5,
            "unended_share": 0.25,
            "distinct_2": 2 / 3,  # a-dog, dog-runs, a-dog
        }
    )


def test_record_samples_greedy_reward_decides_whether_an_image_is_flat():
    meter, rewards = StepMeter(), torch.tensor([[1.0, 1.0], [2.0, 2.0], [3.0, 4.0]])
    record(meter, rewards, greedy=torch.tensor([0.5, 2.0, 3.0]))
    assert meter.drain()["flat_share"] == pytest.approx(1 / 3)
    record(meter, rewards)
    assert meter.drain()["flat_share"] == pytest.approx(2 / 3)


def test_record_samples_captions_without_pairs_have_none_that_differ():
    meter = StepMeter()
    record(meter, torch.ones(1, 2), ("one", ""))
    assert meter.drain()["distinct_2"] == 0.0


def test_record_samples_adds_what_is_monitored_and_to_metrics_keeps_it():
    meter = StepMeter()
    record(meter, torch.ones(1, 2))
    numbers = meter.drain()
    assert {"reward", "reward_std", "flat_share", "caption_length", "unended_share", "distinct_2"} <= numbers.keys()
    assert to_metrics(numbers) == {f"train/{name}": value for name, value in numbers.items()}


def test_to_metrics_keeps_what_was_gathered_and_drops_what_is_about_the_program():
    logs = {"scst": 1.0, "a_loss_of_tomorrow": 1.5, "reward/cider_d": 0.5}
    logs |= {"loss": 2.0, "grad_norm": 3.0, "learning_rate": 4.0, "eval_loss": 5.0, "eval_CIDEr": 6.0}
    dropped = {"train_runtime": 7.0, "epoch": 1.0, "train_loss": 1.0, "total_flos": 8, "loss_word": "x"}
    expected = {"train/scst": 1.0, "train/a_loss_of_tomorrow": 1.5, "train/reward/cider_d": 0.5}
    expected |= {"train/loss": 2.0, "train/grad_norm": 3.0, "train/lr": 4.0, "val/loss": 5.0, "val/CIDEr": 6.0}
    assert to_metrics(logs | dropped) == expected


def told(alarms, steps, first=0, **numbers):
    """The alarms after some steps with these numbers, and sound ones for the rest."""
    for step in range(first, first + steps):
        alarms.check(step, **({"reward": 0.4, "flat_share": 0.2, "unended_share": 0.1} | numbers))


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"flat_share": 1.0}, r"^step 49: for 50 steps all captions .* same reward \(now 0.4 on average\)"),
        ({"unended_share": 0.951}, "^step 49: for 50 steps more than 95% .* without an end"),
    ],
)
def test_alarms_stop_at_the_last_step_of_a_bad_window(numbers, message):
    alarms = DrawingAlarms()
    told(alarms, ALARM_STEPS - 1, **numbers)
    with pytest.raises(ValueError, match=message):
        told(alarms, 1, first=ALARM_STEPS - 1, **numbers)


@pytest.mark.parametrize("numbers", [{"flat_share": 1.0}, {"unended_share": 1.0}])
def test_alarms_one_sound_step_starts_the_window_again(numbers):
    alarms = DrawingAlarms()
    told(alarms, ALARM_STEPS - 1, **numbers)
    told(alarms, 1)
    told(alarms, ALARM_STEPS - 1, **numbers)


def test_alarms_nearly_flat_and_nearly_unended_training_goes_on():
    told(DrawingAlarms(), 3 * ALARM_STEPS, flat_share=0.99, unended_share=0.95)


def test_alarms_doubt_early_that_a_model_can_caption(caplog):
    """Most captions without an end over the first steps, counted over a pause, and told once."""
    told(DrawingAlarms(), 3 * FIRST_STEPS, unended_share=0.5)
    assert "without an end" not in caplog.text
    before, after = DrawingAlarms(), DrawingAlarms()
    told(before, FIRST_STEPS - 1, unended_share=0.9)
    after.load_state(before.state())
    assert "without an end" not in caplog.text
    told(after, 2, unended_share=0.1)
    assert caplog.text.count("the first 10 steps drew captions of which 82% ran to the limit without an end") == 1


def test_alarms_advise_settings_that_exist():
    messages = []
    for numbers in ({"flat_share": 1.0}, {"unended_share": 1.0}):
        with pytest.raises(ValueError, match="Start again|start again") as raised:
            told(DrawingAlarms(), ALARM_STEPS, **numbers)
        messages.append(str(raised.value))
    named = set(re.findall(r"\b([a-z]+)\.([a-z_]+)", " ".join(messages)))
    assert len(named) >= 6
    for group, setting in named:
        assert setting in RunConfig.model_fields[group].annotation.model_fields
