"""Byte-level BPE, of a folder of transformers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from transformers.convert_slow_tokenizer import bytes_to_unicode

from models.hf.tokenizer import REMEDY, TOKENIZER_BYTES, TOKENIZER_FILE, FamilyTokenizer, SpecialIds, check_numbered
from models.weights import opening
from preprocessors.text.bpe_files import WHOLE
from utils.small_json import read_small_json


class _Content(NamedTuple):
    """Of ``tokenizer.json``: entries by text, pairs that are merged, and special entries behind all others by id."""

    vocabulary: dict[str, int]
    merges: list[tuple[str, str]]
    added: dict[int, str]


def open_byte_pairs(folder: Path, ids: Mapping[str, int], *, entries: int, style_tokens: list[str]) -> FamilyTokenizer:
    """The tokenizer of a folder, from ``tokenizer.json``.

    Args:
        folder: Of the model.
        ids: ``<s>``, ``</s>`` and ``<pad>``, by the configuration.
        entries: V of the model.
        style_tokens: The last of them.

    Raises:
        FileNotFoundError: If the file is not there.
        ValueError: If it is damaged, or does not fit the configuration.
    """
    path = folder / TOKENIZER_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{folder}: has no tokenizer ({TOKENIZER_FILE}). {REMEDY}")
    content = _read(path)
    for token, number in ({"<mask>": content.vocabulary.get("<mask>", -1)} | {**ids}).items():
        if number < 0 or content.vocabulary.get(token) != number:
            raise ValueError(f"{path}: {token} is missing or has another id than config.json says. {REMEDY}")
    with opening(folder, f"tokenizer ({TOKENIZER_FILE})"):
        tokenizer = Tokenizer(BPE(content.vocabulary, content.merges))
        tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
        tokenizer.decoder = ByteLevelDecoder()
        special = [token for token in content.vocabulary if WHOLE.fullmatch(token)]
        tokenizer.add_special_tokens(special)
        texts = _texts_of(content.vocabulary, {*special})
    named = [token for _, token in sorted(content.added.items()) if token not in style_tokens]
    special_ids = SpecialIds(ids["<s>"], ids["</s>"], ids["<pad>"], content.vocabulary["<mask>"])
    try:
        return FamilyTokenizer(tokenizer, special_ids, entries, style_tokens, texts, added=named)
    except ValueError as error:
        raise ValueError(f"{folder}: {error}; {path.name} or config.json does not belong to these weights") from error


def _texts_of(vocabulary: dict[str, int], special: set[str]) -> list[bytes]:
    byte_of = {character: byte for byte, character in bytes_to_unicode().items()}
    ordered = sorted(vocabulary, key=vocabulary.__getitem__)
    return [b"" if token in special else bytes(byte_of[character] for character in token) for token in ordered]


def _read(path: Path) -> _Content:
    content = read_small_json(path, TOKENIZER_BYTES)
    model: Any = content.get("model")
    if not isinstance(model, dict) or model.get("type", "BPE") != "BPE" or not isinstance(model.get("merges"), list):
        raise ValueError(f"{path}: is no byte-level BPE, which this kind of model has. {REMEDY}")
    vocabulary = check_numbered(model.get("vocab"), path)
    merges = [tuple(pair.split(" ")) if isinstance(pair, str) else pair for pair in model["merges"]]
    if not all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in merges):
        raise ValueError(f"{path}: its merges are no pairs. {REMEDY}")
    return _Content(vocabulary, [(first, second) for first, second in merges], _read_added(path, content, vocabulary))


def _read_added(path: Path, content: dict[str, Any], vocabulary: dict[str, int]) -> dict[int, str]:
    """Special entries behind the vocabulary by id, without a gap."""
    listed = content.get("added_tokens") or []
    if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
        raise ValueError(f"{path}: its added_tokens are no list of entries. {REMEDY}")
    named = {item.get("id"): item.get("content") for item in listed if item.get("content") not in vocabulary}
    wanted = [*range(len(vocabulary), len(vocabulary) + len(named))]
    if not all(isinstance(text, str) and text for text in named.values()) or [*sorted(named, key=str)] != sorted(
        wanted, key=str
    ):
        raise ValueError(f"{path}: its added_tokens must be numbered on from the {len(vocabulary):,} others. {REMEDY}")
    return {number: str(named[number]) for number in wanted}
