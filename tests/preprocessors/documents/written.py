"""Encoded documents made by hand: every character is an id."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from preprocessors.documents.codes import ControlCodes
from preprocessors.documents.interface import Document
from preprocessors.documents.reading import Batch
from preprocessors.documents.token_bins import TokenBins
from preprocessors.documents.writing import Limits, Writer

BOS, EOS = 1, 2


class Characters:
    """A tokenizer whose ids are those of Unicode; 1 begins a document and 2 ends it."""

    bos_id, eos_id = BOS, EOS

    def __len__(self) -> int:
        return 256

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [[*map(ord, text)] for text in texts]

    def encode_code(self, code: str) -> list[int]:
        return self.encode_batch([code])[0]

    def decode(self, token_ids: Sequence[int]) -> str:
        return "".join(chr(number) for number in token_ids if number not in (BOS, EOS))

    def digest(self) -> str:
        return "characters"

    def save_to_dir(self, folder: Path) -> None:
        raise NotImplementedError


def write_documents(folder: Path, *documents: Document) -> TokenBins:
    """Encode documents and open them."""
    tokenizer = Characters()
    codes = ControlCodes(tokenizer, None)
    writer = Writer(folder, codes, key="k", limits=Limits(), on_bad_row="error", about={"source": "here"})
    bodies = [np.array(ids, "<u2").tobytes() for ids in tokenizer.encode_batch([each.body for each in documents])]
    writer.write(Batch([*documents], [], (1,), 1), bodies)
    writer.finish()
    return TokenBins.open(folder, tokenizer, None)
