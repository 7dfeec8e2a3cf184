"""The files of OFA's vocabulary, ``vocab.json`` and ``merges.txt``, and what stands behind it: read and checked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, with_config
from tokenizers import pre_tokenizers
from typing_extensions import TypedDict

from utils.small_json import check_against, read_small_json

VOCABULARY_FILES = ("vocab.json", "merges.txt")
VOCABULARY_BYTES = 16_000_000
"""Most bytes of either file. Published: 1.0 MB and 0.5 MB, for 50,265 entries."""
DESCRIPTION_FILE = "tokenizer_config.json"
CODE_TOKENS = 8192
"""``<code_k>`` entries behind the BPE of every published checkpoint (Wang et al. 2022, arXiv:2202.03052)."""
BIN_TOKENS = 1000
"""``<bin_k>`` entries behind the codes."""
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
WHOLE = re.compile(r"<.*>|madeupword\d+")
"""Entries that no merge makes: special tokens, and three fillers of the published vocabulary."""
REMEDY = "Copy vocab.json and merges.txt again from where the model came from."

Appended = Annotated[int, Field(ge=0, le=65_536)]
"""Codes or bins behind a vocabulary. Published: 8,192 and 1,000. Each is an entry of its own, 5 microseconds and 500
bytes."""
StyleToken = Annotated[str, Field(min_length=1, max_length=1000)]


@with_config(ConfigDict(strict=True, extra="ignore"))
class TokenizerFields(TypedDict, total=False):
    """``tokenizer_config.json``: what stands behind the BPE."""

    num_codes: Appended
    num_bins: Appended
    style_tokens: Annotated[list[StyleToken], Field(max_length=20_000)]


TOKENIZER: TypeAdapter[Any] = TypeAdapter(TokenizerFields)


def read_bpe(folder: Path, special: Sequence[str] = SPECIAL) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Id by entry, and the merges, of a folder.

    Args:
        folder: With both files.
        special: Entries that the vocabulary must have.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is damaged, cut short, or does not belong to the other.
    """
    vocabulary = _read_vocabulary(folder / VOCABULARY_FILES[0], special)
    merges = _read_merges(folder / VOCABULARY_FILES[1])
    _check_merges(folder / VOCABULARY_FILES[1], vocabulary, merges)
    return vocabulary, merges


def read_appended(folder: Path) -> dict[str, Any]:
    """What a folder's ``tokenizer_config.json`` says of :class:`TokenizerFields`; nothing where there is none.

    Raises:
        ValueError: If an entry has another type or is out of bounds, by name.
    """
    path = folder / DESCRIPTION_FILE
    return check_against(TOKENIZER, read_small_json(path), path) if path.is_file() else {}


def _read_vocabulary(path: Path, special: Sequence[str]) -> dict[str, int]:
    content = read_small_json(path, VOCABULARY_BYTES)
    ids = content.values()
    if not all(type(number) is int for number in ids) or sorted(ids) != list(range(len(content))):
        raise ValueError(f"{path}: must number its {len(content):,} entries from 0, each once. {REMEDY}")
    if missing := set(pre_tokenizers.ByteLevel.alphabet()) - content.keys():
        raise ValueError(f"{path}: {len(missing)} of the 256 bytes that all texts are made of are missing. {REMEDY}")
    if absent := [token for token in special if token not in content]:
        raise ValueError(f"{path}: {absent[0]} is missing. {REMEDY}")
    return content


def _read_merges(path: Path) -> list[tuple[str, str]]:
    if path.stat().st_size > VOCABULARY_BYTES:
        raise ValueError(f"{path}: has {path.stat().st_size:,} bytes, and at most {VOCABULARY_BYTES:,} are read")
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not UTF-8 at byte {error.start + 1:,}. {REMEDY}") from error
    merges = []
    for number, line in enumerate(lines, start=1):
        if line and not line.startswith("#version"):
            first, space, second = line.partition(" ")
            if not (first and space and second) or " " in second:
                raise ValueError(f"{path}, line {number}: must be two pieces with a space between. {REMEDY}")
            merges.append((first, second))
    return merges


def _check_merges(path: Path, vocabulary: dict[str, int], merges: Sequence[tuple[str, str]]) -> None:
    for number, (first, second) in enumerate(merges, start=1):
        for piece in (first, second, first + second):
            if piece not in vocabulary:
                raise ValueError(f"{path}, merge {number:,}: {piece!r} is not in vocab.json. {REMEDY}")
    made = {first + second for first, second in merges} | set(pre_tokenizers.ByteLevel.alphabet())
    left = [token for token in vocabulary if token not in made and not WHOLE.fullmatch(token)]
    if left:
        raise ValueError(
            f"{path}: is cut short or of another model: nothing in it makes {left[0]!r} ({len(left):,} entries of "
            f"vocab.json). {REMEDY}"
        )
