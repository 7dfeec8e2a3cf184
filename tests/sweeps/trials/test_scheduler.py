"""A sweep from its first stretch to its last, on an engine that trains nothing but leaves what training leaves."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from configuration.loading import load_config
from runs.folder import Run
from runs.metrics_log import has_reached
from sweeps.standings.leaderboard import make_leaderboard
from sweeps.trials.folder import SweepFolder
from sweeps.trials.jobs import Job, Outcome
from sweeps.trials.plan import Plan
from sweeps.trials.scheduler import OpenStretch, run_sweep, stretch_of

MakeSweep = Callable[..., tuple[SweepFolder, Plan]]
WriteRun = Callable[..., Run]
Started = list[tuple[str, float | None]]
SIX = {"axes": {"train.lr": [1e-3, 2e-3, 3e-3, 4e-3, 5e-3, 6e-3]}, "halving": {"first": 0.5}}
"""Six configurations, of which three go on at 0.5 epochs and two at 1 epoch; the higher rate is the better."""


class FakeEngine:
    """Does what finetune.py would, with a likelihood that falls with the learning rate and with the epochs.

    Args:
        write_run: The fixture.
        crashing: Trials that never come to a validation.
        interrupted: Trials at which the whole engine stops, as on Ctrl-C.
    """

    def __init__(self, write_run: WriteRun, crashing: Sequence[str] = (), interrupted: Sequence[str] = ()) -> None:
        self.write_run, self.crashing, self.interrupted = write_run, crashing, interrupted
        self.started: Started = []

    def run(self, jobs: Sequence[Job]) -> dict[str, Outcome]:
        return {job.name: self.train(job) for job in jobs}

    def train(self, job: Job) -> Outcome:
        if job.name in self.interrupted:
            raise KeyboardInterrupt
        given = dict(zip(job.arguments[::2], job.arguments[1::2], strict=True))
        settings = [
            value for name, value in zip(job.arguments[::2], job.arguments[1::2], strict=True) if name == "--set"
        ]
        config = load_config(Path(given["--conf"]), settings)
        pause = float(given["--pause_after"]) if "--pause_after" in given else None
        self.started.append((job.name, pause))
        if job.name in self.crashing:
            return Outcome(137, 2, "ended by signal 9")
        run = Run(config.work_dir)
        saved = [int(path.name.removeprefix("checkpoint-")) / 100 for path in run.checkpoints.glob("checkpoint-*")]
        epoch = max(saved, default=0.0)
        while epoch < config.train.epochs:
            epoch += config.checkpoint.every_epochs
            self.write_run(run.root, {epoch: 10 - 1000 * config.train.lr - epoch})
            if pause is not None and has_reached(epoch, pause) and epoch < config.train.epochs:
                return Outcome(0, 1, "")
        self.write_run(run.root, overall={"CIDEr": 100 * config.train.lr})
        return Outcome(0, 1, "")


def points_of(started: Started) -> list[tuple[int, float | None]]:
    return [(int(name.partition("-")[0]), pause) for name, pause in started]


def states(folder: SweepFolder, plan: Plan) -> dict[int, str]:
    return {row["point"]: row["state"] for row in make_leaderboard(folder, plan)["configurations"]}


def test_run_sweep_halves_until_the_best_are_trained(make_sweep: MakeSweep, write_run: WriteRun):
    folder, plan = make_sweep(**SIX)
    engine, entered = FakeEngine(write_run), list[OpenStretch]()
    assert run_sweep(folder, plan, engine, entered.append) == {}
    # The best of a comparison starts first in the next stretch.
    expected: list[tuple[int, float | None]] = [(point, 0.5) for point in range(1, 7)]
    expected += [(6, 1.0), (5, 1.0), (4, 1.0), (6, None), (5, None)]
    assert points_of(engine.started) == expected
    assert [(stretch.number, stretch.total, len(stretch.trials)) for stretch in entered] == [
        (1, 3, 6),
        (2, 3, 3),
        (3, 3, 2),
    ]
    assert states(folder, plan) == {6: "trained", 5: "trained", 4: "stopped", 1: "stopped", 2: "stopped", 3: "stopped"}
    reached = {row["point"]: row["epochs"] for row in make_leaderboard(folder, plan)["configurations"]}
    assert reached == {1: 0.5, 2: 0.5, 3: 0.5, 4: 1.0, 5: 2.0, 6: 2.0}


def test_run_sweep_a_second_time_starts_nothing(make_sweep: MakeSweep, write_run: WriteRun):
    folder, plan = make_sweep(**SIX)
    run_sweep(folder, plan, FakeEngine(write_run))
    again = FakeEngine(write_run)
    assert run_sweep(folder, plan, again) == {}
    assert again.started == []


def test_run_sweep_without_halving_trains_every_seed_to_the_end(make_sweep: MakeSweep, write_run: WriteRun):
    folder, plan = make_sweep(seeds=[1, 2])
    engine = FakeEngine(write_run)
    run_sweep(folder, plan, engine)
    assert engine.started == [(f"00{point}-seed{seed}", None) for point in (1, 2, 3) for seed in (1, 2)]
    assert {*states(folder, plan).values()} == {"trained"}


def test_run_sweep_all_seeds_of_a_configuration_go_on(make_sweep: MakeSweep, write_run: WriteRun):
    folder, plan = make_sweep(axes={"train.lr": [1e-3, 2e-3]}, seeds=[1, 2], halving={"first": 0.5})
    engine = FakeEngine(write_run)
    run_sweep(folder, plan, engine)
    assert engine.started[4:] == [("002-seed1", None), ("002-seed2", None)]


def test_run_sweep_crash_in_the_first_stretch_is_recorded_and_stops_no_other(
    make_sweep: MakeSweep, write_run: WriteRun
):
    folder, plan = make_sweep(**SIX)
    engine = FakeEngine(write_run, crashing=["006-seed7", "001-seed7"])
    failures = run_sweep(folder, plan, engine)
    assert failures == {name: Outcome(137, 2, "ended by signal 9") for name in ("001-seed7", "006-seed7")}
    assert points_of(engine.started)[6:] == [(5, 1.0), (4, 1.0), (3, 1.0), (5, None), (4, None)]
    assert states(folder, plan) == {
        1: "failed",
        2: "stopped",
        3: "stopped",
        4: "trained",
        5: "trained",
        6: "failed",
    }
    record = json.loads(folder.failure(plan.trials[5]).read_text())
    assert record == {"code": 137, "starts": 2, "message": "ended by signal 9"}


def test_run_sweep_again_gives_crashed_trials_another_chance(make_sweep: MakeSweep, write_run: WriteRun):
    folder, plan = make_sweep(**SIX | {"halving": None})
    run_sweep(folder, plan, FakeEngine(write_run, crashing=["006-seed7"]))
    again = FakeEngine(write_run)
    assert run_sweep(folder, plan, again) == {}
    assert points_of(again.started) == [(6, None)]
    assert states(folder, plan)[6] == "trained"
    assert not folder.failure(plan.trials[5]).exists()


def test_run_sweep_again_keeps_the_choice_that_was_made_without_a_crashed_trial(
    make_sweep: MakeSweep, write_run: WriteRun
):
    """Or a trial that crashed and would have been the best makes one more configuration be trained to the end."""
    folder, plan = make_sweep(**SIX)
    run_sweep(folder, plan, FakeEngine(write_run, crashing=["006-seed7"]))
    before = states(folder, plan)
    again = FakeEngine(write_run)
    assert run_sweep(folder, plan, again) == {}
    assert again.started == []
    assert states(folder, plan) == before
    assert before[6] == "failed"


def test_run_sweep_again_tries_crashed_trials_where_too_few_were_left_to_choose_from(
    make_sweep: MakeSweep, write_run: WriteRun
):
    folder, plan = make_sweep(**SIX)
    crashing = [trial.name for trial in plan.trials[1:]]
    run_sweep(folder, plan, FakeEngine(write_run, crashing=crashing))
    assert states(folder, plan)[1] == "trained"
    again = FakeEngine(write_run)
    run_sweep(folder, plan, again)
    assert {point for point, place in points_of(again.started) if place == 0.5} == {2, 3, 4, 5, 6}


def test_run_sweep_in_which_all_crash_ends_with_all_failures(make_sweep: MakeSweep, write_run: WriteRun):
    folder, plan = make_sweep(**SIX)
    names = [trial.name for trial in plan.trials]
    assert [*run_sweep(folder, plan, FakeEngine(write_run, crashing=names))] == names
    assert {*states(folder, plan).values()} == {"failed"}


@pytest.mark.parametrize("place", ["004-seed7", "006-seed7"])
def test_run_sweep_interrupted_goes_on_with_what_is_left(make_sweep: MakeSweep, write_run: WriteRun, place: str):
    folder, plan = make_sweep(**SIX)
    interrupted = FakeEngine(write_run, interrupted=[place])
    with pytest.raises(KeyboardInterrupt):
        run_sweep(folder, plan, interrupted)
    whole = FakeEngine(write_run)
    assert run_sweep(folder, plan, whole) == {}
    expected: list[tuple[int, float | None]] = [(point, 0.5) for point in range(int(place[:3]), 7)]
    assert points_of(whole.started) == [*expected, (6, 1.0), (5, 1.0), (4, 1.0), (6, None), (5, None)]


def test_run_sweep_interrupted_in_the_second_stretch_repeats_nothing_of_the_first(
    make_sweep: MakeSweep, write_run: WriteRun
):
    folder, plan = make_sweep(**SIX)
    first = FakeEngine(write_run)

    def enter(stretch: OpenStretch) -> None:
        first.interrupted = ["005-seed7"] if stretch.number == 2 else []

    with pytest.raises(KeyboardInterrupt):
        run_sweep(folder, plan, first, enter)
    assert points_of(first.started)[6:] == [(6, 1.0)]
    rest = FakeEngine(write_run)
    run_sweep(folder, plan, rest)
    assert points_of(rest.started) == [(5, 1.0), (4, 1.0), (6, None), (5, None)]


def test_run_sweep_trial_killed_between_validation_and_checkpoint_is_trained_on(
    make_sweep: MakeSweep, write_run: WriteRun
):
    folder, plan = make_sweep(**SIX)
    write_run(folder.run(plan.trials[2]), {0.5: 6.5}, saved=False)
    engine = FakeEngine(write_run)
    run_sweep(folder, plan, engine)
    assert ("003-seed7", 0.5) in engine.started


def test_run_sweep_model_without_results_is_only_started_for_those(make_sweep: MakeSweep, write_run: WriteRun):
    folder, plan = make_sweep(axes={"train.lr": [1e-3]})
    write_run(folder.run(plan.trials[0]), {2.0: 3.0}).output.mkdir()
    engine = FakeEngine(write_run)
    run_sweep(folder, plan, engine)
    assert engine.started == [("001-seed7", None)]


def test_run_sweep_damaged_results_are_refused_before_anything_is_started(make_sweep: MakeSweep, write_run: WriteRun):
    folder, plan = make_sweep(**SIX)
    write_run(folder.run(plan.trials[5]), overall={"CIDEr": 0.5})
    (folder.run(plan.trials[5]) / "eval/val.json").write_text('{"overall": {"CID')
    engine = FakeEngine(write_run)
    with pytest.raises(ValueError, match="006-seed7/eval/val.json.*Remove it and start the sweep again"):
        run_sweep(folder, plan, engine)
    assert engine.started == []


def test_run_sweep_job_that_ends_well_without_a_result_has_failed(make_sweep: MakeSweep):
    class Idle:
        def run(self, jobs: Sequence[Job]) -> dict[str, Outcome]:
            return {job.name: Outcome(0, 1, "") for job in jobs if job.name != "003-seed7"}

    folder, plan = make_sweep()
    assert run_sweep(folder, plan, Idle()) == {
        "001-seed7": Outcome(0, 1, "ended without a result"),
        "002-seed7": Outcome(0, 1, "ended without a result"),
        "003-seed7": Outcome(1, 0, "was never started"),
    }


def test_run_sweep_crash_after_the_result_is_no_failure(make_sweep: MakeSweep, write_run: WriteRun):
    """As when the report cannot be written: what the sweep needs is there."""

    class Late(FakeEngine):
        def train(self, job: Job) -> Outcome:
            super().train(job)
            return Outcome(1, 2, "exit code 1")

    folder, plan = make_sweep()
    assert run_sweep(folder, plan, Late(write_run)) == {}
    assert {*states(folder, plan).values()} == {"trained"}


def test_run_sweep_trial_that_fails_in_one_stretch_and_ends_the_next_is_no_failure(
    make_sweep: MakeSweep, write_run: WriteRun
):
    """Its validation is there, but the disk was full when the checkpoint was written; in the next stretch it is not."""
    folder, plan = make_sweep(axes={"train.lr": [1e-3, 2e-3]}, halving={"first": 0.5, "factor": 2})

    class Full(FakeEngine):
        def train(self, job: Job) -> Outcome:
            if job.name == "002-seed7" and "--pause_after" in job.arguments:
                write_run(folder.run(plan.trials[1]), {0.5: 1.0}, saved=False)
                return Outcome(1, 2, "exit code 1: no space left on device")
            return super().train(job)

    failures = run_sweep(folder, plan, Full(write_run))
    assert (states(folder, plan)[2] == "trained") == ("002-seed7" not in failures)


def test_stretch_of_orders_trials_by_what_they_reached(make_sweep: MakeSweep, write_run: WriteRun):
    folder, plan = make_sweep(axes={"train.lr": [1e-3, 2e-3, 3e-3, 4e-3]}, seeds=[1, 2], halving={"first": 0.5})
    for trial in plan.trials:
        write_run(folder.run(trial), {0.5: {1: 5.0, 2: 3.0, 3: 4.0, 4: 2.0}[trial.point]})
    names = [trial.name for trial in stretch_of(folder, plan, 1).trials]
    assert names == ["004-seed1", "004-seed2", "002-seed1", "002-seed2"]
