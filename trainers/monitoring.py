"""Numbers of training steps, gathered over micro-batches and ranks, and alarms that end a run which learns nothing."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

ALARM_STEPS = 50
MAX_UNENDED_SHARE = 0.95
FIRST_STEPS = 10
"""After which a model is looked at that may not be able to caption yet."""
DOUBTFUL_SHARE = 0.5
"""Of captions without an end, over these steps."""


class StepMeter:
    """Means and deviations since the last log entry.

    Numbers are added as sums with counts, so that a mean is over tokens, captions or images and not over micro-batches.
    The ranks are added up in one go at the end of a step, or of several: all must add the same names, a count of 0
    included, and call :meth:`end_step` and :meth:`drain` together.

    Args:
        reduce: Adds up a float64 tensor on the CPU over the ranks and returns it on the CPU; None for one process.
    """

    def __init__(self, reduce: Callable[[Tensor], Tensor] | None = None) -> None:
        self._reduce = reduce
        self._pending: dict[str, list[tuple[Tensor | float, Tensor | float, Tensor | float]]] = {}
        self._window: dict[str, Tensor] = {}
        self._with_deviation: set[str] = set()
        self._before_step: dict[str, int] = {}

    def begin_step(self) -> None:
        """What is added from here on belongs to one optimizer step."""
        self._before_step = {name: len(entries) for name, entries in self._pending.items()}

    def forget_step(self) -> None:
        """Drop what was added since :meth:`begin_step`; nobody must have called :meth:`end_step` since."""
        for name, entries in [*self._pending.items()]:
            del entries[self._before_step.get(name, 0) :]
            if not entries:
                del self._pending[name]

    def add(self, name: str, total: Tensor | float, count: Tensor | float) -> None:
        """Add a sum over ``count`` things; nothing waits for the device."""
        self._pending.setdefault(name, []).append((_detach(total), _detach(count), 0.0))

    def add_values(self, name: str, values: Tensor) -> None:
        """Add single values of any shape, whose deviation is wanted beside their mean."""
        values = values.detach().cpu().double()
        self._with_deviation.add(name)
        self._pending.setdefault(name, []).append((values.sum(), float(values.numel()), values.square().sum()))

    def end_step(self) -> dict[str, float]:
        """The numbers of everything added since the last call, on every rank those of all ranks."""
        names = sorted(self._pending)
        if not names:
            return {}
        rows = ([[float(number) for number in entry] for entry in self._pending[name]] for name in names)
        # Not math.fsum, which raises on inf - inf.
        sums = torch.stack([torch.tensor(entries, dtype=torch.float64).sum(0) for entries in rows])
        if self._reduce is not None:
            sums = self._reduce(sums)
        self._pending = {}
        step = dict(zip(names, sums, strict=True))
        for name, row in step.items():
            self._window[name] = self._window.get(name, torch.zeros(3, dtype=torch.float64)) + row
        return self._describe(step)

    def drain(self) -> dict[str, float]:
        """The numbers of all steps since the last call, the open one included.

        Returns:
            By name the mean; with :meth:`add_values` also the population deviation, ``reward_std`` beside ``reward``
            and ``reward_std/bleu_4`` beside ``reward/bleu_4``. Names whose counts are 0 are left out.
        """
        self.end_step()
        numbers = self._describe(self._window)
        self._window = {}
        return numbers

    def state(self) -> dict[str, Any]:
        """What was gathered since the last log entry up to the end of a step, JSON-like."""
        return {
            "sums": {name: row.tolist() for name, row in self._window.items()},
            "with_deviation": sorted(self._with_deviation),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take back what :meth:`state` gave."""
        self._window = {name: torch.tensor(row, dtype=torch.float64) for name, row in state["sums"].items()}
        self._with_deviation = set(state["with_deviation"])

    def _describe(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        numbers = {}
        for name, row in sums.items():
            total, count, squares = row.tolist()
            if count:
                numbers[name] = total / count
            if count and name in self._with_deviation:
                head, slash, term = name.partition("/")
                variance = squares / count - numbers[name] ** 2
                numbers[f"{head}_std{slash}{term}"] = math.sqrt(max(variance, 0.0))  # below 0 only by rounding
        return numbers


def _detach(value: Tensor | float) -> Tensor | float:
    return value.detach() if isinstance(value, Tensor) else value


def record_samples(
    meter: StepMeter,
    *,
    rewards: Tensor,
    terms: Mapping[str, Tensor],
    caption_mask: Tensor,
    ended: Sequence[bool],
    captions: Sequence[str],
    greedy_rewards: Tensor | None = None,
) -> None:
    """Add what there is to know about a micro-batch of drawn captions.

    ``reward`` and ``reward_std``, ``reward/<term>`` and ``reward_std/<term>``, and these:

    ``flat_share`` is the share of images whose rewards are all equal, the greedy baseline's included: they give no
    gradient. ``caption_length`` counts tokens with EOS. ``distinct_2`` is the share of different word pairs among all
    pairs of the micro-batch, 0 if there are none; it falls with more captions in a micro-batch, so compare it between
    runs of one size only.

    Args:
        meter: What they are added to.
        rewards: Shape (B, K).
        terms: By name the unweighted reward term, any shape.
        caption_mask: bool (N, T), True = counts, EOS included.
        ended: Which of the N captions have an EOS.
        captions: N texts; words are divided by white space.
        greedy_rewards: Of the baseline, if it is the greedy caption. Shape (B,).
    """
    meter.add_values("reward", rewards)
    for name, values in terms.items():
        meter.add_values(f"reward/{name}", values)
    compared = rewards[:, :1] if greedy_rewards is None else greedy_rewards[:, None]
    meter.add("flat_share", rewards.eq(compared).all(1).sum(), len(rewards))
    meter.add("caption_length", caption_mask.sum(), len(caption_mask))
    meter.add("unended_share", len(ended) - sum(ended), len(ended))
    words = [caption.split() for caption in captions]
    pairs = [pair for row in words for pair in zip(row, row[1:], strict=False)]
    meter.add("distinct_2", len(set(pairs)) / max(len(pairs), 1), 1)


class Advice(NamedTuple):
    """What to change where training on drawn captions went wrong, besides ``train.lr`` and ``scst.rewards``."""

    alike: str
    """Where the captions of an image are all alike."""
    endless: str
    """Where they do not end."""


SCST_ADVICE = Advice(
    "scst.kl_weight above 0 or a higher scst.temperature",
    "a lower scst.temperature, scst.kl_weight or scst.cross_entropy_weight above 0",
)
PREFERENCE_ADVICE = Advice(
    "a higher preference.beta or a higher preference.temperature",
    "a lower preference.temperature, preference.cross_entropy_weight above 0",
)


class DrawingAlarms:
    """Ends training on drawn captions that went wrong in a way more steps do not mend.

    To be told of every optimizer step, with the numbers of all ranks.

    Args:
        advice: For the messages.
    """

    def __init__(self, advice: Advice = SCST_ADVICE) -> None:
        self.advice = advice
        self._flat_steps = self._unended_steps = self._steps = 0
        self._unended = 0.0

    def state(self) -> dict[str, float]:
        """How many steps in a row were flat, or without ends; all steps, and the sum of their shares without ends."""
        return {
            "flat_steps": self._flat_steps,
            "unended_steps": self._unended_steps,
            "steps": self._steps,
            "unended": self._unended,
        }

    def load_state(self, state: Mapping[str, float]) -> None:
        """Take back what :meth:`state` gave."""
        self._flat_steps, self._unended_steps = int(state["flat_steps"]), int(state["unended_steps"])
        # Runs of earlier versions did not count all steps: they are past the first ones.
        self._steps, self._unended = int(state.get("steps", FIRST_STEPS)), state.get("unended", 0.0)

    def check(self, step: int, *, reward: float, flat_share: float, unended_share: float) -> None:
        """Look at one step.

        Args:
            step: Optimizer step, for the message.
            reward: Mean reward.
            flat_share: Share of images without a gradient, as :func:`record_samples` counts them.
            unended_share: Share of captions without EOS.

        Raises:
            ValueError: If for ``ALARM_STEPS`` steps every image was flat, or more than ``MAX_UNENDED_SHARE`` of the
                captions did not end. The message says what to change.
        """
        self._flat_steps = self._flat_steps + 1 if flat_share == 1.0 else 0
        self._unended_steps = self._unended_steps + 1 if unended_share > MAX_UNENDED_SHARE else 0
        self._steps, self._unended = self._steps + 1, self._unended + unended_share
        if self._steps == FIRST_STEPS and self._unended > DOUBTFUL_SHARE * FIRST_STEPS:
            logger.warning(
                "the first %d steps drew captions of which %.0f%% ran to the limit without an end: the model cannot "
                "caption yet, and rewards teach it little. Train it with cross-entropy longer first; or, if captions "
                "are meant to be that long, raise decode.max_length",
                *(FIRST_STEPS, 100 * self._unended / FIRST_STEPS),
            )
        if self._flat_steps >= ALARM_STEPS:
            raise ValueError(
                f"step {step}: for {ALARM_STEPS} steps all captions of every image had the same reward (now "
                f"{reward:.4g} on average), so nothing is learnt. If the captions of an image are all alike, start "
                f"again with a lower train.lr, {self.advice.alike}; if they differ, add a term to scst.rewards that "
                "tells them apart, such as bleu_4, or train with cross-entropy longer."
            )
        if self._unended_steps >= ALARM_STEPS:
            raise ValueError(
                f"step {step}: for {ALARM_STEPS} steps more than {MAX_UNENDED_SHARE:.0%} of the drawn captions ran to "
                f"the limit without an end. Start again with a lower train.lr, {self.advice.endless}, or a length term "
                "in scst.rewards; if captions are meant to be that long, raise decode.max_length."
            )
