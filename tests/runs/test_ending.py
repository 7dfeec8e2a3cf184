from __future__ import annotations

import logging

import pytest

from runs.ending import record_ending
from runs.folder import Run
from utils.errors import NoNumbers, Stopped
from utils.io import read_json, write_json


@pytest.mark.parametrize(("result", "how"), [(None, "trained"), ({"paused": {}}, "paused")])
def test_training_that_returns_is_recorded_and_its_answer_passed_on(tmp_path, result, how):
    run = Run(tmp_path)
    assert record_ending(run, lambda: result) == result
    assert read_json(run.ending)["how"] == how


@pytest.mark.parametrize(
    ("error", "how", "reason"),
    [
        (ValueError("step 3: the loss is nan\nmore"), "failed", "step 3: the loss is nan"),
        (NoNumbers("no"), "failed", "no"),
        (RuntimeError(), "failed", "RuntimeError"),
        (Stopped("SIGTERM"), "stopped", "SIGTERM"),
        (KeyboardInterrupt(), "stopped", "KeyboardInterrupt"),
    ],
)
def test_exception_is_recorded_and_passes_through(tmp_path, error, how, reason):
    def train() -> None:
        raise error

    with pytest.raises(type(error)):
        record_ending(Run(tmp_path), train)
    written = read_json(Run(tmp_path).ending)
    assert (written["how"], written["reason"]) == (how, reason)


def test_ending_of_an_earlier_start_is_gone_while_training_runs_and_other_ranks_write_nothing(tmp_path):
    run = Run(tmp_path)
    write_json(run.ending, {"how": "failed"})
    record_ending(run, lambda: None, record=False)
    assert read_json(run.ending) == {"how": "failed"}
    found = []
    record_ending(run, lambda: found.append(run.ending.exists()))
    assert found == [False]


def test_ending_that_cannot_be_written_does_not_hide_the_error(tmp_path, caplog):
    run = Run(tmp_path / "run")

    def train() -> None:
        run.root.write_text("a file where the folder was")
        raise ValueError("what happened")

    with caplog.at_level(logging.WARNING), pytest.raises(ValueError, match="what happened"):
        record_ending(run, train)
    assert "cannot be written" in caplog.text
