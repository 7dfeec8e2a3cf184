"""Java programs beside this one: each in a process group of its own, limited in time, never left behind."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import IO, Self

from metrics.scores.measurement import MetricUnavailable

INSTALL_JAVA = "install a Java runtime, e.g. `apt install default-jre-headless`"


class JavaProcess:
    """A Java program that runs until it ends, its time is up, or the ``with`` block is left.

    It reads and writes temporary files instead of pipes, so that it runs on without anybody who feeds or reads it.
    """

    def __init__(self, arguments: Sequence[str], *, time_limit: float, text: str = "") -> None:
        """Start ``java`` with these arguments.

        Args:
            arguments: What follows ``java``.
            time_limit: Seconds it may take from now.
            text: Its standard input.

        Raises:
            MetricUnavailable: If there is no ``java`` on PATH or it cannot be started.
        """
        self._time_limit = time_limit
        self._deadline = time.monotonic() + time_limit
        self._output, self._errors = tempfile.TemporaryFile(), tempfile.TemporaryFile()
        with tempfile.TemporaryFile() as source:
            # A lone surrogate, which JSON can hold, has no UTF-8 form.
            source.write(text.encode(errors="replace"))
            source.seek(0)
            try:
                self._process = subprocess.Popen(
                    [find_java(), *arguments], stdin=source, stdout=self._output, stderr=self._errors, process_group=0
                )
            except OSError as error:
                raise MetricUnavailable(f"Java cannot be started ({error}); {INSTALL_JAVA}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self._end_group()
        self._output.close()
        self._errors.close()

    def wait(self) -> tuple[str, str]:
        """Wait for the end of the program.

        Returns:
            What it wrote to standard output and to standard error.

        Raises:
            MetricUnavailable: If it took too long, was killed, or ended with an exit code other than 0.
        """
        try:
            code = self._process.wait(max(0.0, self._deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise MetricUnavailable(f"Java was ended after its time limit of {self._time_limit:.0f} s") from None
        finally:
            self._end_group()
        output, errors = _content(self._output), _content(self._errors)
        if code < 0:
            raise MetricUnavailable(f"Java was killed by {signal.Signals(-code).name} (not enough memory?)")
        if code > 0:
            raise MetricUnavailable(f"Java ended with exit code {code}: {errors.strip()[-500:] or 'no message'}")
        return output, errors

    def _end_group(self) -> None:
        # The group, since `java` may be a script that starts the real one; this can outlive the script.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def find_java() -> str:
    """Path of the ``java`` on PATH.

    Raises:
        MetricUnavailable: If there is none.
    """
    found = shutil.which("java")
    if found is None:
        raise MetricUnavailable(f"no Java on PATH; {INSTALL_JAVA}")
    return found


def java_version() -> str | None:
    """Version of the Java on PATH, such as "17.0.15" or "1.8.0_292"; None if there is none that runs."""
    try:
        with JavaProcess(["-version"], time_limit=60) as java:
            _, printed = java.wait()
    except MetricUnavailable:
        return None
    found = re.search(r'version "([^"]+)"', printed)
    return found[1] if found else None


def memory_bytes() -> int:
    """Memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _content(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")
