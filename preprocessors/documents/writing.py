"""Documents to ids in files: streamed, gone on with where a start was killed, and there whole or not at all.

A folder of encoded documents holds ``tokens.bin``, the ids of control codes and bodies, one document behind the other;
``documents.bin``, for each where its ids end and how many of them are its code; ``links.bin`` where documents have
titles; and ``meta.json``, which says what they are and what they were written with.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from preprocessors.documents.codes import ControlCodes
from preprocessors.documents.interface import Document
from preprocessors.documents.links import LINKS, NAMED_LINKS, write_links
from preprocessors.documents.reading import REMEDY, BadDocument, BadRowPolicy, Batch, Position, RowPolicy
from utils.durable import put_in_place, sync_folder, sync_tree
from utils.io import encode_json, hash_file, read_json, write_json

BEGUN = ".begun-"
"""Begins the name of a folder that is being written, or was when its program was killed."""
TOKENS, INDEX, META, PROGRESS = "tokens.bin", "documents.bin", "meta.json", "progress.json"
PARTS = (TOKENS, INDEX, NAMED_LINKS)
FORMAT_VERSION = 1
MOST_SMALL = 1 << 16
"""Entries of the largest vocabulary whose ids take two bytes."""
SAVE_SECONDS = 10.0
"""What a killed start loses at most."""


def dtype_of(entries: int) -> str:
    """How the ids of a vocabulary of so many entries are written: little-endian, two bytes where they fit."""
    return "<u2" if entries <= MOST_SMALL else "<u4"


@dataclass
class Counts:
    """What has been written, and what was left out."""

    documents: int = 0
    tokens: int = 0
    """Ids, those of control codes included."""
    code_tokens: int = 0
    body_bytes: int = 0
    """Bytes of the bodies in UTF-8, for bits per byte; of those that were cut, of the whole."""
    cut: int = 0
    """Documents of which the end was left out."""
    source_bytes: int = 0
    position: Position = ()
    skipped: dict[str, int] = field(default_factory=dict)
    """Documents that could not be used, by reason."""
    first_skipped: list[str] = field(default_factory=list)


class Limits(NamedTuple):
    """How long documents may be, in ids; None has no limit."""

    meta: int | None = None
    """Of a control code: a longer one is a bad document."""
    body: int | None = None
    """Of a body: what is behind it is left out."""


class Writer:
    """Writes encoded documents into a folder that takes its name when it is finished.

    Args:
        folder: Where they go in the end.
        codes: Their control codes, with the tokenizer.
        key: Tells what is written: what a killed start has left is gone on with if it had the same.
        limits: How long they may be.
        on_bad_row: What becomes of those that cannot be used.
        about: Kept in ``meta.json``.
    """

    def __init__(
        self,
        folder: Path,
        codes: ControlCodes,
        *,
        key: str,
        limits: Limits,
        on_bad_row: BadRowPolicy,
        about: dict[str, Any],
    ) -> None:
        self.folder, self.codes, self.key, self.limits = folder, codes, key, limits
        self.dtype, self.about = dtype_of(len(codes.tokenizer)), about
        self._aside = folder.with_name(f"{BEGUN}{folder.name}")
        self._aside.mkdir(parents=True, exist_ok=True)
        self.counts, sizes = self._begun()
        self.policy = RowPolicy(on_bad_row, self.counts.skipped, self.counts.first_skipped)
        self._files = {name: _continue(self._aside / name, sizes[name]) for name in PARTS}
        self._saved = time.monotonic()

    def _begun(self) -> tuple[Counts, dict[str, int]]:
        """What a killed start has left, and the sizes of its files when it was last saved."""
        fresh = Counts(), dict.fromkeys(PARTS, 0)
        path = self._aside / PROGRESS
        if not path.is_file():
            return fresh
        begun = read_json(path)
        there = {part.name: part.stat().st_size for part in self._aside.iterdir()}
        if begun["key"] != self.key or any(there.get(name, 0) < size for name, size in begun["sizes"].items()):
            return fresh
        counts = Counts(**begun["counts"])
        counts.position = tuple(counts.position)
        return counts, begun["sizes"]

    def write(self, batch: Batch, bodies: Sequence[bytes]) -> None:
        """Write what was read next; the ids of the documents' bodies are given, packed.

        Raises:
            BadDocument: If one cannot be used, and such documents are errors.
        """
        for bad in batch.bad:
            self.policy.leave_out(bad)
        width = np.dtype(self.dtype).itemsize
        index, counts = [], self.counts
        for document, body in zip(batch.documents, bodies, strict=True):
            try:
                code = self._code(document)
            except BadDocument as bad:
                self.policy.leave_out(bad)
                continue
            kept = body if self.limits.body is None else body[: self.limits.body * width]
            self._files[TOKENS].write(np.array(code, self.dtype).tobytes() + kept)
            counts.documents += 1
            counts.tokens += len(code) + len(kept) // width
            counts.code_tokens += len(code)
            counts.body_bytes += len(document.body.encode())
            counts.cut += len(kept) < len(body)
            index.append((counts.tokens, len(code)))
            if document.title is not None or document.links:
                self._files[NAMED_LINKS].write(
                    encode_json([counts.documents - 1, document.title, document.links]) + b"\n"
                )
        self._files[INDEX].write(np.array(index, "<u8").tobytes())
        counts.position, counts.source_bytes = batch.position, batch.size
        counts.skipped, counts.first_skipped = dict(self.policy.counts), self.policy.first
        if time.monotonic() - self._saved >= SAVE_SECONDS:
            self.save()

    def _code(self, document: Document) -> list[int]:
        try:
            code = self.codes.ids(document.meta, document.where)
        except ValueError as error:
            raise BadDocument("unknown style", f"{error}") from error
        if self.limits.meta is not None and len(code) > self.limits.meta:
            told = f"its meta takes {len(code)} ids, and documents.max_meta_len={self.limits.meta}"
            raise BadDocument("meta too long", f"{document.where}: {told}. {REMEDY}")
        return code

    def save(self) -> None:
        """Have what is written survive a kill."""
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())
        sizes = {name: file.tell() for name, file in self._files.items()}
        write_json(self._aside / PROGRESS, {"key": self.key, "sizes": sizes, "counts": asdict(self.counts)})
        self._saved = time.monotonic()

    def finish(self) -> None:
        """Seal the folder and give it its name.

        Raises:
            ValueError: If nothing was written.
        """
        self.close()
        if not self.counts.documents:
            first = f" The first: {self.counts.first_skipped[0]}" if self.counts.first_skipped else ""
            raise ValueError(f"{self.about['source']}: not one document can be used.{first}")
        kept = {name: value for name, value in asdict(self.counts).items() if name not in ("position", "source_bytes")}
        meta = {"format_version": FORMAT_VERSION, "key": self.key, "dtype": self.dtype, **kept, **self.about}
        meta["tokenizer"] = self.codes.tokenizer.digest()
        meta["styles"] = None if self.codes.registry is None else self.codes.registry.hash
        meta["links"] = write_links(self._aside, self.counts.documents)
        held = [name for name in (TOKENS, INDEX, LINKS) if (self._aside / name).exists()]
        meta["sha256"] = {name: hash_file(self._aside / name) for name in held}
        write_json(self._aside / META, meta)
        sync_tree(self._aside)
        put_in_place(self._aside, self.folder)
        for name in (PROGRESS, NAMED_LINKS):
            (self.folder / name).unlink(missing_ok=True)
        sync_folder(self.folder)

    def close(self) -> None:
        """Close the files; what is written stays for the next start."""
        for file in self._files.values():
            file.close()


def _continue(path: Path, size: int) -> IO[bytes]:
    """A file to write on with, as it was when it had so many bytes."""
    file = path.open("r+b" if path.exists() else "w+b")
    file.truncate(size)
    file.seek(size)
    return file
