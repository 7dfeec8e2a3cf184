"""What a document is, and what is asked of the tokenizer of a text model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol


class Document(NamedTuple):
    """A text, and what is told about it."""

    body: str
    """The text; never blank."""
    meta: tuple[str, ...] = ()
    """What stands before it as its control code: a style, or words of any kind."""
    links: tuple[str, ...] = ()
    """Titles of the documents that it links to, in their order."""
    title: str | None = None
    """What others link to it by."""
    where: str = ""
    """File and line that it comes from, for messages."""


class TextTokenizer(Protocol):
    """Text to ids and back; the ids of a text do not depend on what stands beside it in a batch."""

    bos_id: int
    """First id of every document."""
    eos_id: int
    """Last id of every document; may be the same as ``bos_id``."""

    def __len__(self) -> int:
        """Number of entries; every id is below it."""

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of texts, of which nothing is taken for a special token: a person's "<s>" is three characters."""

    def encode_code(self, code: str) -> list[int]:
        """Ids of a control code, in which entries of their own, such as ``<style_3>``, are one id each."""

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of ids; special tokens and entries of their own are left out."""

    def digest(self) -> str:
        """SHA-256 (hex) of everything that decides which ids a text becomes."""

    def save_to_dir(self, folder: Path) -> None:
        """Write it into a model folder, from which it is opened again."""
