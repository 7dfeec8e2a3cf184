"""What the command lines of this package share: where results go, and how faults are told."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from utils import exit_codes


def run_command(command: Callable[[], dict[str, Any]], out: Path | None = None) -> int:
    """Run a command and write what it returns on standard output, as one line of JSON.

    Log lines go to standard error, and so does a fault of the input, in one line.

    Args:
        command: Gives the result.
        out: File that gets the result as well.

    Returns:
        Exit code: 0, 2 for a fault of the input, 130 if interrupted.
    """
    from metrics.results import write_results
    from utils.logging import setup_logging
    from utils.signals import stopping_as_on_ctrl_c

    setup_logging(None)
    try:
        with stopping_as_on_ctrl_c():
            result = command()
        try:
            if out is not None:
                write_results(out, result)
        finally:  # What took long to compute is not lost because one of the two cannot be written.
            write_result(result)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"error: {' '.join(str(error).splitlines())}\n")
        return exit_codes.BAD_INPUT
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return exit_codes.INTERRUPTED
    return exit_codes.FINISHED


def write_result(result: dict[str, Any]) -> None:
    """Write one line of JSON, in UTF-8, on standard output.

    Raises:
        OSError: If nobody reads it.
    """
    from utils.console import give_up_output
    from utils.io import encode_json

    closed = "standard output is closed, so the result could not be written there"
    if sys.stdout is None:
        raise OSError(closed)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")
    try:
        sys.stdout.write(encode_json(result).decode() + "\n")
        sys.stdout.flush()
    except BrokenPipeError as error:
        give_up_output()
        raise OSError(closed) from error


def check_writable(out: Path, inputs: Sequence[Path]) -> None:
    """Make the folder of a file that is written in the end, before hours go into its content.

    Raises:
        ValueError: If the file is one of the inputs, or a folder, or its folder cannot be made.
    """
    if out.is_dir():
        raise ValueError(f"--out {out}: is a folder; name a file.")
    if out.exists() and not out.is_file():
        raise ValueError(f"--out {out}: is no regular file; name another, or read the results from standard output.")
    if out.resolve() in [path.resolve() for path in inputs]:
        raise ValueError(f"--out {out}: is one of the files to read; name another.")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"--out {out}: its folder cannot be made ({error.strerror}).") from error


def show_path(path: Path | None) -> str | None:
    """A path as text that JSON can hold, whatever bytes are in its name."""
    return None if path is None else os.fsencode(path).decode(errors="replace")
