"""How a program ends that cannot do what it was asked for, and what is said of somebody else's exception."""

from __future__ import annotations

from utils import exit_codes


class Ending(Exception):
    """Ends a program with one message and an exit code of its own, without a traceback.

    Input that cannot be used is a ``ValueError`` or ``FileNotFoundError`` instead, exit code 2.
    """

    exit_code = exit_codes.FAULT


class Fault(Ending):
    """Something went wrong that is not the input's fault, and that the message can say how to mend."""


class Locked(Ending):
    """Another process holds what is needed."""

    exit_code = exit_codes.LOCKED


class Stopped(Ending):
    """A signal ended the work; the same command goes on."""

    exit_code = exit_codes.STOPPED


class OutOfMemory(Ending):
    """One row alone does not fit."""

    exit_code = exit_codes.OUT_OF_MEMORY


class NoNumbers(Ending):
    """Losses, gradients or weights are no numbers."""

    exit_code = exit_codes.NO_NUMBERS


def first_line(error: BaseException) -> str:
    """Its first line of text, or its kind if it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
