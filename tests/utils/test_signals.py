from __future__ import annotations

import os
import signal

import pytest

from utils.signals import stopping_as_on_ctrl_c


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
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
