from __future__ import annotations

import pytest

from runs.checkpoints import complete_steps, last_checkpoint, read_training_state
from runs.folder import Run
from utils.io import read_json, write_json

STATE = {"epoch": 0.5, "global_step": 3, "max_steps": 12, "best_model_checkpoint": None, "log_history": []}


def _save(run: Run, step: int, **changes: object) -> None:
    write_json(run.checkpoints / f"checkpoint-{step}/trainer_state.json", STATE | {"global_step": step} | changes)


def test_training_state_tells_where_training_stood(tmp_path):
    run = Run(tmp_path)
    _save(run, 3, best_model_checkpoint="a/b")
    _save(run, 12)
    state = read_training_state(run.checkpoints / "checkpoint-3")
    assert state == (0.5, 3, 12, "a/b")
    assert not state.is_finished
    assert read_training_state(run.checkpoints / "checkpoint-12").is_finished


@pytest.mark.parametrize(
    "content", [None, "", "{", "[]", "{}", '{"global_step": 3}', '{"global_step": "x", "max_steps": 1}']
)
def test_checkpoint_without_a_whole_state_is_not_complete(tmp_path, content):
    folder = tmp_path / "checkpoints/checkpoint-6"
    folder.mkdir(parents=True)
    if content is not None:
        (folder / "trainer_state.json").write_text(content)
    assert read_training_state(folder) is None
    _save(Run(tmp_path), 3)
    assert complete_steps(Run(tmp_path)) == [3]
    assert last_checkpoint(Run(tmp_path)) == str(tmp_path / "checkpoints/checkpoint-3")


def test_last_checkpoint_is_the_newest_by_number_and_none_without_any(tmp_path):
    run = Run(tmp_path)
    assert last_checkpoint(run) is None
    for step in (9, 10, 2):
        _save(run, step)
    (run.checkpoints / "tmp-checkpoint-11").mkdir()
    assert last_checkpoint(run) == str(run.checkpoints / "checkpoint-10")
    assert complete_steps(run) == [10, 9, 2]


def test_last_checkpoint_of_a_moved_run_finds_its_best_again(tmp_path):
    run = Run(tmp_path / "moved")
    _save(run, 3)
    _save(run, 6, best_model_checkpoint="/nowhere/any/more/checkpoints/checkpoint-3")
    last_checkpoint(run)
    state = read_json(run.checkpoints / "checkpoint-6/trainer_state.json")
    assert state["best_model_checkpoint"] == str(run.checkpoints / "checkpoint-3")
    assert state["log_history"] == []


@pytest.mark.parametrize("there", [True, False])
def test_last_checkpoint_leaves_a_best_that_is_there_or_nowhere_as_it_is(tmp_path, there):
    run, best = Run(tmp_path / "run"), tmp_path / "elsewhere/checkpoint-3"
    if there:
        best.mkdir(parents=True)
        _save(run, 3)
    _save(run, 6, best_model_checkpoint=str(best))
    last_checkpoint(run)
    assert read_training_state(run.checkpoints / "checkpoint-6").best_checkpoint == str(best)
