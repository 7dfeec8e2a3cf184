"""Where captions go, and what a format does with them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TextIO

from captioning.wanted import Answer, WantedPicture

WRITTEN = ("image", "style", "captions", "log_probs", "cut")
"""Entries of a row; all others come from the request."""
PageWriter = Callable[[Path, Sequence[Answer]], None]
"""Writes a page of captioned pictures. Pages lie above this package, so the command hands it in."""


@dataclass(frozen=True)
class Target:
    """Where captions go.

    Attributes:
        out: File or folder; None is ``stream``.
        stream: Standard output.
        pictures: All that are wanted, in styles that the model has.
        skip_existing: What is at ``out`` already stays, and is not captioned again.
        overwrite: What is at ``out`` already is replaced.
        names_pictures: Whether a line of text says which picture it belongs to.
        names_styles: Whether it says in which style it is.
        write_page: Writes the page, for the format that is one.
    """

    out: Path | None
    stream: TextIO
    pictures: Sequence[WantedPicture] = ()
    skip_existing: bool = False
    overwrite: bool = False
    names_pictures: bool = True
    names_styles: bool = True
    write_page: PageWriter | None = None


class Output(Protocol):
    """A format at work."""

    def has(self, picture: WantedPicture, style: str) -> bool:
        """Whether a picture is captioned there in a style already, and is to stay so."""

    def add(self, answer: Answer) -> None:
        """Take the captions of a picture, or its error; a format that is written line by line writes them now."""

    def close(self) -> None:
        """Write what is written in the end, with whatever came until now."""


def refuse_existing(path: Path, target: Target, *, resumes: bool = False) -> None:
    """Refuse to write over a file that has content, unless that is asked for, and where no file can be made.

    Raises:
        ValueError: If it is there, saying what to do.
    """
    if path.is_dir():
        raise ValueError(f"{path}: is a folder; a file is needed here")
    check_place(path)
    if target.overwrite or not path.exists() or (path.is_file() and path.stat().st_size == 0):
        return
    other = "--skip-existing captions what is missing in it" if resumes else "name another file"
    raise ValueError(f"{path}: is there already; {other}, or --overwrite replaces it")


def check_place(path: Path) -> None:
    """Refuse a path where no file can be made: some formats write in the end, when hours of work would be lost.

    Raises:
        ValueError: Naming the folder.
    """
    above = next(folder for folder in path.resolve().parents if folder.exists())
    if not (above.is_dir() and os.access(above, os.W_OK)):
        raise ValueError(f"{path}: no file can be made in {above}; name another place with --out")


def rows_of(answer: Answer) -> Iterator[dict[str, Any]]:
    """An answer as rows of JSON: one for each request, or one with the error.

    ``image``, ``style`` and ``captions`` are the columns that training reads; ``log_probs`` and ``cut`` go with the
    captions one by one.
    """
    if answer.error:
        yield {"image": answer.picture.name, "error": answer.error}
        return
    for request in answer.picture.requests:
        assert request.style is not None
        captions = answer.captions[request.style]
        yield {
            "image": answer.picture.name,
            "style": request.style,
            **request.about,
            "captions": [caption.text for caption in captions],
            "log_probs": [round(caption.log_prob, 4) for caption in captions],
            "cut": [caption.cut for caption in captions],
        }


def one_line(text: str) -> str:
    """A caption, or a file's name, for a format of lines: what a model makes of bytes may hold the ends of lines."""
    return text.translate(dict.fromkeys(map(ord, "\t\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"), " "))


class Lines:
    """Whole lines of text to a file, which is made anew, or to standard output."""

    def __init__(self, target: Target) -> None:
        self._file: TextIO | None = None
        if target.out is not None:
            refuse_existing(target.out, target)
            target.out.parent.mkdir(parents=True, exist_ok=True)
            self._file = target.out.open("w", encoding="utf-8", newline="")
        self._stream = self._file or target.stream

    def write(self, text: str) -> None:
        """Write lines at once."""
        self._stream.write(text)
        self._stream.flush()

    def close(self) -> None:
        """Close the file; standard output stays open."""
        if self._file is not None:
            self._file.close()
