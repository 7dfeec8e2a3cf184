"""Words of scripts that put no spaces between them: each character is one."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

CHARACTERS_NAME = "characters of scripts without spaces as words, others between spaces; lower-cased, no punctuation"
"""Goes into results, in place of the PTB tokenizer's name."""

# Han, kana, bopomofo, Thai, Lao, Tibetan, Burmese, Khmer; the marks that follow one belong to it.
_SCRIPTS = (
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ebd\u0ec0-\u0ec4\u0f40-\u0fbc\u1000-\u103f\u1780-\u17d3"
    "\u3005\u3007\u3041-\u3096\u3099-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3105-\u312f"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
WITHOUT_SPACES = re.compile(f"[{_SCRIPTS}]")
_WORD = re.compile(f"[{_SCRIPTS}]|[^\\s{_SCRIPTS}]+")


def tokenize_characters(texts: Iterable[str]) -> list[str]:
    """Make words of captions in any script.

    Args:
        texts: Captions; may be empty.

    Returns:
        For each its words, separated by single spaces: in compatibility form (full-width letters become usual ones),
        lower-cased, without punctuation and symbols.
    """
    return [" ".join(_words(unicodedata.normalize("NFKC", text).lower())) for text in texts]


def is_without_spaces(text: str) -> bool:
    """Whether most letters of a text are of scripts that put no spaces between words."""
    letters = [char for char in text if unicodedata.category(char)[0] in "LM"]
    return len(letters) > 0 and 2 * sum(1 for char in letters if WITHOUT_SPACES.match(char)) > len(letters)


def _words(text: str) -> list[str]:
    words: list[str] = []
    end = -1
    for found in _WORD.finditer(text):
        word = "".join(char for char in found[0] if unicodedata.category(char)[0] not in "PSCZ")
        if word and unicodedata.category(word[0])[0] == "M" and found.start() == end and words:
            words[-1] += word  # a vowel or tone above or below the letter
        elif word:
            words.append(word)
        end = found.end()
    return words
