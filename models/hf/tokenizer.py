"""Tokenizers of transformers' folders: made anew from what their files say of the vocabulary, and from nothing else.

A ``tokenizer.json`` can hold expressions and steps of anybody's. Of it only entries, merges and a few yes-or-no
settings are read, and the rest is what the family's own tokenizer always has.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from tokenizers import AddedToken, Tokenizer

from preprocessors.text.spacing import join_tokens

TOKENIZER_FILE = "tokenizer.json"
TOKENIZER_BYTES = 64_000_000
"""Most of it. Published: 3.6 MB for 51,289 entries; PaliGemma has five times as many."""
REMEDY = "Copy it again from where the model came from."
MOST_UNUSED = 4096
"""Entries of a model that its tokenizer does not have. Published: two, or what rounds a vocabulary up."""
_FILLER = "<unused_{}>"
_INNER_APOSTROPHE = re.compile(r"(?<=\w) (['’]) (?=\w)")


class SpecialIds(NamedTuple):
    """Ids that a family gives a meaning; the configuration says them. None of what is masked for a language model."""

    bos: int
    eos: int
    pad: int
    mask: int | None


class FamilyTokenizer:
    """A vocabulary with its pieces, see :class:`models.captioner.CaptionTokenizer`.

    Texts are taken as texts: nothing that a person writes becomes a special token, but for style tokens.

    Args:
        tokenizer: Of the library, without style tokens; taken over. Entries that the model has and it lacks are added.
        ids: Special ones.
        entries: V, of the model, style tokens included.
        style_tokens: The last of them, in their order.
        texts: What each entry of the library's tokenizer adds to a caption, by id; nothing for special ones. Behind
            its end nothing is added.
        added: Special entries behind those, in the order of their ids; further ones that the model has are unused.
        in_words: Whether a decoded text has spaces around punctuation, which people do not write.
        caption_start: What the model writes before every caption.

    Attributes:
        style_tokens: As given, and those added since.

    Raises:
        ValueError: If the model has fewer entries, or many more.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        ids: SpecialIds,
        entries: int,
        style_tokens: Sequence[str],
        texts: Sequence[bytes],
        *,
        added: Sequence[str] = (),
        in_words: bool = False,
        caption_start: str = "",
    ) -> None:
        self.library, self._in_words, self.caption_start = tokenizer, in_words, caption_start
        self.bos_token_id, self.eos_token_id, self.pad_token_id, self.mask_token_id = ids
        tokenizer.add_special_tokens([*added])
        missing = entries - len(style_tokens) - tokenizer.get_vocab_size()
        if not 0 <= missing <= MOST_UNUSED:
            raise ValueError(f"the tokenizer has {entries - missing:,} entries and the model {entries:,}")
        first = tokenizer.get_vocab_size()
        tokenizer.add_special_tokens([_FILLER.format(number) for number in range(first, first + missing)])
        tokenizer.encode_special_tokens = True
        self._texts, self.style_tokens = [*texts], list[str]()
        self.add_style_tokens(style_tokens)

    def __len__(self) -> int:
        """Entries of the vocabulary, V."""
        return int(self.library.get_vocab_size())

    def add_style_tokens(self, tokens: Iterable[str]) -> None:
        """Append entries for styles, each a single token wherever it stands; those already there keep their ids.

        Raises:
            ValueError: If the vocabulary has such an entry for something else.
        """
        fresh = [token for token in dict.fromkeys(tokens) if token not in self.style_tokens]
        if taken := [token for token in fresh if self.library.token_to_id(token) is not None]:
            raise ValueError(f"the tokenizer has {taken[0]!r} already, and not for a style; use style.inject=words")
        self.library.add_tokens([AddedToken(token, normalized=False) for token in fresh])
        self.style_tokens += fresh

    def id_of(self, token: str) -> int:
        """Of an entry that is there."""
        found = self.library.token_to_id(token)
        assert found is not None
        return int(found)

    def encode_text(self, text: str, max_length: int | None = None) -> list[int]:
        """Token ids of a text without special tokens, the first ``max_length`` of them."""
        ids: list[int] = self.library.encode(text, add_special_tokens=False).ids
        return ids[:max_length]

    def decode_caption(self, token_ids: Sequence[int]) -> str:
        """Text of generated ids before the first EOS, outer space stripped; a character that is cut is left out."""
        ids = [*token_ids]
        ids = ids[: ids.index(self.eos_token_id)] if self.eos_token_id in ids else ids
        written = b"".join(self._texts[number] for number in ids if number < len(self._texts))
        text = written.decode(errors="replace").rstrip("\N{REPLACEMENT CHARACTER}").strip()
        return join_tokens(_INNER_APOSTROPHE.sub(r"\1", text)) if self._in_words else text

    def pieces(self) -> list[bytes]:
        """What each entry adds to a caption, by id; nothing for special ones and style tokens."""
        return self._texts + [b""] * (len(self) - len(self._texts))

    def save(self, folder: Path) -> None:
        """Write ``tokenizer.json``."""
        self.library.save(str(folder / TOKENIZER_FILE))


def check_numbered(vocabulary: Any, path: Path) -> dict[str, int]:
    """Entries by their text, numbered from 0, each once.

    Raises:
        ValueError: If they are not.
    """
    numbers: list[Any] = [*vocabulary.values()] if isinstance(vocabulary, dict) else [None]
    if not all(type(number) is int for number in numbers) or sorted(numbers) != [*range(len(numbers))]:
        raise ValueError(f"{path}: must number its entries from 0, each once. {REMEDY}")
    return cast(dict[str, int], vocabulary)
