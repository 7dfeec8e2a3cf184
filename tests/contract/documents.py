"""Clauses of a source of documents."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from preprocessors.documents.interface import Document
from preprocessors.documents.reading import BadDocument, DocumentSource, Position, Read
from preprocessors.documents.table import OpensDocuments
from tests.contract.clauses import Clause, require
from tests.contract.subject import in_scratch

SEPARATOR = "<|endoftext|>"
PLACES = 50
"""Places at most from which it is gone on."""


@dataclass
class Subject:
    """What opens documents, and a file or folder of them."""

    opens: OpensDocuments
    path: Path

    def open(self, path: Path | None = None) -> DocumentSource:
        """The source, anew."""
        return self.opens(path or self.path, separator=SEPARATOR, links=True)

    def read(self, position: Position = ()) -> list[Read]:
        """All that stands behind a place."""
        return [*self.open().read(position)]


def _told(read: Read) -> Document | str:
    return str(read.document) if isinstance(read.document, BadDocument) else read.document


def _reads(subject: Subject) -> None:
    found = subject.read()
    require(any(isinstance(one.document, Document) for one in found), f"{subject.path}: there is not one document")
    for number, one in enumerate(found, start=1):
        what = f"document {number}"
        require(isinstance(one, Read), f"{what} is no Read")
        require(isinstance(one.document, Document | BadDocument), f"{what} is neither a Document nor a BadDocument")
        numbers = isinstance(one.behind, tuple) and all(type(part) is int for part in one.behind)
        require(numbers, f"{what}: the place behind it is {one.behind!r}, no tuple of whole numbers")


def _bodies(subject: Subject) -> None:
    for number, one in enumerate(subject.read(), start=1):
        if isinstance(one.document, Document):
            body, meta = one.document.body, one.document.meta
            require(body and body == body.strip(), f"document {number}: its body is blank, or has space around it")
            require(isinstance(meta, tuple) and all(meta), f"document {number}: meta is {meta!r}, no tuple of words")


def _sizes(subject: Subject) -> None:
    before, most = 0, subject.open().num_bytes
    for number, one in enumerate(subject.read(), start=1):
        require(before <= one.size <= most, f"document {number}: its size is {one.size}, not in [{before}, {most}]")
        before = one.size


def _again(subject: Subject) -> None:
    require([*map(_told, subject.read())] == [*map(_told, subject.read())], "a second reading gives other documents")


def _goes_on(subject: Subject) -> None:
    found = subject.read()
    for place in range(0, len(found), max(1, len(found) // PLACES)):
        rest = [*map(_told, subject.read(found[place].behind))]
        wanted = [*map(_told, found[place + 1 :])]
        require(rest == wanted, f"behind document {place + 1} of {len(found)} come {len(rest)} others than at first")


def _fingerprint(subject: Subject) -> None:
    first, second = subject.open().fingerprint(), subject.open().fingerprint()
    require(isinstance(first, str) and first, f"the fingerprint is {first!r}, no text")
    require(first == second, "the same documents have two fingerprints")
    if subject.path.is_file():

        def look(folder: Path) -> None:
            copy = Path(shutil.copy2(subject.path, folder))
            with copy.open("ab") as file:
                file.write(b"\n")
            require(subject.open(copy).fingerprint() != first, "a file that grew has the fingerprint of before")

        in_scratch(look)


CLAUSES = (
    Clause("documents are read, each with the place behind it", _reads),
    Clause("bodies are texts without space around them", _bodies),
    Clause("sizes grow up to num_bytes", _sizes),
    Clause("a second reading gives the same documents", _again),
    Clause("reading goes on behind any place", _goes_on),
    Clause("the fingerprint is the same, and another for a file that grew", _fingerprint),
)
