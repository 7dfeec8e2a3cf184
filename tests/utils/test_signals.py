from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from utils import signals
from utils.signals import request_stop, requested_by, stop_requested, stopping_as_on_ctrl_c, waiting

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_stopping_as_on_ctrl_c_signal_raises_inside_and_the_default_is_back_outside(number):
    with pytest.raises(KeyboardInterrupt), stopping_as_on_ctrl_c():
        os.kill(os.getpid(), number)
    assert signal.getsignal(number) is signal.SIG_DFL


def test_stopping_as_on_ctrl_c_leaves_an_ignored_signal_ignored():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopping_as_on_ctrl_c():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


def test_block_that_waits_is_asked_and_goes_on():
    with stopping_as_on_ctrl_c():
        with waiting():
            request_stop(signal.SIGUSR1)
            assert stop_requested()
            assert requested_by() == "SIGUSR1"
            request_stop(signal.SIGTERM)  # a launcher and a scheduler, in the same moment
        with pytest.raises(KeyboardInterrupt):
            request_stop()
    with stopping_as_on_ctrl_c():
        assert not stop_requested()


PROGRAM = """
import os, sys, time
from utils import signals
signals.SECOND_AFTER = 0.2
with signals.stopping_as_on_ctrl_c(), signals.waiting():
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(3)
    print(child, flush=True)
    while True:
        time.sleep(0.02)
"""


def test_second_signal_leaves_at_once_with_what_was_started():
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, cwd=REPOSITORY)
    child = int(process.stdout.readline())
    process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert process.poll() is None
    assert psutil.pid_exists(child)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 128 + signal.SIGTERM
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize(("tell_parent", "lives"), [(True, True), (False, False)])
def test_forked_process_outlives_a_signal_to_all_but_not_one_of_its_parent(tell_parent, lives, monkeypatch):
    """What a data worker needs: the step that is being ended still wants its rows."""
    monkeypatch.setattr(signals, "PARENT_SECONDS", 0.2)
    with stopping_as_on_ctrl_c(), waiting():
        child = os.fork()
        if child == 0:
            time.sleep(30)
            os._exit(3)
        time.sleep(0.1)
        os.kill(child, signal.SIGTERM)
        if tell_parent:
            request_stop()
        time.sleep(0.6)
        alive = os.waitpid(child, os.WNOHANG) == (0, 0)
        if alive:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    assert alive == lives
