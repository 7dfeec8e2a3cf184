"""Control codes: the ids that stand between BOS and a document's text and say what it is like."""

from __future__ import annotations

from collections.abc import Sequence

from preprocessors.documents.interface import TextTokenizer
from preprocessors.text.styles import COMBINED, StyleRegistry

SEPARATOR = "\n"
"""Between a code that is text and the document."""
BETWEEN_WORDS = ", "
"""Between the parts of a code that is free text."""


class ControlCodes:
    """Ids for styles, or for words of any kind.

    Args:
        tokenizer: Of the model; it has the entries that the styles are injected by.
        registry: The styles that there are, each of which is read as the registry injects it: as text with a line end
            behind it, or as an entry of its own. None: any words, as text with a line end behind them.
    """

    def __init__(self, tokenizer: TextTokenizer, registry: StyleRegistry | None) -> None:
        self.tokenizer, self.registry = tokenizer, registry
        self._known: dict[tuple[str, ...], list[int]] = {}

    def ids(self, meta: Sequence[str], where: str = "") -> list[int]:
        """Ids of a code; none for no words and for the neutral style, which say nothing of a document.

        Args:
            meta: Styles, of which several are a combination, or any words.
            where: File and row that they come from, put before the message.

        Raises:
            ValueError: If there are styles, and one of these is none of them.
        """
        key = tuple(meta)
        if key not in self._known:
            if len(self._known) >= 10_000:  # words of any kind may be another for every document
                self._known.clear()
            self._known[key] = self._make(key, where)
        return self._known[key]

    def _make(self, meta: tuple[str, ...], where: str) -> list[int]:
        if not meta:
            return []
        if self.registry is None:
            words = [word.strip() for word in meta if word.strip()]  # as documents have them
            return self._of_text(BETWEEN_WORDS.join(words)) if words else []
        style = self.registry.resolve(COMBINED.join(meta), where)
        if style == self.registry.neutral:
            return []
        code = self.registry.token_of(style)
        return self._of_text(code) if self.registry.inject == "words" else self.tokenizer.encode_code(code)

    def _of_text(self, code: str) -> list[int]:
        return self.tokenizer.encode_batch([code + SEPARATOR])[0]
