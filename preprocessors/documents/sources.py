"""Documents in files: JSON Lines, a folder of texts, one text with a separator."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from preprocessors.documents.interface import Document
from preprocessors.documents.reading import REMEDY, BadDocument, Position, Read, fingerprint_of
from utils.io import UTF8_BOM, parse_line, shorten_json

MOST_TEXT = 1 << 22
"""Most bytes of a text that is one document: a longer one is divided at the end of a line, so that no file need fit
into memory."""
BLOCK = 1 << 20
LINK = re.compile(r"(?<!!)\[[^\[\]]*\]\(((?:[^()\n]|\([^()\n]*\))+)\)")
"""``[text](title)``, and no picture; a title may have brackets of its own."""


class JsonlDocuments:
    """JSON Lines of ``{"body": text, "meta": text or list, "title": text, "links": [title]}``; the body must be there.

    Args:
        path: The file.
        links: Whether titles and links are read: those that are listed, then those in the body, as ``[text](title)``.

    Raises:
        FileNotFoundError: If there is no such file.
    """

    def __init__(self, path: Path, *, links: bool = False) -> None:
        self.path, self.links = require_file(path), links
        self.num_bytes = path.stat().st_size

    def fingerprint(self) -> str:
        """See :class:`DocumentSource`."""
        return fingerprint_of("jsonl", self.path.parent, [self.path])

    def read(self, position: Position = ()) -> Iterator[Read]:
        """See :class:`DocumentSource`; a place is a byte and the number of the line before it."""
        offset, number = position or (0, 0)
        with self.path.open("rb") as file:
            file.seek(offset)
            for line in file:
                offset, number = offset + len(line), number + 1
                content = line.removeprefix(UTF8_BOM) if number == 1 else line
                if content.strip():
                    yield Read(self._document(content, number), (offset, number), offset)

    def _document(self, line: bytes, number: int) -> Document | BadDocument:
        where = f"{self.path}, line {number}"
        try:
            record = parse_line(line.removesuffix(b"\n"), self.path, number)
        except ValueError as error:
            return BadDocument("not JSON", f"{error}. {REMEDY}")
        try:
            return _from_record(record, where, links=self.links)
        except BadDocument as bad:
            return bad


def _from_record(record: Any, where: str, *, links: bool) -> Document:
    if not isinstance(record, dict):
        raise BadDocument("not an object", f"{where}: must be a JSON object, got {shorten_json(record)}. {REMEDY}")
    body = record.get("body")
    if not isinstance(body, str):
        problem = f"must be text, got {shorten_json(body)}" if "body" in record else "is missing"
        raise BadDocument("no body", f"{where}: 'body' {problem}. {REMEDY}")
    title = record.get("title") if links else None
    if title is not None and not isinstance(title, str):
        raise BadDocument("bad title", f"{where}: 'title' must be text, got {shorten_json(title)}. {REMEDY}")
    title = (title or "").strip() or None
    named = _texts(record, "links", where) if links else ()
    found = dict.fromkeys([*named, *links_in(body)]) if links else ()
    return checked(Document(body.strip(), _texts(record, "meta", where), tuple(found), title, where))


def _texts(record: dict[str, Any], key: str, where: str) -> tuple[str, ...]:
    """A text, or a list of them, without the blank ones."""
    value = record.get(key)
    texts = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        message = f"{where}: {key!r} must be text or a list of texts, got {shorten_json(value)}. {REMEDY}"
        raise BadDocument(f"bad {key}", message)
    return tuple(text.strip() for text in texts if text.strip())


def checked(document: Document) -> Document:
    """The document.

    Raises:
        BadDocument: If its body is blank.
    """
    if not document.body:
        raise BadDocument("blank body", f"{document.where}: 'body' is blank. {REMEDY}")
    return document


def links_in(body: str) -> tuple[str, ...]:
    """Titles in ``[text](title)``, in their order."""
    return tuple(title.strip() for title in LINK.findall(body))


class FolderDocuments:
    """The ``.txt`` files of a folder and of those within it, one document each, in the order of their paths.

    A document's title is the path of its file below the folder, without ``.txt``.

    Args:
        folder: The folder.
        links: Whether links in the texts are read, as ``[text](title)``.

    Raises:
        FileNotFoundError: If there is no such folder, or it holds no such file.
    """

    def __init__(self, folder: Path, *, links: bool = False) -> None:
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder}: no such folder; documents.format=folder needs one with .txt files")
        self.folder, self.links = folder, links
        self.files = sorted(path for path in folder.rglob("*.txt") if path.is_file())
        if not self.files:
            raise FileNotFoundError(f"{folder}: holds no .txt files, not in its folders either")
        self.num_bytes = sum(path.stat().st_size for path in self.files)

    def fingerprint(self) -> str:
        """See :class:`DocumentSource`."""
        return fingerprint_of("folder", self.folder, self.files)

    def read(self, position: Position = ()) -> Iterator[Read]:
        """See :class:`DocumentSource`; a place is the number of a file and a byte in it."""
        first, offset = position or (0, 0)
        done = sum(path.stat().st_size for path in self.files[:first])
        for number, path in enumerate(self.files[first:], first):
            title = path.relative_to(self.folder).as_posix().removesuffix(".txt") if self.links else None
            size = path.stat().st_size
            for data, end in chain(_parts(path, None, offset), [] if size else [(b"", 0)]):
                if end > len(data) and not data.strip():  # white space that is left of a text that was divided
                    continue
                behind = (number, end) if end < size else (number + 1, 0)
                yield Read(_from_bytes(data, str(path), title, links=self.links), behind, done + end)
            done, offset = done + size, 0


class SeparatedDocuments:
    """One text file with a separator between documents; blank ones are passed over.

    Args:
        path: The file.
        separator: What stands between documents, wherever it stands; not blank.
        links: Whether links in the texts are read, as ``[text](title)``.

    Raises:
        FileNotFoundError: If there is no such file.
    """

    def __init__(self, path: Path, separator: str, *, links: bool = False) -> None:
        self.path, self.separator, self.links = require_file(path), separator, links
        self.num_bytes = path.stat().st_size

    def fingerprint(self) -> str:
        """See :class:`DocumentSource`."""
        return fingerprint_of("text", self.path.parent, [self.path], self.separator)

    def read(self, position: Position = ()) -> Iterator[Read]:
        """See :class:`DocumentSource`; a place is a byte."""
        (offset,) = position or (0,)
        for data, end in _parts(self.path, self.separator.encode(), offset):
            if data.strip():
                where = f"{self.path}, document before byte {end:,}"
                yield Read(_from_bytes(data, where, None, links=self.links), (end,), end)


def _from_bytes(data: bytes, where: str, title: str | None, *, links: bool) -> Document | BadDocument:
    try:
        body = data.removeprefix(UTF8_BOM).decode().strip()
    except UnicodeDecodeError as error:
        wrong = f"byte {error.start + 1:,}, 0x{data[error.start]:02x}, is not UTF-8; save it as UTF-8"
        return BadDocument("not UTF-8", f"{where}: {wrong}. {REMEDY}")
    try:
        return checked(Document(body, (), links_in(body) if links else (), title, where))
    except BadDocument as bad:
        return bad


def _parts(path: Path, separator: bytes | None, offset: int) -> Iterator[tuple[bytes, int]]:
    """What stands between separators from a place on, and where each part's successor begins.

    Where a part ends depends on what stands behind its beginning alone, so that whoever goes on there finds the same.
    """
    held, start, is_last = b"", 0, False
    with path.open("rb") as file:
        file.seek(offset)
        while not is_last:
            block = file.read(BLOCK)
            held, offset, start, is_last = held[start:] + block, offset + start, 0, not block
            while (found := _end_of_part(held, start, separator, is_last=is_last)) is not None:
                end, behind = found
                yield held[start:end], offset + behind
                start = behind
    if start < len(held):
        yield held[start:], offset + len(held)


def _end_of_part(held: bytes, start: int, separator: bytes | None, *, is_last: bool) -> tuple[int, int] | None:
    """Where a part ends and the next one begins; None where that is not to be seen yet, or the part is the last."""
    most = start + MOST_TEXT
    if separator and 0 <= (found := held.find(separator, start, most + len(separator))):
        return found, found + len(separator)
    if len(held) <= most + (0 if is_last else len(separator or b"")):
        return None
    if cut := held.rfind(b"\n", start, most) + 1:
        return cut, cut
    while most > start + MOST_TEXT - 4 and held[most] & 0xC0 == 0x80:  # within a character of UTF-8
        most -= 1
    return most, most


def require_file(path: Path) -> Path:
    """The path itself, if it is a file.

    Raises:
        FileNotFoundError: If it is not.
    """
    if not path.is_file():
        what = "is a folder; a file is needed here" if path.is_dir() else "no such file"
        raise FileNotFoundError(f"{path}: {what}. Check documents.train and documents.val.")
    return path


def open_jsonl(path: Path, *, separator: str, links: bool) -> JsonlDocuments:
    """As ``preprocessors.documents.table`` wants it; there is no separator."""
    return JsonlDocuments(path, links=links)


def open_folder(path: Path, *, separator: str, links: bool) -> FolderDocuments:
    """As ``preprocessors.documents.table`` wants it; there is no separator."""
    return FolderDocuments(path, links=links)


def open_separated(path: Path, *, separator: str, links: bool) -> SeparatedDocuments:
    """As ``preprocessors.documents.table`` wants it."""
    return SeparatedDocuments(path, separator, links=links)
