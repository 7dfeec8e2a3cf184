"""Opens encoded documents: mapped into memory, so that any number of them takes none."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter
from typing_extensions import TypedDict

from preprocessors.documents.interface import TextTokenizer
from preprocessors.documents.links import LINKS, LinkGraph, read_links
from preprocessors.documents.writing import FORMAT_VERSION, INDEX, META, TOKENS, dtype_of
from preprocessors.text.styles import StyleRegistry
from utils.durable import replaced_folder
from utils.io import hash_file
from utils.saved import Saved
from utils.small_json import check_against, read_small_json

REMEDY = "Remove the folder, and encode again."


class Fields(TypedDict):
    """What ``meta.json`` must have; there is more."""

    format_version: int
    dtype: Literal["<u2", "<u4"]
    documents: Annotated[int, Field(ge=1)]
    tokens: Annotated[int, Field(ge=1)]
    code_tokens: int
    body_bytes: int
    cut: int
    skipped: dict[str, int]
    first_skipped: list[str]
    source: str
    tokenizer: str
    styles: str | None
    links: dict[str, Any] | None
    sha256: dict[str, str]


FIELDS: TypeAdapter[Any] = TypeAdapter(Fields)


class Encoded(NamedTuple):
    """The ids of a document, without BOS and EOS; read-only."""

    code: NDArray[Any]
    """Of its control code; empty where it has none."""
    body: NDArray[Any]


class TokenBins:
    """Encoded documents by number.

    Attributes:
        about: What ``meta.json`` says of them, such as ``body_bytes`` and ``skipped``.
        ends: Where the ids of each document end, uint64 (D,).
        code_lengths: Ids of each control code, uint64 (D,).
        links: The documents that each links to; None where none has a title.
    """

    def __init__(self, folder: Path, about: dict[str, Any]) -> None:
        self.folder, self.about = folder, about
        self._tokens = np.memmap(folder / TOKENS, about["dtype"], "r")
        index = np.fromfile(folder / INDEX, "<u8").reshape(-1, 2)
        self.ends, self.code_lengths = np.ascontiguousarray(index[:, 0]), np.ascontiguousarray(index[:, 1])
        self.links: LinkGraph | None = read_links(folder, len(index))

    @classmethod
    def open(cls, folder: Path, tokenizer: TextTokenizer, registry: StyleRegistry | None) -> Self:
        """Open a folder of encoded documents for a model.

        Args:
            folder: As ``finetune.py encode`` leaves it, of one split.
            tokenizer: Of the model that is to read them.
            registry: Its styles; None where any words are a control code.

        Raises:
            FileNotFoundError: If the folder is missing or was never finished.
            ValueError: If it is damaged, or was written with another tokenizer or other styles.
        """
        bins = cls.load_from_dir(folder)
        about = bins.about
        if about["dtype"] == "<u2" and dtype_of(len(tokenizer)) != "<u2":
            raise ValueError(f"{folder}: has ids of two bytes, and the model's go up to {len(tokenizer):,}. {REMEDY}")
        if about["tokenizer"] != tokenizer.digest():
            raise ValueError(
                f"{folder}: was encoded with another tokenizer than the model's, so the ids would be of other words. "
                "Name the model's folder in documents.tokenizer, and encode again."
            )
        if about["styles"] != (None if registry is None else registry.hash):
            raise ValueError(f"{folder}: was encoded with other styles than the model's. {REMEDY}")
        return bins

    @classmethod
    def load_from_dir(cls, folder: Path) -> Self:
        """Open a folder of encoded documents, whoever is to read them, once its hashes were compared.

        Raises:
            FileNotFoundError: If the folder is missing or was never finished.
            ValueError: If it is damaged.
        """
        if not (folder / META).is_file():
            raise FileNotFoundError(f"{folder}: holds no encoded documents; run finetune.py encode with the same file")
        about = _read_about(folder / META)
        _check_files(folder, about)
        return cls(folder, about)

    def save_to_dir(self, folder: Path) -> None:
        """Write a copy, which :meth:`open` opens for the same models; in place of an older one."""
        with replaced_folder(folder) as aside:
            for name in (META, *self.about["sha256"]):
                shutil.copyfile(self.folder / name, aside / name)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, number: int) -> Encoded:
        start = int(self.ends[number - 1]) if number else 0
        ids, code = self._tokens[start : int(self.ends[number])], int(self.code_lengths[number])
        return Encoded(ids[:code], ids[code:])

    def body_lengths(self) -> NDArray[np.int64]:
        """Ids of each body, int64 (D,)."""
        ends = self.ends.astype(np.int64)
        lengths: NDArray[np.int64] = ends - np.concatenate([[0], ends[:-1]]) - self.code_lengths.astype(np.int64)
        return lengths


if TYPE_CHECKING:
    _: type[Saved] = TokenBins


def _read_about(path: Path) -> dict[str, Any]:
    about = read_small_json(path)
    if about.get("format_version") != FORMAT_VERSION:
        raise ValueError(
            f"{path}: is not of format_version {FORMAT_VERSION}, but {about.get('format_version')}. {REMEDY}"
        )
    return about | check_against(FIELDS, about, path)


def _check_files(folder: Path, about: dict[str, Any]) -> None:
    """Sizes first: what was cut short is told without reading it."""
    sizes = {TOKENS: about["tokens"] * np.dtype(about["dtype"]).itemsize, INDEX: about["documents"] * 16}
    if about["links"] is not None:
        sizes[LINKS] = about["documents"] * 8 + int(about["links"].get("links", 0)) * 4
    for name, size in sizes.items():
        path = folder / name
        found = path.stat().st_size if path.is_file() else 0
        if found != size:
            raise ValueError(f"{path}: has {found:,} bytes and was written with {size:,}: it was cut short. {REMEDY}")
    for name in sizes:
        if hash_file(folder / name) != about["sha256"].get(name):
            raise ValueError(f"{folder / name}: has other content than was written. {REMEDY}")
