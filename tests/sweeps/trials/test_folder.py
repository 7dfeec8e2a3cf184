"""The folder of a sweep: opened again by the same sweep, refused to every other, and to two processes at a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sweeps.trials.folder import SweepFolder, check_free, check_open, enter_sweep, locked, read_plan
from sweeps.trials.plan import Plan

REPOSITORY = Path(__file__).resolve().parents[3]
HOLD = """
import sys
from pathlib import Path
from sweeps.trials.folder import SweepFolder, locked
with locked(SweepFolder(Path(sys.argv[1]))):
    print("held", flush=True)
    sys.stdin.read()
"""
Make = Callable[..., Plan]
MakeSweep = Callable[..., tuple[SweepFolder, Plan]]
TWO_AXES = {"train.lr": [1e-3, 2e-3], "train.warmup": [0.0, 0.1]}


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock of ``tmp_path / "sweep"``."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "sweep")]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_enter_sweep_folder_gives_the_plan_back(make_sweep: MakeSweep):
    axes = {"train.lr": [1e-3, 2e-3], "train.freeze": [[], ["resnet"]]}
    halving = {"first": 0.5, "factor": 3}
    folder, plan = make_sweep(axes=axes, seeds=[3, 4], halving=halving, set={"eval.split": "test"}, checkpoint="there")
    assert read_plan(folder) == plan
    assert read_plan(folder).trials[3].settings == {"train.lr": 1e-3, "train.freeze": ["resnet"]}


def test_enter_sweep_again_keeps_what_is_there(make_sweep: MakeSweep):
    folder, plan = make_sweep()
    (folder.run(plan.trials[0]) / "eval").mkdir(parents=True)
    folder.log(plan.trials[0]).parent.mkdir()
    folder.log(plan.trials[0]).write_text("said")
    before = contents(folder.root)
    enter_sweep(folder, plan)
    assert contents(folder.root) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"axes": {"train.lr": [1e-3, 4e-3]}}, r'axes: {"train.lr":\[0.001,0.002,0.003\]} -> {"train.lr":\[0.001,0.00'),
        ({"seeds": [7, 8]}, r"seeds: \[7\] -> \[7,8\]"),
        ({"set": {"train.epochs": 3}}, r'set: {} -> {"train.epochs":3}'),
        ({"halving": {"first": 1}}, r'halving: null -> {"first":1.0,"factor":2}'),
        ({"checkpoint": "there"}, 'checkpoint: null -> "there"'),
        ({"search": "random", "points": 2}, 'search: "grid" -> "random"'),
        ({"include": [{"train.lr": 0.5}]}, r'include: \[\] -> \[{"train.lr":0.5}\]'),
    ],
)
def test_enter_sweep_with_another_grid_is_refused_with_the_difference(
    make_sweep: MakeSweep, make_plan: Make, change: dict[str, Any], message: str
):
    folder, _ = make_sweep()
    before = contents(folder.root)
    with pytest.raises(ValueError, match=rf"holds a sweep made with another grid \(old -> new\):\n(.*\n)*  {message}"):
        enter_sweep(folder, make_plan(**change))
    assert contents(folder.root) == before


def test_enter_sweep_with_axes_in_another_order_never_renames_trials(make_sweep: MakeSweep, make_plan: Make):
    """The order of the axes is the order of the trials: 002-seed7 would become another configuration's folder."""
    folder, plan = make_sweep(axes=TWO_AXES)
    swapped = make_plan(axes=dict(reversed(TWO_AXES.items())))
    assert [trial.settings for trial in swapped.trials] != [trial.settings for trial in plan.trials]
    with pytest.raises(ValueError, match="holds a sweep made with another grid"):
        enter_sweep(folder, swapped)
    assert read_plan(folder).trials == plan.trials


def test_enter_sweep_with_other_trials_from_the_same_file_is_refused(make_sweep: MakeSweep):
    """As after an update of the program that draws other points: finished folders would count for other settings."""
    folder, plan = make_sweep()
    moved = plan._replace(trials=tuple(trial._replace(settings={"train.lr": 0.5}) for trial in plan.trials))
    with pytest.raises(ValueError, match="holds a sweep made with another"):
        enter_sweep(folder, moved)
    assert read_plan(folder).trials == plan.trials


def test_enter_sweep_with_a_changed_base_is_refused(make_sweep: MakeSweep, make_plan: Make):
    folder, plan = make_sweep()
    changed = make_plan(base_document=plan.base | {"image": {"size": 64}})
    with pytest.raises(ValueError, match=r"the content of .*conf.json, kept in .*base.json"):
        enter_sweep(folder, changed)
    assert read_plan(folder).base == plan.base


def test_enter_sweep_metric_and_retries_may_change(make_sweep: MakeSweep, make_plan: Make):
    folder, _ = make_sweep()
    enter_sweep(folder, make_plan(metric="overall.Bleu_4", retries=5))
    assert (read_plan(folder).file.metric, read_plan(folder).file.retries) == ("overall.Bleu_4", 5)


@pytest.mark.parametrize("name", ["photo.jpg", "config.json", ".hidden"])
def test_locked_foreign_folder_is_refused_and_untouched(tmp_path: Path, name: str):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / name).write_text("mine")
    folder = SweepFolder(tmp_path / "mine")
    with pytest.raises(ValueError, match="mine: is not empty and no folder of a sweep; give another --work_dir"):
        with locked(folder):
            pass
    assert contents(folder.root) == {name: b"mine"}


def test_check_free_file_is_refused_and_an_empty_folder_is_not(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="file: is not empty and no folder of a sweep"):
        check_free(SweepFolder(tmp_path / "file"))
    (tmp_path / "empty").mkdir()
    check_free(SweepFolder(tmp_path / "empty"))
    check_free(SweepFolder(tmp_path / "absent"))
    assert not (tmp_path / "absent").exists()


@pytest.mark.parametrize("left", ["base.json", ".base.json.1a2b3c4d.tmp", ".sweep.json.1a2b3c4d.tmp"])
def test_enter_sweep_killed_while_it_was_made_can_be_entered_again(tmp_path: Path, make_plan: Make, left: str):
    """sweep.json is written last: everything before it may be there without it."""
    folder, plan = SweepFolder(tmp_path / "sweep"), make_plan()
    folder.root.mkdir()
    folder.lock.touch()
    (folder.root / left).write_text(json.dumps(plan.base))
    with locked(folder):
        enter_sweep(folder, plan)
    assert read_plan(folder) == plan


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"sweep": {"base": ', "sweep.json, line 1, column 20: not valid JSON"),
        ("[]", "sweep.json: is not the plan of a sweep"),
        ('{"sweep": 3}', "sweep.json: is not the plan of a sweep"),
    ],
)
def test_damaged_plan_is_refused_by_every_reader(make_sweep: MakeSweep, text: str, message: str):
    folder, plan = make_sweep()
    folder.plan.write_text(text)
    with pytest.raises(ValueError, match=message):
        enter_sweep(folder, plan)
    with pytest.raises(ValueError, match=message):
        read_plan(folder)
    assert folder.plan.read_text() == text


@pytest.mark.parametrize(
    "change",
    [
        {"sweep": {"base": "a", "axes": {"train.lr": [1]}, "surplus": 1}},
        {"trials": [{"name": "a"}]},
        {"trials": []},
        {"trials": None},
    ],
)
def test_read_plan_with_changed_fields_is_refused(make_sweep: MakeSweep, change: dict[str, Any]):
    folder, _ = make_sweep()
    folder.plan.write_text(json.dumps(json.loads(folder.plan.read_text()) | change))
    with pytest.raises(ValueError, match=r"sweep.json: is not the plan of a sweep, or was changed"):
        read_plan(folder)


def test_read_plan_where_there_is_none_names_the_folder(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="sweep.json: not found; .*nothing is no folder of a sweep"):
        read_plan(SweepFolder(tmp_path / "nothing"))


@pytest.mark.parametrize("text", [None, '{"model": '])
def test_missing_or_damaged_base_names_the_file(make_sweep: MakeSweep, text: str | None):
    folder, plan = make_sweep()
    folder.base.unlink()
    if text is not None:
        folder.base.write_text(text)
    for reader in (lambda: read_plan(folder), lambda: enter_sweep(folder, plan)):
        with pytest.raises((ValueError, FileNotFoundError), match=r"base\.json"):
            reader()


def test_check_open_closed_sweep_is_refused(make_sweep: MakeSweep):
    folder, plan = make_sweep()
    check_open(folder)
    folder.closed.write_text("{}")
    with pytest.raises(ValueError, match="this sweep is closed"):
        enter_sweep(folder, plan)


def test_locked_makes_the_folder_and_is_free_after_an_error(tmp_path: Path):
    folder = SweepFolder(tmp_path / "deep" / "sweep")

    def fail() -> None:
        with locked(folder):
            assert folder.holder.read_text().startswith(f"{os.getpid()} on ")
            raise RuntimeError("inside")

    for _ in range(2):
        with pytest.raises(RuntimeError, match="inside"):
            fail()
    assert not folder.holder.exists()


def test_locked_twice_in_one_process_is_refused(tmp_path: Path):
    folder = SweepFolder(tmp_path / "sweep")
    with locked(folder):
        with pytest.raises(ValueError, match=f"this sweep is running already \\(process {os.getpid()} on"):
            with locked(folder):
                pass
        assert folder.holder.exists()  # the one that was refused takes nothing of the other's away


def test_locked_by_another_process_names_it_and_is_free_once_it_was_killed(
    tmp_path: Path, holder: subprocess.Popen[str]
):
    folder = SweepFolder(tmp_path / "sweep")
    with pytest.raises(ValueError, match=rf"sweep: this sweep is running already \(process {holder.pid} on .+\)"):
        with locked(folder):
            pass
    holder.kill()
    holder.wait()
    assert folder.holder.exists()  # it had no time to tidy up
    with locked(folder):
        assert folder.holder.read_text().startswith(f"{os.getpid()} on ")
