"""Byte-level BPE, of a folder of transformers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Digits
from tokenizers.pre_tokenizers import Sequence as Steps
from tokenizers.processors import RobertaProcessing
from transformers.convert_slow_tokenizer import bytes_to_unicode

from models.hf.folder import read_style_tokens
from models.hf.tokenizer import REMEDY, TOKENIZER_BYTES, TOKENIZER_FILE, FamilyTokenizer, SpecialIds, check_numbered
from models.weights import opening
from preprocessors.text.bpe_files import WHOLE
from utils.small_json import read_small_json


class PairContent(NamedTuple):
    """Of a ``tokenizer.json`` of pairs.

    Attributes:
        vocabulary: Entries by text.
        merges: Pairs that are merged.
        added: Special entries behind all others, by id.
        whole: Entries of the vocabulary that no merge makes.
    """

    vocabulary: dict[str, int]
    merges: list[tuple[str, str]]
    added: dict[int, str]
    whole: list[str]

    @property
    def known(self) -> dict[str, int]:
        """All entries by text."""
        return self.vocabulary | {token: number for number, token in self.added.items()}


class SpecialTokens(NamedTuple):
    """What a family calls them; several can be one, and a language model has none for what is masked."""

    bos: str
    eos: str
    pad: str
    mask: str | None


def open_byte_pairs(
    folder: Path,
    names: SpecialTokens,
    ids: Mapping[str, int],
    *,
    entries: int,
    digits_alone: bool = False,
    framed: bool = False,
    caption_start: str = "",
) -> FamilyTokenizer:
    """The tokenizer of a folder, from ``tokenizer.json``, with our style tokens behind it.

    Args:
        folder: Of the model.
        names: Of special tokens.
        ids: Those that the configuration says, by name.
        entries: V of the model.
        digits_alone: Whether each digit is a token.
        framed: Whether others who open a folder of ours put BOS and EOS around a text.
        caption_start: What the model writes before every caption.

    Raises:
        FileNotFoundError: If the file is not there.
        ValueError: If it is damaged, or does not fit the configuration.
    """
    content, style_tokens = read_pairs(folder), read_style_tokens(folder)
    known = check_special(folder, content, [name for name in names if name is not None], ids)
    with opening(folder, f"tokenizer ({TOKENIZER_FILE})"):
        tokenizer = Tokenizer(BPE(content.vocabulary, content.merges))
        cut = ByteLevel(add_prefix_space=False)
        tokenizer.pre_tokenizer = Steps([Digits(individual_digits=True), cut]) if digits_alone else cut
        tokenizer.decoder = ByteLevelDecoder()
        if framed:
            eos, bos = ((name, known[name]) for name in (names.eos, names.bos))
            tokenizer.post_processor = RobertaProcessing(eos, bos)
        special = [token for token in content.vocabulary if WHOLE.fullmatch(token)]
        tokenizer.add_special_tokens(special)
        texts = _texts_of(content.vocabulary, {*special})
    named = [token for _, token in sorted(content.added.items()) if token not in style_tokens]
    mask = None if names.mask is None else known[names.mask]
    special_ids = SpecialIds(known[names.bos], known[names.eos], known[names.pad], mask)
    try:
        return FamilyTokenizer(
            tokenizer, special_ids, entries, style_tokens, texts, added=named, caption_start=caption_start
        )
    except ValueError as error:
        raise ValueError(
            f"{folder}: {error}; {TOKENIZER_FILE} or config.json does not belong to these weights"
        ) from error


def check_special(folder: Path, content: PairContent, names: Sequence[str], ids: Mapping[str, int]) -> dict[str, int]:
    """All entries by text, if special ones are among them with the ids that the configuration says.

    Raises:
        ValueError: Naming the first that is not.
    """
    known = content.known
    for token in names:
        if token not in known or known[token] != ids.get(token, known[token]):
            raise ValueError(
                f"{folder / TOKENIZER_FILE}: {token} is missing or has another id than config.json says. {REMEDY}"
            )
    return known


def _texts_of(vocabulary: dict[str, int], special: set[str]) -> list[bytes]:
    byte_of = {character: byte for byte, character in bytes_to_unicode().items()}
    ordered = sorted(vocabulary, key=vocabulary.__getitem__)
    return [b"" if token in special else bytes(byte_of[character] for character in token) for token in ordered]


def read_pairs(folder: Path) -> PairContent:
    """What the tokenizer's file of a folder says.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is damaged, or of another kind.
    """
    path = folder / TOKENIZER_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{folder}: has no tokenizer ({TOKENIZER_FILE}). {REMEDY}")
    content = read_small_json(path, TOKENIZER_BYTES)
    model: Any = content.get("model")
    if not isinstance(model, dict) or model.get("type", "BPE") != "BPE" or not isinstance(model.get("merges"), list):
        raise ValueError(f"{path}: is no BPE, which this kind of model has. {REMEDY}")
    vocabulary = check_numbered(model.get("vocab"), path)
    merges = [tuple(pair.split(" ")) if isinstance(pair, str) else pair for pair in model["merges"]]
    if not all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in merges):
        raise ValueError(f"{path}: its merges are no pairs. {REMEDY}")
    listed = content.get("added_tokens") or []
    added = _read_added(path, listed, vocabulary)
    whole = [item["content"] for item in listed if item["content"] in vocabulary]
    return PairContent(vocabulary, [(first, second) for first, second in merges], added, whole)


def _read_added(path: Path, listed: Any, vocabulary: dict[str, int]) -> dict[int, str]:
    """Special entries behind the vocabulary by id, without a gap."""
    if not isinstance(listed, list) or not all(_is_entry(item) for item in listed):
        raise ValueError(f"{path}: its added_tokens are no list of entries with id and content. {REMEDY}")
    named: dict[int, str] = {item["id"]: item["content"] for item in listed if item["content"] not in vocabulary}
    numbered = sorted(named) == [*range(len(vocabulary), len(vocabulary) + len(named))]
    if not numbered or len({*named.values()}) < len(named):
        raise ValueError(
            f"{path}: its added_tokens must be numbered on from the {len(vocabulary):,} others, each once. {REMEDY}"
        )
    return named


def _is_entry(item: Any) -> bool:
    if not isinstance(item, dict):
        return False
    return type(item.get("id")) is int and isinstance(item.get("content"), str) and item["content"] != ""
