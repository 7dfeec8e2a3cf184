"""Opens a folder's tokenizer from the two published files alone, once they fit each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from models.ofa.tokenization_ofa import OFATokenizer
from preprocessors.text.bpe_files import read_appended, read_bpe


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
    vocabulary, merges = read_bpe(folder)
    return OFATokenizer(vocabulary, merges, **read_appended(folder) | appended)
