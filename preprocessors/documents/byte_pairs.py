"""Byte-level BPE tokenizers of text models, wherever they come from, behind :class:`TextTokenizer`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from tokenizers.decoders import ByteLevel

from utils.io import write_json

TOKENIZER_FILE = "tokenizer.json"
DESCRIPTION_FILE = "tokenizer_config.json"
BYTES = frozenset(pre_tokenizers.ByteLevel.alphabet())
"""Entries for the 256 bytes, of which every text can be made."""


class BytePairTokenizer:
    """A byte-level BPE with BOS, EOS and maybe entries behind it, such as ``<style_3>``.

    Args:
        backend: The tokenizer with its added entries; what it adds around a text, cuts and pads is left out.
        bos: Entry that begins a document.
        eos: Entry that ends one; may be the same.

    Raises:
        ValueError: If it is no byte-level BPE, or lacks BOS or EOS.
    """

    def __init__(self, backend: Tokenizer, *, bos: str, eos: str) -> None:
        description = json.loads(backend.to_str())
        model = description["model"]
        if model.get("type") != "BPE" or (absent := BYTES - model["vocab"].keys()):
            what = f"a {model.get('type')}" if model.get("type") != "BPE" else f"{len(absent)} of the 256 bytes lack"
            raise ValueError(f"the tokenizer is no byte-level BPE ({what}), so it cannot write every text; use another")
        known = backend.get_vocab(with_added_tokens=True)
        if missing := [token for token in (bos, eos) if token not in known]:
            raise ValueError(f"the tokenizer has no entry {missing[0]!r}, which begins or ends a document; use another")
        self.bos, self.eos = bos, eos
        self.bos_id, self.eos_id = known[bos], known[eos]
        self._description = {**description, "post_processor": None, "truncation": None, "padding": None}
        self._size = max(known.values()) + 1
        self._whole = Tokenizer.from_str(json.dumps(self._description))
        # Without its added entries it finds none of them in a text: a person's "<s>" is three characters.
        self._plain = Tokenizer.from_str(json.dumps({**self._description, "added_tokens": []}))
        self._hidden = {self.bos_id, self.eos_id} | {token["id"] for token in description["added_tokens"]}

    def __len__(self) -> int:
        return self._size

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of texts, in all cores; see :meth:`TextTokenizer.encode_batch`."""
        return [encoding.ids for encoding in self._plain.encode_batch_fast([*texts], add_special_tokens=False)]

    def encode_code(self, code: str) -> list[int]:
        """Ids of a control code; see :meth:`TextTokenizer.encode_code`."""
        ids: list[int] = self._whole.encode(code, add_special_tokens=False).ids
        return ids

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of ids; see :meth:`TextTokenizer.decode`."""
        kept = [int(number) for number in token_ids if int(number) not in self._hidden]
        return str(self._plain.decode(kept, skip_special_tokens=False))

    def digest(self) -> str:
        """SHA-256 (hex) of vocabulary, merges, rules and special tokens."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        added = [(token["content"], token["id"]) for token in self._description["added_tokens"]]
        rules = {name: self._description[name] for name in ("normalizer", "pre_tokenizer")}
        model = self._description["model"]
        parts: dict[str, Any] = {"vocab": model["vocab"], "merges": model["merges"], **rules}
        parts |= {"added": sorted(added, key=lambda entry: entry[1]), "bos": self.bos, "eos": self.eos}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode("utf-8")).hexdigest()

    def save(self, folder: Path) -> None:
        """Write ``tokenizer.json`` and its description, which transformers opens too."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        write_json(folder / TOKENIZER_FILE, self._description, indent=False)
        special = {"bos_token": self.bos, "eos_token": self.eos, "pad_token": self.eos}
        write_json(folder / DESCRIPTION_FILE, {"tokenizer_class": "PreTrainedTokenizerFast", **special})


def from_merges(
    vocabulary: dict[str, int],
    merges: Sequence[tuple[str, str]],
    *,
    special: Sequence[str],
    appended: Sequence[str] = (),
    bos: str,
    eos: str,
) -> BytePairTokenizer:
    """A tokenizer as GPT-2, RoBERTa and OFA have it, from the content of ``vocab.json`` and ``merges.txt``.

    Args:
        vocabulary: Id by entry.
        merges: Pairs that become one entry, the first ones first.
        special: Entries of the vocabulary that are no text.
        appended: Further entries, which get the ids behind the vocabulary in their order.
        bos: Entry that begins a document.
        eos: Entry that ends one.

    Raises:
        ValueError: As when a tokenizer is made.
    """
    backend = Tokenizer(models.BPE(vocabulary, [*merges]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = ByteLevel()
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    backend.add_tokens([AddedToken(token, normalized=False) for token in appended])
    return BytePairTokenizer(backend, bos=bos, eos=eos)
