"""Gemma's tokenizer, of a folder of transformers: BPE of characters, a mark for spaces, bytes for the rest."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from tokenizers import AddedToken, Tokenizer
from tokenizers.decoders import ByteFallback, Fuse, Replace
from tokenizers.decoders import Sequence as Steps
from tokenizers.models import BPE
from tokenizers.normalizers import Replace as ReplaceText
from tokenizers.pre_tokenizers import Split

from models.hf.byte_pairs import PairContent, check_special, read_pairs
from models.hf.folder import read_style_tokens
from models.hf.tokenizer import REMEDY, TOKENIZER_FILE, FamilyTokenizer, SpecialIds
from models.weights import opening

SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
"""Stands for a space in entries."""
BYTES = {f"<0x{byte:02X}>": byte for byte in range(256)}
UNKNOWN = "<unk>"
_NAMED = re.compile(r"<.*>|\[.*\]")
"""Entries that stand for no text, if no merge makes them."""


def open_spaced_pairs(folder: Path, ids: Mapping[str, int], *, entries: int) -> FamilyTokenizer:
    """The tokenizer of a folder, from ``tokenizer.json``, with our style tokens behind it.

    Args:
        folder: Of the model.
        ids: BOS, EOS and padding by the configuration, in this order, by name.
        entries: V of the model.

    Raises:
        FileNotFoundError: If the file is not there.
        ValueError: If it is damaged, or does not fit the configuration.
    """
    content, style_tokens = read_pairs(folder), read_style_tokens(folder)
    known = check_special(folder, content, [*ids, UNKNOWN], ids)
    if absent := [token for token in (*BYTES, "\n") if token not in content.vocabulary]:
        raise ValueError(f"{folder / TOKENIZER_FILE}: {absent[0]!r} is missing. {REMEDY}")
    special = [token for token in content.whole if _NAMED.fullmatch(token) and token not in BYTES]
    with opening(folder, f"tokenizer ({TOKENIZER_FILE})"):
        tokenizer = _make(content, special)
    named = [token for _, token in sorted(content.added.items()) if token not in style_tokens]
    texts = _texts_of(content.vocabulary, {*special, *ids, UNKNOWN})
    bos, eos, pad = (known[token] for token in ids)
    special_ids = SpecialIds(bos, eos, pad, None)
    try:
        return FamilyTokenizer(tokenizer, special_ids, entries, style_tokens, texts, added=named)
    except ValueError as error:
        raise ValueError(
            f"{folder}: {error}; {TOKENIZER_FILE} or config.json does not belong to these weights"
        ) from error


def _make(content: PairContent, special: list[str]) -> Tokenizer:
    pairs = BPE(content.vocabulary, content.merges, unk_token=UNKNOWN, fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer(pairs)
    tokenizer.normalizer = ReplaceText(" ", SPACE)
    tokenizer.pre_tokenizer = Split(" ", "merged_with_previous")
    tokenizer.decoder = Steps([Replace(SPACE, " "), ByteFallback(), Fuse()])
    tokenizer.add_special_tokens(special)
    others = {*content.whole} - {*special} - BYTES.keys()  # ends of line in a row, and spaces
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in sorted(others)])
    return tokenizer


def _texts_of(vocabulary: dict[str, int], special: set[str]) -> list[bytes]:
    ordered = sorted(vocabulary, key=vocabulary.__getitem__)
    return [
        b"" if token in special else bytes([BYTES[token]]) if token in BYTES else token.replace(SPACE, " ").encode()
        for token in ordered
    ]
