"""A page to look at, written in the end."""

from __future__ import annotations

from captioning.outputs.target import Target, refuse_existing
from captioning.wanted import Answer, WantedPicture


class Page:
    """Collects everything for the page that whoever opened it writes."""

    def __init__(self, target: Target) -> None:
        assert target.out is not None
        assert target.write_page is not None
        refuse_existing(target.out, target)
        self._out, self._write_page = target.out, target.write_page
        self._answers: list[Answer] = []

    def has(self, picture: WantedPicture, style: str) -> bool:
        """Never: it begins anew."""
        return False

    def add(self, answer: Answer) -> None:
        """Keep it."""
        self._answers.append(answer)

    def close(self) -> None:
        """Write the page with what came until now."""
        self._write_page(self._out, self._answers)
