"""Counts what was tried and what was right, by fault and phase."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

IS_LONG = os.environ.get("STYLECAP_FAULTS") == "long"
"""The long form tries every point; the short one a sample with a fixed seed."""
OUT = os.environ.get("STYLECAP_FAULTS_OUT")
"""File that gets a JSON row for each fault and phase."""


class Tally:
    """What a session of tests has tried."""

    def __init__(self) -> None:
        self.tried: Counter[tuple[str, str]] = Counter()
        self.right: Counter[tuple[str, str]] = Counter()
        self.wrong: list[str] = []

    def add(self, fault: str, phase: str, why: str = "") -> None:
        """Enter a try; ``why`` says what was wrong with it, empty if it went as it should."""
        self.tried[fault, phase] += 1
        self.right[fault, phase] += not why
        if why:
            self.wrong.append(f"{fault}, {phase}: {why}")

    def rows(self) -> list[dict[str, str | int]]:
        """A row for each fault and phase."""
        return [
            {"fault": fault, "phase": phase, "tries": count, "right": self.right[fault, phase]}
            for (fault, phase), count in sorted(self.tried.items())
        ]

    def write(self) -> None:
        """Add the rows to the file that was asked for."""
        if OUT is not None:
            with Path(OUT).open("a") as file:
                file.writelines(json.dumps(row) + "\n" for row in self.rows())
