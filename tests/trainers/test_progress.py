"""The bar over training: there on a terminal, nowhere else, and never through a log line."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from transformers.utils.logging import disable_progress_bar, enable_progress_bar

from configuration.loading import RunConfig, load_config
from pipeline.train import train
from trainers.progress import progress_shown
from utils.errors import NoNumbers
from utils.logging import setup_logging

LOG_LINE = re.compile(r"\d\d:\d\d:\d\d .+")


class Terminal:
    """What a program writes to a pseudo-terminal while :meth:`shown` lasts."""

    def __init__(self) -> None:
        self.text = ""

    @contextmanager
    def shown(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        ours, theirs = os.openpty()
        termios.tcsetwinsize(theirs, (24, 160))
        parts: list[bytes] = []

        def read() -> None:
            try:
                while part := os.read(ours, 65536):
                    parts.append(part)
            except OSError:  # the other end is closed
                pass

        reader = threading.Thread(target=read)
        reader.start()
        with open(theirs, "w", encoding="utf-8") as stream, monkeypatch.context() as patched:
            patched.setattr(sys, "stderr", stream)
            yield
        reader.join(10)
        os.close(ours)
        self.text = b"".join(parts).decode()

    def lines(self) -> list[str]:
        """The pieces that were drawn, each as it stood on a line of its own."""
        return [part.strip() for part in re.split(r"[\r\n]|\x1b\[A", self.text) if part.strip()]


@pytest.fixture
def config(tiny_document, tmp_path) -> RunConfig:
    """Twelve pictures in four styles are 48 rows: 6 steps of 2 x 4 an epoch, with a validation after 3."""
    tiny_document["train"] |= {"epochs": 1, "batch_size": 4, "accumulation_steps": 2}
    tiny_document["checkpoint"] = {"every_epochs": 0.5}
    path = tmp_path / "conf.json"
    path.write_text(json.dumps(tiny_document))
    return load_config(path)


@pytest.fixture(autouse=True)
def _restore_root_logger():
    root = logging.getLogger()
    before = root.handlers[:]
    yield
    for handler in set(root.handlers) - set(before):
        root.removeHandler(handler)


def run(config: RunConfig, **options: Any) -> None:
    setup_logging(None)
    train(config, ["finetune.py"], config.work_dir.with_name("conf.json"), **options)


def test_bar_on_a_terminal_counts_steps_of_the_whole_run_and_goes_on_where_it_stood(config, monkeypatch):
    first, second = Terminal(), Terminal()
    with first.shown(monkeypatch):
        run(config, pause_after=0.5)
    bars = [line for line in first.lines() if line.startswith("training:")]
    assert re.search(r" 0/6 \[", bars[0])
    assert re.search(r" 3/6 \[\d\d:\d\d<\d\d:\d\d, .*epoch 0\.50, loss \d\.\d{3}, val loss \d\.\d{3}\]", bars[-1])
    assert any(line.startswith("validation:") for line in first.lines())
    assert any(line.startswith("captions:") for line in first.lines())
    assert_whole(first, (config.work_dir / "log.txt").read_text())
    with second.shown(monkeypatch):
        run(config)
    bars = [line for line in second.lines() if line.startswith("training:")]
    assert re.search(r" 3/6 \[00:00<\?", bars[0])
    assert any("val loss" in line for line in bars[:2])  # known from before the pause
    assert re.search(r" 6/6 \[", bars[-1])


def assert_whole(terminal: Terminal, log: str) -> None:
    """Every step that the log tells stands on the terminal too, on a line of its own."""
    said = [line.split(": ", 1)[1] for line in log.splitlines() if " INFO trainers.callbacks" in line]
    assert len(said) == 3 + 1
    drawn = [line for line in terminal.lines() if LOG_LINE.fullmatch(line)]
    assert [message for message in said if not any(line.endswith(message) for line in drawn)] == []
    assert [line for line in terminal.lines() if re.search(r"step \d", line) and line not in drawn] == []


def test_bar_elsewhere_is_nowhere(config, monkeypatch):
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stderr", pipe)
    disable_progress_bar()  # transformers' own, as commands do
    try:
        run(config, pause_after=0.5)
    finally:
        enable_progress_bar()
    assert "step 3/6" in pipe.getvalue()
    assert "\r" not in pipe.getvalue()
    assert [line for line in pipe.getvalue().splitlines() if not LOG_LINE.fullmatch(line)] == []


def test_bar_is_closed_when_training_fails(monkeypatch):
    """The message that follows stands on a line of its own."""
    terminal = Terminal()
    with terminal.shown(monkeypatch):
        with pytest.raises(NoNumbers), progress_shown(Failing()):
            Failing.train()
        sys.stderr.write("error: no numbers\n")
    assert terminal.text.endswith("]\r\nerror: no numbers\r\n")


class Failing:
    """Begins to train, and fails."""

    callback: Any

    def add_callback(self, callback: Any) -> None:
        Failing.callback = callback

    @staticmethod
    def train() -> None:
        from types import SimpleNamespace

        state = SimpleNamespace(max_steps=3, global_step=0, log_history=[], epoch=None)
        Failing.callback.on_train_begin(SimpleNamespace(metric_for_best_model="eval_loss"), state, None)
        raise NoNumbers("nan")
