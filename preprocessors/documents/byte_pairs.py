"""Byte-level BPE tokenizers of text models, wherever they come from, behind :class:`TextTokenizer`."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import orjson
from tokenizers import Tokenizer, pre_tokenizers

from preprocessors.text.bpe_files import DESCRIPTION_FILE
from utils.errors import first_line
from utils.io import encode_json, write_json
from utils.saved import Saved
from utils.small_json import read_small_json

TOKENIZER_FILE = "tokenizer.json"
TOKENIZER_BYTES = 64_000_000
"""Most of a ``tokenizer.json``. Published: 1.4 MB of GPT-2, up to 33 MB of vocabularies with 256,000 entries."""
ENDS = (("<s>", "</s>"), ("<|endoftext|>", "<|endoftext|>"))
"""Pairs of BOS and EOS that folders have which do not name theirs."""
BYTES = frozenset(pre_tokenizers.ByteLevel.alphabet())
"""Entries for the 256 bytes, of which every text can be made."""
ASCII_BYTES = {**{byte: chr(0x100 + byte) for byte in range(33)}, 127: chr(0x121)}
"""How GPT-2 writes the bytes of ASCII that cannot be seen."""
AN_ENTRY = re.compile(r"(<[^<>]+>)")
"""What an entry for a style looks like within a control code."""


class BytePairTokenizer:
    """A byte-level BPE with BOS, EOS and maybe entries behind it, such as ``<style_3>``.

    Args:
        description: As ``tokenizer.json`` has it; what it says of surroundings of a text, cutting and padding is left
            out.
        bos: Entry that begins a document.
        eos: Entry that ends one; may be the same.

    Raises:
        ValueError: If it is no byte-level BPE, or lacks BOS or EOS.
    """

    def __init__(self, description: Mapping[str, Any], *, bos: str, eos: str) -> None:
        model = description.get("model")
        if not isinstance(model, dict) or model.get("type") != "BPE" or not isinstance(model.get("vocab"), dict):
            raise ValueError("the tokenizer is no BPE; a text model needs one that can write every text")
        if absent := BYTES - model["vocab"].keys():
            raise ValueError(f"the tokenizer has no entry for {len(absent)} of the 256 bytes that texts are made of")
        self._added: list[dict[str, Any]] = [*description.get("added_tokens", [])]
        # Without its added entries it finds none of them in a text: a person's "<s>" is three characters.
        plain = {**description, "added_tokens": [], "post_processor": None, "truncation": None, "padding": None}
        try:
            self._plain = Tokenizer.from_buffer(encode_json(plain))
            self._ids: dict[str, int] = {token["content"]: token["id"] for token in self._added}
        except Exception as error:  # the library raises nothing more precise
            raise ValueError(f"the tokenizer cannot be opened ({first_line(error)[:300]})") from error
        if missing := [token for token in (bos, eos) if not self.has(token)]:
            raise ValueError(f"the tokenizer has no entry {missing[0]!r}, which begins or ends a document")
        self.bos, self.eos = bos, eos
        self.bos_id, self.eos_id = self._id_of(bos), self._id_of(eos)
        self._hidden = {self.bos_id, self.eos_id, *self._ids.values()}
        self._size: int = 1 + max(max(model["vocab"].values()), *self._hidden)
        rules = {name: plain.get(name) for name in ("normalizer", "pre_tokenizer")}
        self.splits_as_gpt2 = _splits_as_gpt2(rules) and not model.get("dropout")
        parts = {"vocab": model["vocab"], "merges": _as_pairs(model["merges"]), **rules, "bos": bos, "eos": eos}
        parts["added"] = sorted(self._ids.items(), key=lambda entry: entry[1])
        self._digest = hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest()

    def __len__(self) -> int:
        return self._size

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of texts, in all cores; see :meth:`TextTokenizer.encode_batch`.

        Raises:
            ValueError: If a text has lone surrogates, as Python reads bytes of a command line that are not UTF-8.
        """
        try:
            return [encoding.ids for encoding in self._plain.encode_batch_fast([*texts], add_special_tokens=False)]
        except TypeError as error:
            raise ValueError("a text holds what is not UTF-8; write it in UTF-8") from error

    def encode_piece(self, piece: str) -> list[int]:
        """Ids of a text; where the tokenizer splits as GPT-2, of one whose part in ASCII that pattern leaves whole."""
        if not piece.isascii():
            return self.encode_batch([piece])[0]
        return [token.id for token in self._plain.model.tokenize(piece.translate(ASCII_BYTES))]

    def encode_code(self, code: str) -> list[int]:
        """Ids of a control code; see :meth:`TextTokenizer.encode_code`."""
        ids: list[int] = []
        for part in AN_ENTRY.split(code):
            ids += [self._ids[part]] if part in self._ids else self.encode_batch([part])[0]
        return ids

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of ids; see :meth:`TextTokenizer.decode`."""
        kept = [int(number) for number in token_ids if int(number) not in self._hidden]
        return str(self._plain.decode(kept, skip_special_tokens=False))

    def digest(self) -> str:
        """SHA-256 (hex) of vocabulary, merges, rules and special tokens."""
        return self._digest

    def extended(self, entries: Sequence[str]) -> BytePairTokenizer:
        """A tokenizer with further entries of their own behind all others; those that it has keep their ids."""
        fresh = [entry for entry in dict.fromkeys(entries) if not self.has(entry)]
        added = [_added_token(entry, len(self) + number) for number, entry in enumerate(fresh)]
        return BytePairTokenizer(self._described(added), bos=self.bos, eos=self.eos)

    def has(self, entry: str) -> bool:
        """Whether there is such an entry."""
        return entry in self._ids or self._plain.token_to_id(entry) is not None

    @classmethod
    def load_from_dir(cls, folder: Path) -> Self:
        """The tokenizer in ``tokenizer.json``.

        Other folders are opened by :func:`preprocessors.documents.folders.open_text_tokenizer`.

        Raises:
            FileNotFoundError: If there is none.
            ValueError: If it is damaged, or of a tokenizer that is no byte-level BPE.
        """
        path = folder / TOKENIZER_FILE
        description = read_small_json(path, TOKENIZER_BYTES)
        try:
            model = description.get("model")
            held = model.get("vocab") if isinstance(model, dict) else None
            added = [token["content"] for token in description.get("added_tokens") or []]
            bos, eos = ends_of(folder, {*(held if isinstance(held, dict) else ()), *added})
            return cls(description, bos=bos, eos=eos)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}: is damaged ({first_line(error)}); copy it again") from error
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def save_to_dir(self, folder: Path) -> None:
        """Write ``tokenizer.json`` and its description, which transformers opens too."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        write_json(folder / TOKENIZER_FILE, self._described([]), indent=False)
        special = {"bos_token": self.bos, "eos_token": self.eos, "pad_token": self.eos}
        write_json(folder / DESCRIPTION_FILE, {"tokenizer_class": "PreTrainedTokenizerFast", **special})

    def _described(self, more: Sequence[dict[str, Any]]) -> dict[str, Any]:
        return {**json.loads(self._plain.to_str()), "added_tokens": [*self._added, *more]}

    def _id_of(self, entry: str) -> int:
        number = self._plain.token_to_id(entry)
        return self._ids[entry] if number is None else int(number)


if TYPE_CHECKING:
    _: type[Saved] = BytePairTokenizer


def ends_of(folder: Path, vocabulary: Collection[str]) -> tuple[str, str]:
    """BOS and EOS as a folder names them, or as others have them; an EOS alone is both.

    Raises:
        ValueError: If nothing tells them.
    """
    described = described_in(folder, DESCRIPTION_FILE)
    eos = _content(described.get("eos_token"))
    if eos is not None:
        bos = _content(described.get("bos_token"))
        return (eos if bos is None else bos), eos
    for bos, eos in ENDS:
        if bos in vocabulary and eos in vocabulary:
            return bos, eos
    raise ValueError(f"{folder}: nothing says which entry ends a document; name eos_token in {DESCRIPTION_FILE}")


def described_in(folder: Path, name: str) -> dict[str, Any]:
    """What a JSON file of a folder says; nothing where it is not there."""
    return read_small_json(folder / name) if (folder / name).is_file() else {}


def _content(token: Any) -> str | None:
    """An entry as older and newer folders write it."""
    value = token.get("content") if isinstance(token, dict) else token
    return value if isinstance(value, str) else None


def _splits_as_gpt2(rules: Mapping[str, Any]) -> bool:
    """Whether texts are cut into pieces by GPT-2's pattern, and each is encoded for itself."""
    wanted = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
    rule = {"use_regex": True} | (rules["pre_tokenizer"] or {})
    return rules["normalizer"] is None and {name: rule.get(name) for name in wanted} == wanted


def _as_pairs(merges: Sequence[Any]) -> Sequence[Any]:
    """Older files write a pair as one text with a space between."""
    is_text = bool(merges) and isinstance(merges[0], str)
    return [pair.split(" ") for pair in merges] if is_text else merges


def _added_token(content: str, number: int, *, special: bool = False) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": number, "content": content, **flags, "special": special}


def from_merges(
    vocabulary: Mapping[str, int],
    merges: Sequence[tuple[str, str]],
    *,
    special: Sequence[str],
    appended: Sequence[str] = (),
    bos: str,
    eos: str,
) -> BytePairTokenizer:
    """A tokenizer as GPT-2, RoBERTa and OFA have it, from the content of ``vocab.json`` and ``merges.txt``.

    Args:
        vocabulary: Id by entry, from 0 without a gap.
        merges: Pairs that become one entry, the first ones first.
        special: Entries of the vocabulary that are no text.
        appended: Further entries, which get the ids behind the vocabulary in their order.
        bos: Entry that begins a document.
        eos: Entry that ends one.

    Raises:
        ValueError: As when a tokenizer is made.
    """
    added = [_added_token(token, vocabulary[token], special=True) for token in special]
    fresh = [token for token in dict.fromkeys(appended) if token not in vocabulary]
    added += [_added_token(token, len(vocabulary) + number) for number, token in enumerate(fresh)]
    rule = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    model = {"type": "BPE", "vocab": vocabulary, "merges": merges}
    parts = {"normalizer": None, "pre_tokenizer": rule, "decoder": rule, "model": model, "added_tokens": added}
    return BytePairTokenizer({"version": "1.0", **parts}, bos=bos, eos=eos)
