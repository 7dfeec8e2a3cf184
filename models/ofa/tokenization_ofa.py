"""OFA's tokenizer: a byte-level BPE, then ``<code_k>`` and ``<bin_k>``, then style tokens of ours."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from transformers import RobertaTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from preprocessors.text.bpe_files import BIN_TOKENS, CODE_TOKENS, read_appended, read_bpe
from utils.io import write_json
from utils.saved import Saved

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
"""What bytes that are no character are decoded to."""
CODE = re.compile(r"<code_(\d+)>")


class OFATokenizer(RobertaTokenizer):
    """Byte-level BPE; of a folder it is opened by :meth:`load_from_dir`.

    Args:
        num_codes: ``<code_k>`` tokens behind the BPE; 8,192 in every published checkpoint.
        num_bins: ``<bin_k>`` tokens behind them; 1,000 in every published checkpoint.
        style_tokens: Tokens of ours behind those.
        **kwargs: As for ``RobertaTokenizer``.
    """

    # Without "tokenizer.json": the two published files are the truth, and a stale third one would win over them.
    vocab_files_names = {"vocab_file": "vocab.json", "merges_file": "merges.txt"}

    def __init__(
        self,
        *args: Any,
        num_codes: int = CODE_TOKENS,
        num_bins: int = BIN_TOKENS,
        style_tokens: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.num_codes, self.num_bins = num_codes, num_bins
        self.text_vocab_size = self._tokenizer.get_vocab_size(with_added_tokens=False)
        self.style_tokens: list[str] = []
        self.add_tokens([f"<code_{k}>" for k in range(num_codes)] + [f"<bin_{k}>" for k in range(num_bins)])
        self.add_style_tokens(style_tokens)

    def add_style_tokens(self, tokens: Sequence[str]) -> None:
        """Append vocabulary entries for styles, in order; those already there keep their ids.

        Args:
            tokens: New ones, or codes, of which those up to the highest ``<code_k>`` are appended.

        Raises:
            ValueError: If codes are to be appended, and other entries stand behind those that there are.
        """
        if codes := [int(found[1]) for token in tokens if (found := CODE.fullmatch(token))]:
            self._add_codes(max(codes) + 1)
        known = {*self.style_tokens}
        fresh = [token for token in tokens if token not in known and not CODE.fullmatch(token)]
        self.add_tokens(fresh)
        self.style_tokens += fresh

    def _add_codes(self, number: int) -> None:
        if number <= self.num_codes:
            return
        if self.num_bins or self.style_tokens:  # a folder says how many codes there are, and they come first
            raise ValueError(
                f"{number:,} codes for styles: the model has {self.num_codes:,} and no room behind them in its "
                "vocabulary. Use a model with style.inject=token or words."
            )
        self.add_tokens([f"<code_{k}>" for k in range(self.num_codes, number)])
        self.num_codes = number

    def encode_text(self, text: str, max_length: int | None = None) -> list[int]:
        """Token ids of a text without BOS and EOS, the first ``max_length`` of them."""
        return self._tokenizer.encode(text, add_special_tokens=False).ids[:max_length]

    def decode_caption(self, token_ids: Sequence[int]) -> str:
        """Text of generated ids between BOS and the first EOS, outer space stripped.

        A caption that is cut in the middle of a character, which may take several tokens, ends before it.
        """
        ids = list(token_ids)
        start = 1 if ids and ids[0] == self.bos_token_id else 0
        end = ids.index(self.eos_token_id) if self.eos_token_id in ids else len(ids)
        text: str = self.decode(ids[start:end], skip_special_tokens=True)
        return text.rstrip(REPLACEMENT).strip()

    def pieces(self) -> list[bytes]:
        """Bytes of the BPE's entries; special ones have none."""
        byte_of = {character: byte for byte, character in bytes_to_unicode().items()}
        special, entries = {*self.all_special_ids}, self.convert_ids_to_tokens(range(self.text_vocab_size))
        return [
            b"" if number in special else bytes(byte_of[character] for character in entry)
            for number, entry in enumerate(entries)
        ]

    @classmethod
    def load_from_dir(cls, folder: Path, **appended: Any) -> Self:
        """The tokenizer of a folder.

        Of all files that may lie there only ``vocab.json``, ``merges.txt`` and our entries of ``tokenizer_config.json``
        are read, once they fit each other: a library's ``tokenizer.json`` may be older than them.

        Args:
            folder: With both files.
            **appended: What stands behind the BPE, in place of what ``tokenizer_config.json`` says.

        Raises:
            FileNotFoundError: If a file is missing.
            ValueError: If a file is damaged, cut short, or does not belong to the other.
        """
        vocabulary, merges = read_bpe(folder)
        return cls(vocabulary, merges, **read_appended(folder) | appended)

    def save_to_dir(self, folder: Path) -> None:
        """Write ``vocab.json``, ``merges.txt`` and what is appended to them into a model folder."""
        self._tokenizer.model.save(str(folder))
        appended = {"num_codes": self.num_codes, "num_bins": self.num_bins, "style_tokens": self.style_tokens}
        write_json(folder / "tokenizer_config.json", {"tokenizer_class": "OFATokenizer", **appended})


if TYPE_CHECKING:
    _: type[Saved] = OFATokenizer
