"""Opens a folder's tokenizer from the two published files alone, once they fit each other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import pre_tokenizers

from models.bounds import TOKENIZER
from models.ofa.tokenization_ofa import OFATokenizer
from utils.small_json import check_against, read_small_json

VOCABULARY_FILES = ("vocab.json", "merges.txt")
VOCABULARY_BYTES = 16_000_000
"""Most bytes of either file. Published: 1.0 MB and 0.5 MB, for 50,265 entries."""
WHOLE = re.compile(r"<.*>|madeupword\d+")
"""Entries that no merge makes: special tokens, and three fillers of the published vocabulary."""
REMEDY = "Copy vocab.json and merges.txt again from where the model came from."


def open_tokenizer(folder: Path, **appended: Any) -> OFATokenizer:
    """The tokenizer of a folder.

    Of all files that may lie there only ``vocab.json``, ``merges.txt`` and our entries of ``tokenizer_config.json`` are
    read: a library's ``tokenizer.json`` may be older than them.

    Args:
        folder: With both files.
        **appended: What stands behind the BPE, in place of what ``tokenizer_config.json`` says.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is damaged, cut short, or does not belong to the other.
    """
    vocabulary = _read_vocabulary(folder / VOCABULARY_FILES[0])
    merges = _read_merges(folder / VOCABULARY_FILES[1])
    _check_merges(folder / VOCABULARY_FILES[1], vocabulary, merges)
    description = folder / "tokenizer_config.json"
    known = check_against(TOKENIZER, read_small_json(description), description) if description.is_file() else {}
    return OFATokenizer(vocabulary, merges, **known | appended)


def _read_vocabulary(path: Path) -> dict[str, int]:
    content = read_small_json(path, VOCABULARY_BYTES)
    ids = content.values()
    if not all(type(number) is int for number in ids) or sorted(ids) != list(range(len(content))):
        raise ValueError(f"{path}: must number its {len(content):,} entries from 0, each once. {REMEDY}")
    if missing := set(pre_tokenizers.ByteLevel.alphabet()) - content.keys():
        raise ValueError(f"{path}: {len(missing)} of the 256 bytes that all texts are made of are missing. {REMEDY}")
    if absent := [token for token in ("<s>", "<pad>", "</s>", "<unk>") if token not in content]:
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
