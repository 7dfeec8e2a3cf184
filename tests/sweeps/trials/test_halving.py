"""Which configurations are trained how far."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from runs.folder import Run
from sweeps.trials.folder import SweepFolder
from sweeps.trials.halving import Stretch, choose, has_ended, plan_stretches, point_values, points_in, stretches_of
from sweeps.trials.jobs import job_of
from sweeps.trials.plan import Plan
from sweeps.trials.sweep_file import Halving
from utils.io import append_jsonl

MakeSweep = Callable[..., tuple[SweepFolder, Plan]]
WriteRun = Callable[..., Run]


@pytest.mark.parametrize(
    ("points", "epochs", "first", "factor", "expected"),
    [
        (14, 2, 0.5, 2, [(0.5, 14), (1.0, 7), (None, 4)]),  # 14 / 2 = 7, 7 / 2 = 3.5
        (14, 2, 0.5, 3, [(0.5, 14), (1.5, 5), (None, 2)]),  # 14 / 3 = 4.7, 5 / 3 = 1.7
        (8, 2, 1, 4, [(1.0, 8), (None, 2)]),
        (9, 4, 0.25, 4, [(0.25, 9), (1.0, 3), (None, 1)]),  # at 4.0 everything has ended
        (2, 100, 1, 2, [(1.0, 2), (None, 1)]),  # nothing is left to compare
        (16, 3, 0.5, 2, [(0.5, 16), (1.0, 8), (2.0, 4), (None, 2)]),
        (5, 2, 2, 2, [(None, 5)]),
        (5, 2, 3, 2, [(None, 5)]),
        (1, 2, 0.5, 2, [(None, 1)]),
    ],
)
def test_plan_stretches_by_hand(
    points: int, epochs: int, first: float, factor: int, expected: list[tuple[float | None, int]]
):
    halving = Halving(first=first, factor=factor)
    assert [tuple(stretch) for stretch in plan_stretches(points, epochs, halving)] == expected


def test_plan_stretches_without_halving_is_one_stretch():
    assert plan_stretches(14, 2, None) == [Stretch(None, 14)]


def test_stretches_of_count_configurations_not_trials(make_sweep: MakeSweep):
    _, plan = make_sweep(seeds=[1, 2, 3], halving={"first": 0.5})
    assert stretches_of(plan) == [Stretch(0.5, 3), Stretch(1.0, 2), Stretch(None, 1)]


def test_choose_best_first_and_of_equals_the_earlier():
    values = {1: 0.2, 2: 0.9, 3: 0.5, 4: 0.5, 5: 0.5}
    assert choose([5, 4, 3, 2, 1], values, 3) == [2, 3, 4]
    assert choose([1, 2, 3, 4, 5], values, 3) == [2, 3, 4]


def test_choose_those_without_a_value_are_out():
    assert choose([1, 2, 3], {2: -5.0}, 2) == [2]
    assert choose([1, 2, 3], {}, 2) == []
    assert choose([1, 3], {2: 9.0, 3: 1.0}, 2) == [3]  # 2 took no part


@pytest.fixture
def four(make_sweep: MakeSweep) -> tuple[SweepFolder, Plan]:
    """Four configurations, compared at 0.5 (two go on) and at 1 epoch (one goes on)."""
    return make_sweep(axes={"train.lr": [1e-3, 2e-3, 3e-3, 4e-3]}, halving={"first": 0.5})


def write_points(
    write_run: WriteRun, sweep: tuple[SweepFolder, Plan], values: Mapping[int, Mapping[float, float]]
) -> None:
    for trial in sweep[1].trials:
        if trial.point in values:
            write_run(sweep[0].run(trial), values[trial.point])


def test_points_in_each_stretch_are_the_best_of_the_one_before(four: tuple[SweepFolder, Plan], write_run: WriteRun):
    write_points(write_run, four, {1: {0.5: 4.0}, 2: {0.5: 3.0, 1.0: 2.5}, 3: {0.5: 5.0}, 4: {0.5: 3.5, 1.0: 2.0}})
    assert [points_in(*four, number) for number in range(3)] == [[1, 2, 3, 4], [2, 4], [4]]


def test_points_in_crashed_configuration_is_out_and_nobody_takes_its_place_later(
    four: tuple[SweepFolder, Plan], write_run: WriteRun
):
    write_points(write_run, four, {1: {0.5: 4.0}, 3: {0.5: 5.0}, 4: {0.5: 3.5}})  # 2 never validated
    assert points_in(*four, 1) == [4, 1]
    write_points(write_run, four, {4: {1.0: 3.0}})  # 1 crashed in the second stretch
    assert points_in(*four, 2) == [4]


def test_points_in_if_all_crashed_is_empty(four: tuple[SweepFolder, Plan]):
    assert points_in(*four, 2) == []


def test_points_in_is_the_same_when_survivors_were_trained_further(four: tuple[SweepFolder, Plan], write_run: WriteRun):
    """A later, better validation of a survivor must not change who was chosen: others ask again after a restart."""
    write_points(write_run, four, {1: {0.5: 4.0}, 2: {0.5: 3.0}, 3: {0.5: 5.0}, 4: {0.5: 3.5}})
    before = points_in(*four, 1)
    write_points(write_run, four, {2: {1.0: 9.0, 1.5: 9.5}, 4: {1.0: 1.0, 1.5: 0.5, 2.0: 0.1}})
    assert points_in(*four, 1) == before == [2, 4]


def test_point_values_are_means_over_seeds_and_a_missing_seed_is_no_value(make_sweep: MakeSweep, write_run: WriteRun):
    folder, plan = make_sweep(axes={"train.lr": [1e-3, 2e-3]}, seeds=[1, 2], halving={"first": 0.5})
    for trial, nll in zip(plan.trials, [4.0, 3.0, 2.0], strict=False):  # the last, 002-seed2, is missing
        write_run(folder.run(trial), {0.5: nll})
    assert point_values(folder, plan, 0.5) == {1: pytest.approx(-3.5)}
    write_run(folder.run(plan.trials[3]), {0.5: 8.0})
    assert point_values(folder, plan, 0.5) == {1: pytest.approx(-3.5), 2: pytest.approx(-5.0)}
    assert points_in(folder, plan, 1) == [1]


@pytest.mark.parametrize(("select", "best"), [("loss", 1), ("CIDEr", 2)])
def test_points_in_compare_by_the_number_that_chooses_checkpoints(
    make_sweep: MakeSweep, write_run: WriteRun, select: str, best: int
):
    folder, plan = make_sweep(
        axes={"train.lr": [1e-3, 2e-3]}, halving={"first": 0.5}, set={"checkpoint.select": select}
    )
    write_run(folder.run(plan.trials[0]), {0.5: 3.0}, cider={0.5: 0.1})
    write_run(folder.run(plan.trials[1]), {0.5: 4.0}, cider={0.5: 0.2})
    assert points_in(folder, plan, 1) == [best]


def test_points_in_compares_the_best_so_far(four: tuple[SweepFolder, Plan], write_run: WriteRun):
    """The model that is kept is that of the best checkpoint, so one bad validation at the end does not count."""
    write_points(write_run, four, {1: {0.5: 3.0, 1.0: 6.0}, 2: {0.5: 3.5, 1.0: 3.4}})
    assert points_in(*four, 2) == [1]


def test_has_ended_needs_the_checkpoint_after_the_validation(
    four: tuple[SweepFolder, Plan], write_run: WriteRun, seal_checkpoint: Callable[..., None]
):
    folder, plan = four
    trial = plan.trials[0]
    run = write_run(folder.run(trial), {0.5: 4.0}, saved=False)
    assert not has_ended(folder, plan, trial, 0.5)
    (run.checkpoints / "checkpoint-50").mkdir(parents=True)  # its manifest is what a save writes last
    assert not has_ended(folder, plan, trial, 0.5)
    seal_checkpoint(run.checkpoint(40))
    seal_checkpoint(run.checkpoints / ".tmp-checkpoint-50")
    assert not has_ended(folder, plan, trial, 0.5)
    seal_checkpoint(run.checkpoint(50))
    assert has_ended(folder, plan, trial, 0.5)
    assert not has_ended(folder, plan, trial, 1.0)
    assert not has_ended(folder, plan, trial, None)


def test_has_ended_checkpoint_without_a_validation_there_is_not_enough(
    four: tuple[SweepFolder, Plan], write_run: WriteRun, seal_checkpoint: Callable[..., None]
):
    folder, plan = four
    run = write_run(folder.run(plan.trials[0]), {0.5: 4.0})
    append_jsonl(run.metrics, {"global_step": 99, "epoch": 0.99, "train/loss": 3.0})
    seal_checkpoint(run.checkpoint(99))
    assert not has_ended(folder, plan, plan.trials[0], 1.0)


def test_has_ended_older_checkpoints_may_be_gone(four: tuple[SweepFolder, Plan], write_run: WriteRun):
    """checkpoint.keep_last leaves the newest ones."""
    folder, plan = four
    write_run(folder.run(plan.trials[0]), {0.5: 4.0}, saved=False)
    write_run(folder.run(plan.trials[0]), {1.0: 3.0})
    assert has_ended(folder, plan, plan.trials[0], 0.5)


def test_has_ended_trained_model_has_ended_every_comparison_but_its_results_end_the_last(
    four: tuple[SweepFolder, Plan], write_run: WriteRun
):
    folder, plan = four
    trial = plan.trials[0]
    run = write_run(folder.run(trial), {0.5: 4.0}, saved=False)
    run.output.mkdir()
    assert has_ended(folder, plan, trial, 1.0)
    assert not has_ended(folder, plan, trial, None)
    write_run(run.root, overall={"CIDEr": 0.2})
    assert has_ended(folder, plan, trial, None)


def test_has_ended_damaged_results_are_an_error(four: tuple[SweepFolder, Plan], write_run: WriteRun):
    folder, plan = four
    run = write_run(folder.run(plan.trials[0]), overall={"CIDEr": 0.2})
    (run.eval / "val.json").write_text('{"over')
    with pytest.raises(ValueError, match="cut short"):
        has_ended(folder, plan, plan.trials[0], None)


@pytest.mark.parametrize("first", [1 / 3, 0.03125, 2 / 3])
def test_has_ended_place_with_more_digits_than_metrics_have_is_reached(
    make_sweep: MakeSweep, write_run: WriteRun, first: float
):
    """metrics.jsonl has epochs to four digits: 0.3333, where training stopped after exactly a third."""
    folder, plan = make_sweep(halving={"first": first}, set={"checkpoint.every_epochs": first})
    write_run(folder.run(plan.trials[0]), {first: 4.0})
    assert has_ended(folder, plan, plan.trials[0], stretches_of(plan)[0].epochs)


@pytest.mark.parametrize("first", [1.2345674, 12.34567, 0.1])
def test_job_pauses_where_its_comparison_looks(make_sweep: MakeSweep, first: float):
    """A pause a little before the place of the comparison would end without what the comparison asks for."""
    settings = {"train.epochs": 50, "checkpoint.every_epochs": 0.1}
    folder, plan = make_sweep(halving={"first": first, "factor": 3}, set=settings)
    for stretch in stretches_of(plan)[:-1]:
        arguments = job_of(folder, plan, plan.trials[0], stretch.epochs).arguments
        assert float(arguments[arguments.index("--pause_after") + 1]) == pytest.approx(stretch.epochs, abs=5e-7)
