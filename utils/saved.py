"""What is kept in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, Self


class Saved(Protocol):
    """Has a state that is written into a folder, and read from there equal to what it was.

    Models, tokenizers, style registries, encoded documents and the state of a training are.
    """

    def save_to_dir(self, folder: Path) -> None:
        """Write it, beside what else belongs there or, of what fills a folder, in place of an older one."""

    @classmethod
    def load_from_dir(cls, folder: Path) -> Self:
        """Read it.

        Raises:
            FileNotFoundError: If a file is missing.
            ValueError: If one is damaged, or they do not fit one another.
        """
