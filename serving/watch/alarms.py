"""What a run warned of, from its log."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TAIL_BYTES = 1_000_000
"""Of the log that are read."""
MAX_ALARMS = 40
LINE = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),\d+ rank (\d+) (\w+) [\w.]+: (.*)$")
LEVELS = ("WARNING", "ERROR", "CRITICAL")


@dataclass
class Alarm:
    """A message, as often as it came."""

    time: str
    """When it came last, as the log has it."""
    level: str
    """One of ``LEVELS``."""
    message: str
    count: int = 1


def read_alarms(log: Path) -> list[Alarm]:
    """Warnings and errors of a log, the newest first; what came several times, or from several processes, stands once.

    Args:
        log: ``log.txt`` of a run. No file is one without messages.
    """
    found: dict[str, Alarm] = {}
    for time, level, message in _messages(_tail(log)):
        if level in LEVELS:
            before = found.pop(message, None)
            found[message] = Alarm(time, level, message, 1 if before is None else before.count + 1)
    return [*found.values()][::-1][:MAX_ALARMS]


def _messages(text: str) -> Iterator[tuple[str, str, str]]:
    """Time, level and message, with the lines that belong to it."""
    held: list[str] | None = None
    for line in text.splitlines():
        match = LINE.match(line)
        if match is None:
            if held is not None:
                held[2] += f"\n{line}"
            continue
        if held is not None:
            yield held[0], held[1], held[2]
        held = [match[1], match[3], match[4]]
    if held is not None:
        yield held[0], held[1], held[2]


def _tail(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - TAIL_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
