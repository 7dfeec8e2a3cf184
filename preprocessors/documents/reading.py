"""Documents as they come from a source, one by one, with where to go on behind each; and what becomes of bad ones."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from preprocessors.documents.interface import Document
from utils.io import encode_json

Position = tuple[int, ...]
"""Where a source goes on; () is its beginning."""
BadRowPolicy = Literal["error", "skip"]
BATCH = 1 << 20
"""Characters of documents that are encoded together."""
MOST_DOCUMENTS = 1 << 14
"""Documents of a batch: a hundred bytes of Python's own stand around each."""
LISTED, TOLD = 20, 1000
"""Bad rows that are told one by one, and characters of each: a style may be as long as a file."""
REMEDY = "Correct or remove it, or leave such documents out with documents.on_bad_row=skip."


class BadDocument(ValueError):
    """A document cannot be used.

    Args:
        reason: What can be counted, such as "blank body".
        message: Names the place, what is wrong with it and what to do.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Read(NamedTuple):
    """What stands at a place of a source."""

    document: Document | BadDocument
    """A document, or why it is none."""
    behind: Position
    """Where to go on."""
    size: int
    """Bytes of the source up to there, of :attr:`DocumentSource.num_bytes`."""


class DocumentSource(Protocol):
    """Documents that can be gone through again from any place."""

    num_bytes: int
    """Size of all, for progress."""

    def fingerprint(self) -> str:
        """SHA-256 (hex) that differs where there are other documents; files are told by name, size and time."""

    def read(self, position: Position = ()) -> Iterator[Read]:
        """What stands behind a place, in order; one document at a time is in memory.

        Raises:
            FileNotFoundError: If a file is missing.
            ValueError: If a file cannot be read at all.
        """


class Batch(NamedTuple):
    """What is read of a source at once."""

    documents: list[Document]
    bad: list[BadDocument]
    """Between the documents."""
    position: Position
    """Where the source goes on."""
    size: int
    """Bytes of the source up to there."""


def batches_of(source: DocumentSource, position: Position = ()) -> Iterator[Batch]:
    """What stands in a source behind a place, so much at a time as takes a bounded memory."""
    documents: list[Document] = []
    bad: list[BadDocument] = []
    held, read = 0, None
    for read in source.read(position):
        if isinstance(read.document, BadDocument):
            bad.append(read.document)
        else:
            documents.append(read.document)
            held += len(read.document.body)
        if held >= BATCH or len(documents) + len(bad) >= MOST_DOCUMENTS:
            yield Batch(documents, bad, read.behind, read.size)
            documents, bad, held = [], [], 0
    if read is not None and (documents or bad):
        yield Batch(documents, bad, read.behind, read.size)


class RowPolicy:
    """What becomes of documents that cannot be used: an error, or left out, counted, and the first of them told.

    Args:
        on_bad_row: ``error`` or ``skip``.
        counts: Of an earlier start.
        first: Messages of an earlier start.
    """

    def __init__(
        self, on_bad_row: BadRowPolicy, counts: Mapping[str, int] | None = None, first: Sequence[str] = ()
    ) -> None:
        self._skips = on_bad_row == "skip"
        self.counts, self.first = Counter(counts), [*first]

    def leave_out(self, bad: BadDocument) -> None:
        """Note a document that is left out.

        Raises:
            BadDocument: Itself, if such documents are errors.
        """
        if not self._skips:
            raise bad
        self.counts[bad.reason] += 1
        if len(self.first) < LISTED:
            self.first.append(str(bad)[:TOLD])


def fingerprint_of(kind: str, root: Path, files: Iterable[Path], *settings: str) -> str:
    """Of files by their names below a folder, sizes and times of change, and of what else decides what is read.

    Raises:
        ValueError: If a name is not UTF-8, so that nothing that is written down could name it.
    """
    digest = hashlib.sha256(encode_json([kind, *settings]))
    for file in files:
        name, status = file.relative_to(root).as_posix(), file.stat()
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"{root}: the name of its file {name!r} is not UTF-8; rename it") from error
        digest.update(encode_json([name, status.st_size, status.st_mtime_ns]))
    return digest.hexdigest()
