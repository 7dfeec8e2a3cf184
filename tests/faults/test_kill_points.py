"""The process dies at a change of the disk: what is there then is whole, and a run goes on to the same bytes."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tqdm import tqdm

from runs.checkpoints import Verifier, choose_checkpoint, complete_steps
from runs.folder import Run
from tests.faults import saves, tiny
from tests.faults.kill_points import KILLED
from tests.faults.stops import go_on
from tests.faults.tally import IS_LONG
from utils.durable import clear_leftovers
from utils.io import read_json
from utils.manifest import find_faults


def chosen_points(names: list[str], count: int) -> list[int]:
    """All points in the long form, in the short one a sample, the same every time."""
    points = range(1, len(names) + 1)
    return list(points) if IS_LONG else sorted(random.Random(len(names)).sample(points, min(count, len(names))))


def count_points(warm, call: str, folder: Path, **arguments) -> list[str]:
    listed = folder / "points.txt"
    code = warm.call(call, folder / "log", at=0, tally=str(listed), **arguments)
    assert code == 0, (folder / "log").read_text()[-2000:]
    return listed.read_text().split("\n")


def test_save_and_prune_killed_at_every_change_leave_a_whole_checkpoint(warm, tmp_path, tally):
    """Four saves with pruning, scores that make an old one the best, and one step saved twice."""
    names = count_points(warm, "tests.faults.saves:save_all", tmp_path, root=str(tmp_path / "counted"))
    assert len(names) > 200
    for at in tqdm(chosen_points(names, 40), desc="saves killed", disable=not IS_LONG):
        root = tmp_path / f"at-{at}"
        code = warm.call("tests.faults.saves:save_all", tmp_path / "log", root=str(root), at=at)
        tally("SIGKILL", "save and prune", "" if code == KILLED else f"point {at} ended with {code}")
        why = wrong_after_kill(Run(root))
        tally("SIGKILL", "what a save leaves", f"point {at} ({names[at - 1]}): {why}" if why else "")


def wrong_after_kill(run: Run) -> str:
    saved = saves.saved_by(run)
    clear_leftovers(run.checkpoints)
    if left := [path.name for path in run.checkpoints.glob(".*")]:
        return f"left {left}"
    chosen = choose_checkpoint(run, Verifier())
    if chosen is None:
        return "" if not saved else f"nothing is left of {saved}"
    if saved and chosen.step < saved[-1]:
        return f"{chosen.step} is chosen and {saved[-1]} was saved"
    best = saves.best_of(saved)
    if best is not None and best not in complete_steps(run):
        return f"the best, {best}, is gone"
    return "; ".join(find_faults(chosen.folder)) or wrong_after_going_on(run, chosen.step)


def wrong_after_going_on(run: Run, step: int) -> str:
    """Whether a start finishes the save: no other may come."""
    saves.make_store(run.root).finish_save(step)
    left = complete_steps(run)
    best = saves.best_of(left)
    if run.best.exists() and read_json(run.best)["step"] != best:
        return f"{run.best.name} says {read_json(run.best)}, and the best is {best}"
    return "" if set(left[2:]) <= {best} else f"left {left}"


def test_runs_killed_at_changes_of_the_disk_end_with_equal_bytes(warm, scenes, whole, tmp_path, tally):
    counted = tiny.write_conf(tiny.document(scenes), tmp_path, "counted")
    call, below = "tests.faults.children:killed_program", str(tmp_path)
    names = count_points(warm, call, tmp_path, arguments=["--conf", str(counted)], below=str(tmp_path / "counted"))
    assert len(names) > 200
    for at in tqdm(chosen_points(names, 3), desc="runs killed", disable=not IS_LONG):
        conf = tiny.write_conf(tiny.document(scenes), tmp_path, f"at-{at}")
        below = str(conf.with_suffix(""))
        code = warm.call(call, tmp_path / "log", arguments=["--conf", str(conf)], below=below, at=at)
        why = go_on(warm, conf, tmp_path / "log", 1, whole()) if code == KILLED else f"ended with {code}"
        tally("SIGKILL", "whole run", f"point {at} ({names[at - 1]}): {why}" if why else "")


@pytest.mark.parametrize("at", range(1, 200 if IS_LONG else 30, 1 if IS_LONG else 6))
def test_final_folder_killed_while_it_is_replaced_is_the_old_or_the_new(warm, tmp_path, tally, at):
    """``at`` beyond the last change ends well: the folder is the new one then."""
    root = tmp_path / "output"
    for generation, point in ((1, 0), (2, at)):
        code = warm.call(
            "tests.faults.saves:replace_folder", tmp_path / "log", folder=str(root), generation=generation, at=point
        )
    why = saves.wrong_folder(root, code)
    tally("SIGKILL", "final folder", f"point {at}: {why}" if why else "")
