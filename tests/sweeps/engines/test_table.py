"""An engine is one file and one entry: the command line, its checks and its option follow."""

from __future__ import annotations

import sys

import pytest

from sweeps.__main__ import main, make_parser
from sweeps.engines.table import ENGINES, EngineEntry, EngineKind, open_engine
from sweeps.trials.jobs import Outcome

HELD: list[str] = []
CALLS: list[object] = []


class ToyEngine:
    """Says that every trial ended with an exit code."""

    def __init__(self, option: str) -> None:
        self.option = option

    def run(self, jobs):
        CALLS.append((self.option, [job.name for job in jobs]))
        return {job.name: Outcome(3, 1, "toys do not train") for job in jobs}


def refuse_yellow(slots, option):
    if option == "yellow":
        raise ValueError("--colour yellow: there is no such toy")


def refuse_held(folder):
    if HELD:
        raise ValueError(f"{folder.root}: the toys still hold it")


TOY = EngineKind(
    check=refuse_yellow, make=lambda slots, retries, watcher, option: ToyEngine(option), check_free=refuse_held
)


@pytest.fixture(autouse=True)
def _toy(monkeypatch):
    HELD.clear(), CALLS.clear()
    entry = EngineEntry(f"{__name__}:TOY", "colour", "COLOUR", "of the toys")
    monkeypatch.setitem(ENGINES, "toy", entry)


@pytest.fixture
def run(write_sweep, tmp_path):
    """Runs ``python -m sweeps run`` on a small sweep."""
    file = write_sweep()
    return lambda *more: main(["run", "cpu", "--conf", str(file), "--work_dir", str(tmp_path / "sweep"), *more])


def test_new_engine_runs_a_sweep_with_its_option(run, capsys):
    assert run("--engine", "toy", "--colour", "red") == 1
    ((option, names),) = CALLS
    assert option == "red"
    assert names[0] == "001-seed7"
    assert "failed" in capsys.readouterr().out


def test_new_engine_s_check_and_its_hold_refuse_before_anything_runs(run, capsys):
    assert run("--engine", "toy", "--colour", "yellow") == 2
    assert "there is no such toy" in capsys.readouterr().err
    HELD.append("x")
    for engine in ("toy", "local"):  # whatever is to run it now
        assert run("--engine", engine) == 2
        assert "the toys still hold it" in capsys.readouterr().err
    assert not CALLS


def test_sweep_that_is_held_is_not_handed_over_either(run, capsys, monkeypatch):
    taken = EngineKind(check=refuse_yellow, submit=lambda *given: {"taken": CALLS.append(given)})
    monkeypatch.setattr(sys.modules[__name__], "TAKER", taken, raising=False)
    monkeypatch.setitem(ENGINES, "taker", EngineEntry(f"{__name__}:TAKER"))
    HELD.append("x")
    assert run("--engine", "taker") == 2
    assert "the toys still hold it" in capsys.readouterr().err
    HELD.clear()
    assert run("--engine", "taker") == 0
    assert len(CALLS) == 1


def test_option_of_another_engine_is_refused(run, capsys):
    assert run("--colour", "red") == 2
    assert "--colour: is for --engine toy; add that, or remove this" in capsys.readouterr().err


def test_every_engine_is_waited_for_or_takes_sweeps_over():
    for name in ENGINES:
        kind = open_engine(name)
        assert (kind.make is None) != (kind.submit is None), name
    assert make_parser().parse_args(["run", "0"]).engine == "local"
