"""What came of a sweep: states, order, intervals, and the files."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from configuration.loading import load_config
from metrics.table import METRICS, Metric
from reports.sweep.measures import metric_measure
from reports.sweep.page import write_page
from runs.folder import Run
from sweeps.standings.leaderboard import best_trial, make_leaderboard, student_interval, to_csv, write_leaderboard
from sweeps.trials.folder import SweepFolder
from sweeps.trials.plan import Plan
from utils.io import write_json

MakeSweep = Callable[..., tuple[SweepFolder, Plan]]
WriteRun = Callable[..., Run]
FIVE = {"axes": {"train.lr": [1e-3, 2e-3, 3e-3, 4e-3, 5e-3]}, "halving": {"first": 0.5}}
"""Five configurations are compared at 0.5 epochs (three go on) and at 1 epoch (two go on to 2)."""


def column(board: dict[str, Any], name: str) -> list[Any]:
    return [row[name] for row in board["configurations"]]


def read_csv(text: str) -> list[dict[str, str]]:
    rows = list(csv.DictReader(io.StringIO(text)))
    assert rows
    assert all(None not in row and None not in row.values() for row in rows)  # as many cells as columns
    return rows


@pytest.fixture
def finished(make_sweep: MakeSweep, write_run: WriteRun) -> tuple[SweepFolder, Plan]:
    """The five at the end: 2 and 1 trained, 3 stopped at 1 epoch, 5 at 0.5, and 4 crashed before that."""
    folder, plan = make_sweep(**FIVE)
    one, two, three, four, five = (folder.run(trial) for trial in plan.trials)
    confidence = {"CIDEr": [0.45, 0.56]}
    write_run(one, {0.5: 4.0, 1.0: 3.5, 1.5: 3.4, 2.0: 3.6}, overall={"CIDEr": 0.3})
    write_run(two, {0.5: 4.5, 1.0: 3.0, 1.5: 2.9, 2.0: 2.8}, overall={"CIDEr": 0.5}, confidence=confidence)
    write_run(three, {0.5: 4.2, 1.0: 3.9})
    write_run(five, {0.5: 5.0})
    write_json(folder.failure(plan.trials[3]), {"code": 137, "starts": 2, "message": "ended by signal 9"})
    return folder, plan


def test_make_leaderboard_trained_then_stopped_then_failed(finished: tuple[SweepFolder, Plan]):
    board = make_leaderboard(*finished)
    assert column(board, "rank") == [1, 2, 3, 4, 5]
    assert column(board, "point") == [2, 1, 3, 5, 4]
    assert column(board, "state") == ["trained", "trained", "stopped", "stopped", "failed"]
    assert column(board, "metric") == [0.5, 0.3, None, None, None]
    assert column(board, "epochs") == [2.0, 2.0, 1.0, 0.5, 0.0]
    assert column(board, "validation") == [-2.8, -3.4, -3.9, -5.0, None]
    assert column(board, "at_comparisons") == [[-4.5, -3.0], [-4.0, -3.5], [-4.2, -3.9], [-5.0, None], [None, None]]
    assert [row["trials"][0]["failure"] for row in board["configurations"]] == [None] * 4 + ["ended by signal 9"]
    assert (board["metric"], board["comparisons"], board["axes"]) == ("overall.CIDEr", [0.5, 1.0], ["train.lr"])


def test_make_leaderboard_equal_metrics_keep_the_order_of_the_sweep(make_sweep: MakeSweep, write_run: WriteRun):
    folder, plan = make_sweep()
    for trial, cider in zip(plan.trials, [0.2, 0.4, 0.4], strict=True):
        write_run(folder.run(trial), overall={"CIDEr": cider})
    assert column(make_leaderboard(folder, plan), "point") == [2, 3, 1]


def test_make_leaderboard_of_a_new_sweep_is_open(make_sweep: MakeSweep):
    folder, plan = make_sweep(**FIVE)
    board = make_leaderboard(folder, plan)
    assert column(board, "state") == ["open"] * 5
    assert column(board, "point") == [1, 2, 3, 4, 5]
    assert best_trial(board, plan) is None


@pytest.mark.parametrize("reached", [0.5, 0.5013], ids=["exact", "whole steps"])
def test_make_leaderboard_before_the_first_comparison_nothing_is_stopped(
    make_sweep: MakeSweep, write_run: WriteRun, reached: float
):
    """Four of five have come to the comparison, of which three will go on; the fifth may be the best of all.

    Half an epoch of 375 steps ends with step 188, at 0.5013: that is the comparison and nothing behind it.
    """
    folder, plan = make_sweep(**FIVE)
    for trial, nll in zip(plan.trials[:4], [4.0, 4.1, 4.2, 4.3], strict=True):
        write_run(folder.run(trial), {reached: nll})
    assert column(make_leaderboard(folder, plan), "state") == ["open"] * 5


@pytest.mark.parametrize("reached", [0.5, 0.5013], ids=["exact", "whole steps"])
def test_make_leaderboard_once_one_went_on_the_losers_are_stopped(
    make_sweep: MakeSweep, write_run: WriteRun, reached: float
):
    folder, plan = make_sweep(**FIVE)
    for trial, nll in zip(plan.trials, [4.3, 4.0, 4.1, 4.4, 4.2], strict=True):
        write_run(folder.run(trial), {reached: nll})
    write_run(folder.run(plan.trials[1]), {1.0: 3.5})
    board = make_leaderboard(folder, plan)
    assert dict(zip(column(board, "point"), column(board, "state"), strict=True)) == {
        1: "stopped",
        2: "open",
        3: "open",
        4: "stopped",
        5: "open",
    }


def test_make_leaderboard_losers_are_stopped_once_one_seed_of_a_survivor_went_on(
    make_sweep: MakeSweep, write_run: WriteRun
):
    folder, plan = make_sweep(axes={"train.lr": [1e-3, 2e-3]}, seeds=[1, 2], halving={"first": 0.5})
    for trial, nll in zip(plan.trials, [4.0, 4.0, 5.0, 5.0], strict=True):
        write_run(folder.run(trial), {0.5: nll})
    write_run(folder.run(plan.trials[0]), {1.0: 3.0})  # 001-seed1; 001-seed2 has still to go on
    assert column(make_leaderboard(folder, plan), "state") == ["open", "stopped"]


def test_make_leaderboard_survivor_that_crashed_later_is_failed_and_behind_the_stopped(
    finished: tuple[SweepFolder, Plan], write_run: WriteRun
):
    folder, plan = finished
    (folder.run(plan.trials[0]) / "eval/val.json").unlink()
    write_json(folder.failure(plan.trials[0]), {"code": 1, "starts": 2, "message": "exit code 1: error: x"})
    board = make_leaderboard(folder, plan)
    assert column(board, "point") == [2, 3, 5, 1, 4]
    assert column(board, "state") == ["trained", "stopped", "stopped", "failed", "failed"]


def test_make_leaderboard_damaged_results_are_an_error(finished: tuple[SweepFolder, Plan]):
    (finished[0].run(finished[1].trials[0]) / "eval/val.json").write_text('{"overall": {')
    with pytest.raises(ValueError, match="001-seed7/eval/val.json.*cut short"):
        make_leaderboard(*finished)


def test_student_interval_by_hand():
    """Mean 0.7 / 3; deviations -4/30, -1/30 and 5/30, so s^2 = (16 + 1 + 25) / 900 / 2; t(0.975, 2) = 4.302653."""
    mean, half = 0.7 / 3, 4.302653 * (42 / 1800) ** 0.5 / 3**0.5
    assert student_interval([0.1, 0.2, 0.4]) == pytest.approx((mean - half, mean + half), abs=1e-7)
    assert (mean - half, mean + half) == pytest.approx((-0.146125, 0.612792), abs=1e-6)


def test_student_interval_of_a_lower_level_is_narrower():
    """t(0.75, 1) = 1: half the distance of two numbers on either side."""
    assert student_interval([0.2, 0.4], level=0.5) == pytest.approx((0.2, 0.4))


def make_seeded(make_sweep: MakeSweep, write_run: WriteRun, ciders: Sequence[float | None]) -> tuple[SweepFolder, Plan]:
    folder, plan = make_sweep(axes={"train.lr": [1e-3]}, seeds=[1, 2, 3])
    for trial, cider in zip(plan.trials, ciders, strict=True):
        if cider is not None:
            write_run(folder.run(trial), overall={"CIDEr": cider}, confidence={"CIDEr": [0.0, 9.0]})
    return folder, plan


def test_make_leaderboard_several_seeds_have_students_interval_of_their_mean(
    make_sweep: MakeSweep, write_run: WriteRun
):
    folder, plan = make_seeded(make_sweep, write_run, [0.1, 0.4, 0.2])
    board = make_leaderboard(folder, plan)
    (row,) = board["configurations"]
    assert row["metric"] == pytest.approx(0.7 / 3)
    assert row["interval"] == pytest.approx([-0.146125, 0.612792], abs=1e-6)
    assert row["interval_over"] == "seeds"
    best = best_trial(board, plan)
    assert best is not None
    assert best.name == "001-seed2"


def test_make_leaderboard_missing_seed_leaves_the_configuration_open_without_a_number(
    make_sweep: MakeSweep, write_run: WriteRun
):
    (row,) = make_leaderboard(*make_seeded(make_sweep, write_run, [0.1, None, 0.2]))["configurations"]
    assert (row["state"], row["metric"], row["interval"], row["interval_over"]) == ("open", None, None, None)
    assert [trial["metric"] for trial in row["trials"]] == [0.1, None, 0.2]


def test_make_leaderboard_one_seed_has_the_interval_over_images_of_its_results(finished: tuple[SweepFolder, Plan]):
    first, second, *_ = make_leaderboard(*finished)["configurations"]
    assert (first["interval"], first["interval_over"]) == ([0.45, 0.56], "images")
    assert (second["interval"], second["interval_over"]) == (None, None)  # its results have none


def test_make_leaderboard_ranks_by_the_metric_that_was_asked_for(make_sweep: MakeSweep, write_run: WriteRun):
    folder, plan = make_sweep(metric="overall.ROUGE_L")
    for trial, rouge in zip(plan.trials, [0.1, 0.3, 0.2], strict=True):
        write_run(
            folder.run(trial),
            overall={"CIDEr": 1 - rouge, "ROUGE_L": rouge},
            confidence={"CIDEr": [0, 1], "ROUGE_L": [rouge - 0.01, rouge + 0.01]},
        )
    board = make_leaderboard(folder, plan)
    assert column(board, "point") == [2, 3, 1]
    assert column(board, "interval")[0] == pytest.approx([0.29, 0.31])


def test_write_leaderboard_metric_that_results_do_not_have_still_writes_what_there_is(
    make_sweep: MakeSweep, write_run: WriteRun
):
    """METEOR is null where there is no Java; the trials were trained all the same."""
    folder, plan = make_sweep(metric="overall.METEOR")
    for trial in plan.trials:
        write_run(folder.run(trial), overall={"CIDEr": 0.2, "METEOR": None})
    board = make_leaderboard(folder, plan)
    write_leaderboard(folder, plan, board)
    assert column(board, "state") == ["trained"] * 3
    assert len(read_csv((folder.root / "leaderboard.csv").read_text())) == 3
    assert not folder.best.exists()


def test_to_csv_columns_and_numbers(finished: tuple[SweepFolder, Plan]):
    rows = read_csv(to_csv(make_leaderboard(*finished)))
    columns = "rank state train.lr overall.CIDEr low high interval_over best_val_NLL val_NLL_after_0.5 val_NLL_after_1"
    assert list(rows[0]) == [*columns.split(), "epochs", "trials"]
    assert list(rows[0].values()) == "1 trained 0.002 0.5 0.45 0.56 images 2.8 4.5 3.0 2.0 002-seed7".split()
    assert list(rows[3].values()) == ["4", "stopped", "0.005", "", "", "", "", "5.0", "5.0", "", "0.5", "005-seed7"]


def test_to_csv_cider_keeps_its_sign(make_sweep: MakeSweep, write_run: WriteRun):
    folder, plan = make_sweep(axes={"train.lr": [1e-3]}, set={"checkpoint.select": "CIDEr"}, seeds=[1, 2])
    for trial, cider in zip(plan.trials, [0.25, 0.75], strict=True):
        write_run(folder.run(trial), {0.5: 4.0}, cider={0.5: cider})
    (row,) = read_csv(to_csv(make_leaderboard(folder, plan)))
    assert (row["best_val_CIDEr"], row["trials"]) == ("0.5", "001-seed1 001-seed2")


def test_to_csv_commas_quotes_and_newlines_stay_in_their_cell(make_sweep: MakeSweep):
    odd = 'a, "b"\nc; ü'
    folder, plan = make_sweep(axes={"style.neutral": [odd], "train.lr": [1e-3]})
    (row,) = read_csv(to_csv(make_leaderboard(folder, plan)))
    assert (row["style.neutral"], row["train.lr"], row["trials"]) == (odd, "0.001", "001-seed7")


@pytest.mark.parametrize("value", [["resnet", "batch_norm"], []])
def test_to_csv_list_is_written_as_in_the_sweep_file(make_sweep: MakeSweep, value: list[str]):
    folder, plan = make_sweep(axes={"train.freeze": [value]})
    (row,) = read_csv(to_csv(make_leaderboard(folder, plan)))
    assert json.loads(row["train.freeze"]) == value


def test_to_csv_true_and_null_are_written_as_in_the_sweep_file(make_sweep: MakeSweep):
    folder, plan = make_sweep(
        axes={"image.random_crop": [True], "data.num_images": [None]}, set={"image.max_size": 512}
    )
    (row,) = read_csv(to_csv(make_leaderboard(folder, plan)))
    assert (row["image.random_crop"], row["data.num_images"]) == ("true", "null")


def test_write_leaderboard_files_say_the_same(finished: tuple[SweepFolder, Plan]):
    folder, plan = finished
    board = make_leaderboard(folder, plan)
    write_leaderboard(folder, plan, board)
    assert json.loads((folder.root / "leaderboard.json").read_text()) == board
    assert (folder.root / "leaderboard.csv").read_text() == to_csv(board)


def test_write_leaderboard_best_is_base_and_set_and_settings_and_seed(make_sweep: MakeSweep, write_run: WriteRun):
    settings = {"train.epochs": 4, "eval.metrics": ["CIDEr", "ROUGE_L"]}
    axes = {"train.lr": [1e-3, 2e-3], "model.overrides.dropout": [0.25]}
    folder, plan = make_sweep(axes=axes, set=settings, seeds=[3, 9])
    for trial, cider in zip(plan.trials, [0.1, 0.2, 0.3, 0.35], strict=True):
        write_run(folder.run(trial), overall={"CIDEr": cider})
    write_leaderboard(folder, plan, make_leaderboard(folder, plan))
    best = load_config(folder.best)
    said = {"train.epochs": 4, "eval.metrics": '["CIDEr","ROUGE_L"]', "train.lr": 2e-3, "train.seed": 9}
    said |= {"model.overrides": '{"dropout":0.25}', "work_dir": f"{folder.root}_best"}
    assert best == load_config(plan.file.base, [f"{key}={value}" for key, value in said.items()])
    assert best.data.format == "drawn_scenes"  # of the base


def test_write_leaderboard_best_starts_from_the_sweeps_checkpoint(make_sweep: MakeSweep, write_run: WriteRun):
    folder, plan = make_sweep(checkpoint="some/captioner")
    write_run(folder.run(plan.trials[1]), overall={"CIDEr": 0.1})
    write_leaderboard(folder, plan, make_leaderboard(folder, plan))
    best = load_config(folder.best)
    assert (best.model.name, best.model.preset, best.train.lr) == ("some/captioner", None, 2e-3)


def test_write_leaderboard_with_nothing_trained_writes_no_best(make_sweep: MakeSweep, tmp_path: Path):
    folder, plan = make_sweep()
    write_leaderboard(folder, plan, make_leaderboard(folder, plan))
    assert [row["state"] for row in read_csv((folder.root / "leaderboard.csv").read_text())] == ["open"] * 3
    assert not folder.best.exists()


def test_page_takes_what_make_leaderboard_returns(make_sweep, write_run, tmp_path):
    folder, plan = make_sweep(halving={"first": 0.5})
    first, second, third = plan.trials
    confidence = {"CIDEr": [0.3, 0.5]}
    write_run(folder.run(first), {0.5: 3.0, 1.0: 2.0, 2.0: 1.5}, overall={"CIDEr": 0.4}, confidence=confidence)
    write_run(folder.run(second), {0.5: 3.5, 1.0: 3.0})
    write_json(folder.failure(third), {"message": "error: the loss is no number"})
    write_page(tmp_path / "page.html", make_leaderboard(folder, plan), title="page")
    page = (tmp_path / "page.html").read_text()
    shown = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page))
    assert "0.400" in shown
    assert "0.300–0.500" in shown
    assert f"{third.name} error: the loss is no number" in shown
    assert "n = 2: too few different results to tell" in shown


def test_metric_of_which_less_is_better_ranks_the_other_way_round(make_sweep, write_run, monkeypatch):
    monkeypatch.setitem(METRICS, "toy_error", Metric("Toy error", "nowhere:NOTHING", higher_is_better=False))
    folder, plan = make_sweep(metric="overall.toy_error", set={"eval.metrics": ["CIDEr", "toy_error"]})
    for trial, value in zip(plan.trials, (0.4, 0.2, 0.3), strict=True):
        write_run(folder.run(trial), {2.0: 1.5}, overall={"toy_error": value, "CIDEr": value})
    board = make_leaderboard(folder, plan)
    assert [row["metric"] for row in board["configurations"][:3]] == [0.2, 0.3, 0.4]
    assert best_trial(board, plan) == plan.trials[1]
    measure = metric_measure(board)
    assert measure.lower_is_better
