"""Random histories of saves, deaths, damage and losses: what was good and nobody damaged is still there."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from runs.checkpoints import Verifier, choose_checkpoint, prune
from tests.faults import saves
from tests.faults.tally import IS_LONG
from utils.durable import clear_leftovers
from utils.errors import Fault
from utils.manifest import MANIFEST_FILE

MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
FILES = ("model.safetensors", "optimizer.pt", "trainer_state.json", MANIFEST_FILE)


class Died(BaseException):
    """Ends a save where a kill does: between two calls of the system nothing of ours runs behind it."""


class Histories(RuleBasedStateMachine):
    """``good`` is what was saved to its end, in the order of time, less what the test itself has damaged."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="histories-", dir=MEMORY))
        self.step, self.scores, self.spoilt = 0, dict[int, float | None](), set[int]()
        self.held: set[int] = set()
        self.store = saves.make_store(self.root / "run")

    def teardown(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)

    @rule(score=st.sampled_from([None, 0.1, 0.2, 0.2, 0.3]))
    def save(self, score: float | None) -> None:
        self.step += 1
        saves.save_step(self.store, self.step, score)
        self.scores[self.step] = score

    @precondition(lambda self: self.step > 0)
    @rule()
    def save_again(self) -> None:
        saves.save_step(self.store, self.step, self.scores.get(self.step))
        self.scores.setdefault(self.step, None)
        self.spoilt.discard(self.step)

    @rule(after=st.sampled_from(["files", "seal", "rename"]))
    def die_while_saving(self, after: str) -> None:
        run, step = self.store.run, self.step + 1
        aside = run.checkpoints / f".tmp-checkpoint-{step}"
        aside.mkdir(parents=True, exist_ok=True)
        saves.write_files(aside, step)
        if after == "rename":
            aside.rename(run.checkpoint(step))  # without a manifest, as former versions did
            self.step = step
            self.spoilt.add(step)
        self.start_again()

    @rule(
        pick=st.integers(0, 20), name=st.sampled_from(FILES), how=st.sampled_from(["absent", "empty", "bit", "folder"])
    )
    def damage(self, pick: int, name: str, how: str) -> None:
        folders = [folder for _, folder in self.store.run.numbered_checkpoints()]
        if not folders:
            return
        folder = folders[pick % len(folders)]
        self.spoilt.add(int(folder.name.rpartition("-")[2]))
        file = folder / name
        if how == "folder":
            shutil.rmtree(folder)
        elif how == "absent" or not file.exists() or not file.stat().st_size:
            file.unlink(missing_ok=True)
        elif how == "empty":
            file.write_bytes(b"")
        else:
            data = bytearray(file.read_bytes())
            data[len(data) // 2] ^= 1
            file.write_bytes(data)

    @rule()
    def start_again(self) -> None:
        """A new process knows nothing of what the one before has read."""
        clear_leftovers(self.store.run.checkpoints)
        self.store = saves.make_store(self.root / "run")

    @rule(keep_last=st.integers(2, 9), keep_best=st.integers(1, 3))
    def prune_otherwise(self, keep_last: int, keep_best: int) -> None:
        prune(self.store.run, Verifier(), keep_last=keep_last, keep_best=keep_best, greater_is_better=False)

    @invariant()
    def newest_good_is_chosen(self) -> None:
        """And no broken one ever, whatever the test has damaged."""
        try:
            chosen = choose_checkpoint(self.store.run, Verifier())
        except Fault:
            chosen = None
        assert (None if chosen is None else chosen.step) == max(self._good(), default=None)

    @invariant()
    def nothing_but_damage_loses_the_newest_or_the_best(self) -> None:
        """Of those that were good before this rule and that it did not damage."""
        wanted, self.held = {step for step in self.held if step not in self.spoilt}, self._good()
        if wanted:
            assert max(wanted) in self.held or max(self.held) > max(wanted), f"newest of {wanted} in {self.held}"
        if best := self._best(wanted | self.held):
            assert best in self.held, f"{best} of {wanted} in {self.held}"

    def _good(self) -> set[int]:
        run = self.store.run
        return {step for step in self.scores if step not in self.spoilt and run.checkpoint(step).is_dir()}

    def _best(self, steps: set[int]) -> int | None:
        scored = {step: score for step in steps if (score := self.scores[step]) is not None}
        return min(scored, key=lambda step: (scored[step], step), default=None)


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=400 if IS_LONG else 12,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    phases=(Phase.generate,),
    suppress_health_check=[HealthCheck.too_slow],
)
