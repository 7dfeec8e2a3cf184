"""What a person sees while a sweep runs."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from rich.console import Console

from runs.folder import Run
from sweeps.standings import board as board_module
from sweeps.standings.board import Board
from sweeps.trials.folder import SweepFolder
from sweeps.trials.jobs import Job, Outcome
from sweeps.trials.plan import Plan
from sweeps.trials.scheduler import stretch_of
from sweeps.trials.slots import Slot
from utils.io import append_jsonl
from utils.logging import setup_logging

MakeSweep = Callable[..., tuple[SweepFolder, Plan]]
WriteRun = Callable[..., Run]
ESCAPE = re.compile(r"\x1b\[(\??[\d;]*)([A-Za-z])|(\r)|(\n)|([^\x1b\r\n]+)")
GPU = Slot(("0",))


class Clock:
    """Stands for the module ``time`` in the board."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(board_module, "time", clock)
    return clock


def make_board(sweep: tuple[SweepFolder, Plan], *, height: int = 40, terminal: bool = True) -> Board:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=120, height=height)
    board = Board(*sweep, console)
    board.enter(stretch_of(*sweep, 0))
    return board


def job(board: Board, name: str) -> Job:
    return Job(name, (), board.folder.root / "logs" / f"{name}.log")


def start(board: Board, name: str, slot: Slot = GPU) -> None:
    board.started(job(board, name), slot, 1)


def end(board: Board, name: str, code: int = 0, *, again: bool = False) -> None:
    board.ended(job(board, name), Outcome(code, 1, "exit code 1: error: boom" if code else ""), again=again)


def refresh(board: Board, clock: Clock, seconds: float = 60.0) -> None:
    """Let time pass and the running trials be read again, as the engine does a few times per second."""
    clock.now += seconds
    board.live = SimpleNamespace(update=lambda *_, **__: None)  # type: ignore[assignment]
    board.tick()
    board.live = None


def shown(board: Board) -> str:
    """The table as plain text."""
    console = Console(file=io.StringIO(), width=120)
    console.print(board.render())
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def cells(board: Board) -> dict[str, dict[str, str]]:
    """By trial the cells of the table, by column."""
    columns = {str(column.header): list(column.cells) for column in board.render().columns}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return {row["trial"]: row for row in rows}


def states(board: Board) -> list[str]:
    return [row["state"] for row in cells(board).values()]


def on_screen(output: str) -> list[str]:
    """Lines of a terminal that was sent this."""
    lines, row, column = [""], 0, 0
    for count, command, back, newline, text in ESCAPE.findall(output):
        if back:
            column = 0
        elif newline:
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        elif text:
            lines[row] = lines[row].ljust(column)[:column] + text + lines[row][column + len(text) :]
            column += len(text)
        elif command == "A":
            row = max(0, row - int(count or 1))
        elif command == "K":
            lines[row] = ""
    return [line.rstrip() for line in lines if line.strip()]


def test_render_shows_trial_state_step_loss_validation_cider_and_time_left(
    make_sweep: MakeSweep, write_run: WriteRun, clock: Clock
):
    folder, plan = make_sweep(set={"checkpoint.select": "CIDEr"})
    board = make_board((folder, plan))
    start(board, "002-seed7", Slot(("0", "1")))
    write_run(folder.run(plan.trials[1]), {0.25: 3.5, 0.5: 3.25}, cider={0.25: 0.4321, 0.5: 0.4})
    refresh(board, clock)
    assert cells(board)["002-seed7"] == {
        "trial": "002-seed7",
        "state": "running",
        "on": "0+1",
        "step": "50/200",
        "epoch": "0.50",
        "loss": "4.250",
        "best val CIDEr": "0.4321",
        "best CIDEr": "0.4321",
        "left": "3:00",  # half an epoch a minute, one and a half to go
    }
    assert set(cells(board)["001-seed7"].values()) == {"001-seed7", "waiting", ""}


def test_render_on_a_terminal_is_a_table_in_colour(make_sweep: MakeSweep):
    board = make_board(make_sweep())
    with board.shown():
        pass
    drawn = board.console.file.getvalue()  # type: ignore[attr-defined]
    assert "\x1b[" in drawn
    screen = "\n".join(on_screen(drawn))
    for name in ("trial", "state", "step", "loss", "best CIDEr", "left", "001-seed7", "002-seed7", "003-seed7"):
        assert name in screen


def test_render_likelihood_is_shown_as_nll_and_the_best_counts(
    make_sweep: MakeSweep, write_run: WriteRun, clock: Clock
):
    folder, plan = make_sweep()
    board = make_board((folder, plan))
    start(board, "001-seed7")
    write_run(folder.run(plan.trials[0]), {0.5: 3.5, 1.0: 3.25, 1.5: 3.75})
    refresh(board, clock)
    row = cells(board)["001-seed7"]
    assert (row["best val NLL"], row["best CIDEr"], row["loss"]) == ("3.2500", "", "4.750")


def test_render_trained_trial_shows_cider_of_its_results(make_sweep: MakeSweep, write_run: WriteRun):
    folder, plan = make_sweep()
    board = make_board((folder, plan))
    start(board, "001-seed7")
    write_run(folder.run(plan.trials[0]), {2.0: 3.0}, overall={"CIDEr": 0.3456})
    end(board, "001-seed7")
    row = cells(board)["001-seed7"]
    assert (row["state"], row["best CIDEr"], row["step"], row["left"], row["on"]) == (
        "trained",
        "0.3456",
        "200/200",
        "",
        "",
    )


def test_states_of_a_halving_sweep(make_sweep: MakeSweep, write_run: WriteRun):
    folder, plan = make_sweep(axes={"train.lr": [1e-3, 2e-3, 3e-3, 4e-3]}, halving={"first": 0.5, "factor": 4})
    board = make_board((folder, plan))
    assert states(board) == ["waiting"] * 4
    for trial, nll in zip(plan.trials[:3], [4.0, 3.0, 5.0], strict=True):
        start(board, trial.name)
        write_run(folder.run(trial), {0.5: nll})
    assert states(board) == ["running"] * 3 + ["waiting"]
    for trial in plan.trials[:3]:
        end(board, trial.name)
    start(board, "004-seed7")
    end(board, "004-seed7", 1, again=True)
    assert states(board) == ["paused"] * 3 + ["waiting"]
    start(board, "004-seed7")
    end(board, "004-seed7", 1)
    assert states(board) == ["paused"] * 3 + ["failed"]
    board.enter(stretch_of(folder, plan, 1))
    assert states(board) == ["stopped", "waiting", "stopped", "failed"]
    start(board, "002-seed7")
    write_run(folder.run(plan.trials[1]), {2.0: 2.0}, overall={"CIDEr": 0.2})
    end(board, "002-seed7")
    assert states(board) == ["stopped", "trained", "stopped", "failed"]


def test_states_of_a_sweep_that_goes_on_are_those_it_had(make_sweep: MakeSweep, write_run: WriteRun):
    """The first stretch has ended for 1 to 3; a second start of the program runs the rest of it, and the next."""
    folder, plan = make_sweep(axes={"train.lr": [1e-3, 2e-3, 3e-3, 4e-3]}, halving={"first": 0.5, "factor": 4})
    for trial, nll in zip(plan.trials[:3], [4.0, 3.0, 5.0], strict=True):
        write_run(folder.run(trial), {0.5: nll})
    board = make_board((folder, plan))
    assert states(board) == ["paused"] * 3 + ["waiting"]
    start(board, "004-seed7")
    write_run(folder.run(plan.trials[3]), {0.5: 6.0})
    end(board, "004-seed7")
    board.enter(stretch_of(folder, plan, 1))
    assert states(board) == ["stopped", "waiting", "stopped", "stopped"]
    write_run(folder.run(plan.trials[1]), {2.0: 2.0}, overall={"CIDEr": 0.2})
    again = Board(folder, plan, board.console)
    for number in range(2):
        again.enter(stretch_of(folder, plan, number))
    assert states(again) == ["stopped", "trained", "stopped", "stopped"]


def test_time_left_counts_from_where_this_start_began(make_sweep: MakeSweep, write_run: WriteRun, clock: Clock):
    """Half an epoch was trained before; this start does another half in 30 s, so the last one takes a minute."""
    folder, plan = make_sweep()
    write_run(folder.run(plan.trials[0]), {0.5: 4.0})
    board = make_board((folder, plan))
    start(board, "001-seed7")
    assert cells(board)["001-seed7"]["left"] == ""
    write_run(folder.run(plan.trials[0]), {1.0: 3.0})
    refresh(board, clock, 30)
    assert cells(board)["001-seed7"]["left"] == "1:00"


def test_time_left_ends_at_the_stretch(make_sweep: MakeSweep, write_run: WriteRun, clock: Clock):
    folder, plan = make_sweep(halving={"first": 1})
    board = make_board((folder, plan))
    start(board, "001-seed7")
    write_run(folder.run(plan.trials[0]), {0.25: 4.0})
    refresh(board, clock, 1500)
    assert cells(board)["001-seed7"]["left"] == "1:15:00"  # 100 minutes an epoch, three quarters of one to go


def test_time_left_of_the_stretch_shares_the_waiting_trials_among_the_running(
    make_sweep: MakeSweep, write_run: WriteRun, clock: Clock
):
    """After a minute two trials stand at 0.5 and 0.25 of 2 epochs: 180 s and 420 s are left.

    Together they took 120 s for 0.75 epochs, so the third needs 320 s: 920 s in two places.
    """
    folder, plan = make_sweep()
    board = make_board((folder, plan))
    for trial, epoch in zip(plan.trials[:2], (0.5, 0.25), strict=True):
        start(board, trial.name)
        write_run(folder.run(trial), {epoch: 4.0})
    refresh(board, clock)
    headline = shown(board).splitlines()[0].strip()
    assert headline == "stretch 1 of 1: 3 trials to the end; 2 running, 1 waiting; about 7:40 left in it"


def test_time_left_after_a_crash_counts_the_steps_that_come_again(
    make_sweep: MakeSweep, write_run: WriteRun, clock: Clock
):
    """Rows of metrics.jsonl reach to 0.9, the checkpoint that training goes on from to 0.5 epochs.

    From there to 1.0 epochs it takes a minute, so the second epoch takes two.
    """
    folder, plan = make_sweep()
    run = write_run(folder.run(plan.trials[0]), {0.5: 4.0})
    append_jsonl(run.metrics, {"global_step": 90, "epoch": 0.9, "train/loss": 3.0})
    board = make_board((folder, plan))
    start(board, "001-seed7")
    write_run(run.root, {1.0: 3.0})
    refresh(board, clock)
    assert cells(board)["001-seed7"]["left"] == "2:00"


def test_many_trials_on_a_small_terminal_still_show_those_that_run_and_the_best(
    make_sweep: MakeSweep, write_run: WriteRun
):
    axes = {"train.batch_size": [*range(1, 51)]}
    folder, plan = make_sweep(axes=axes)
    for trial in plan.trials[:30]:
        write_run(folder.run(trial), {2.0: 3.0}, overall={"CIDEr": 0.9 if trial.point == 29 else 0.1})
    board = make_board((folder, plan), height=20)
    for number in (41, 45, 50):
        start(board, f"{number:03d}-seed7")
    console = Console(file=io.StringIO(), width=120)
    console.print(board.render())
    with board.console.capture() as captured:
        board.console.print(board.render())
    assert len(captured.get().splitlines()) <= 20
    drawn = [name for name in (trial.name for trial in plan.trials) if name in captured.get()]
    assert {"041-seed7", "045-seed7", "050-seed7"} <= {*drawn}
    assert len(drawn) > 8
    assert "029-seed7" in drawn  # the best of those that are trained


def test_without_a_terminal_events_are_log_lines_and_nothing_is_drawn(
    make_sweep: MakeSweep, write_run: WriteRun, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, logger="sweeps")
    folder, plan = make_sweep()
    board = make_board((folder, plan), terminal=False)
    with board.shown():
        start(board, "001-seed7")
        board.tick()
        write_run(folder.run(plan.trials[0]), {2.0: 3.0}, overall={"CIDEr": 0.25})
        end(board, "001-seed7")
        start(board, "002-seed7")
        end(board, "002-seed7", 1, again=True)
        board.started(job(board, "002-seed7"), GPU, 2)
        end(board, "002-seed7", 1)
    logs = folder.root / "logs"
    assert [record.getMessage() for record in caplog.records] == [
        "stretch 1 of 1: 3 trials to the end",
        f"001-seed7 on 0; {logs / '001-seed7.log'}",
        "001-seed7 trained: epoch 2.00, best val NLL 3.0000, val CIDEr 0.2500",
        f"002-seed7 on 0; {logs / '002-seed7.log'}",
        "002-seed7: exit code 1: error: boom; starting it again",
        f"002-seed7 on 0, start 2; {logs / '002-seed7.log'}",
        "002-seed7: exit code 1: error: boom",
    ]
    assert board.console.file.getvalue() == ""  # type: ignore[attr-defined]


def test_log_lines_on_a_terminal_stand_above_one_whole_table(make_sweep: MakeSweep, monkeypatch: pytest.MonkeyPatch):
    """What is logged while the table is drawn must neither damage it nor be overwritten by it."""
    terminal = io.StringIO()
    monkeypatch.setattr("sys.stderr", terminal)
    root = logging.getLogger()
    handlers = [*root.handlers]
    setup_logging(None)
    try:
        folder, plan = make_sweep()
        board = Board(folder, plan, Console(file=terminal, force_terminal=True, width=120, height=40))
        with board.shown():
            board.enter(stretch_of(folder, plan, 0))
            start(board, "001-seed7")
            board._draw()
            end(board, "001-seed7", 1)
            board._draw()
    finally:
        for handler in [handler for handler in root.handlers if handler not in handlers]:
            root.removeHandler(handler)
    screen = on_screen(terminal.getvalue())
    assert sum("trial" in line and "state" in line for line in screen) == 1
    assert any("001-seed7: exit code 1: error: boom" in line for line in screen)
    assert sum("stretch 1 of 1: 3 trials to the end; " in line for line in screen) == 1


def test_board_reads_half_written_metrics(make_sweep: MakeSweep, write_run: WriteRun, clock: Clock):
    folder, plan = make_sweep()
    board = make_board((folder, plan))
    start(board, "001-seed7")
    run = write_run(folder.run(plan.trials[0]), {0.5: 4.0})
    with run.metrics.open("a") as file:
        file.write('{"global_step": 60, "ep')
    refresh(board, clock)
    assert cells(board)["001-seed7"]["step"] == "50/200"


def test_render_trials_of_different_lengths_count_to_their_own_end(
    make_sweep: MakeSweep, write_run: WriteRun, clock: Clock
):
    folder, plan = make_sweep(axes={"train.epochs": [2, 8]})
    board = make_board((folder, plan))
    start(board, "001-seed7")
    write_run(folder.run(plan.trials[0]), {0.5: 4.0})
    refresh(board, clock)
    row = cells(board)["001-seed7"]
    assert (row["step"], row["left"]) == ("50/200", "3:00")


def test_render_on_80_columns_keeps_every_number_whole(make_sweep: MakeSweep, write_run: WriteRun, clock: Clock):
    folder, plan = make_sweep(set={"checkpoint.select": "CIDEr"})
    board = make_board((folder, plan))
    start(board, "001-seed7")
    write_run(folder.run(plan.trials[0]), {0.5: 3.25}, cider={0.5: 0.4321})
    refresh(board, clock)
    console = Console(file=io.StringIO(), width=80)
    console.print(board.render())
    drawn = console.file.getvalue()  # type: ignore[attr-defined]
    for text in ("001-seed7", "running", "50/200", "4.250", "0.4321", "3:00"):
        assert text in drawn, drawn
