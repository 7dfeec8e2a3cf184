"""What METEOR knows of English words, from its own jar: function words, abbreviations, WordNet's synonyms."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

from metrics.meteor.normalizer import read_prefixes

_ENDINGS = (
    *(("s", ""), ("ses", "s"), ("xes", "x"), ("zes", "z"), ("ches", "ch"), ("shes", "sh"), ("men", "man")),
    *(("ies", "y"), ("es", "e"), ("es", ""), ("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", "")),
    *(("er", ""), ("est", ""), ("er", "e"), ("est", "e")),
)
"""WordNet's endings of nouns, verbs and adjectives with what stands for each in the base form, in METEOR's order."""


class Lexicon:
    """Function words, abbreviations and synonyms.

    Attributes:
        function_words: Words that METEOR counts for less.
        prefixes: As :func:`metrics.meteor.normalizer.read_prefixes` gives them.
    """

    def __init__(self, jar: Path) -> None:
        """Read METEOR's jar.

        Raises:
            ValueError: If it is damaged or another program's.
            OSError: If it cannot be read.
        """
        try:
            with zipfile.ZipFile(jar) as archive:
                function, prefixes, synsets, exceptions = (
                    archive.read(name).decode()
                    for name in (
                        "function/english.words",
                        "nonbreaking/english.prefixes",
                        "synonym/english.synsets",
                        "synonym/english.exceptions",
                    )
                )
        except (zipfile.BadZipFile, KeyError, UnicodeDecodeError) as error:
            raise ValueError(
                f"{jar}: not METEOR 1.5's jar, or damaged ({error}); install pycocoevalcap again."
            ) from error
        self.function_words = frozenset(function.split("\n")) - {""}
        self.prefixes = read_prefixes(prefixes)
        lines = synsets.split("\n")
        self._synsets = dict(zip(lines[::2], lines[1::2], strict=False))
        self._bases: dict[str, list[str]] = {}
        for base, forms in _pairs(exceptions):
            for form in forms.split():
                self._bases.setdefault(form, []).append(base)

    def synsets(self, word: str) -> frozenset[int]:
        """The sets of synonyms that a word, or what it is a form of, belongs to."""
        bases = self._bases.get(word) or [self._base(word)]
        return frozenset(int(number) for form in (word, *bases) for number in self._synsets.get(form, "").split())

    def _base(self, word: str) -> str:
        if len(word) > 2 and not word.endswith("ss"):
            for ending, replacement in _ENDINGS:
                base = word.removesuffix(ending) + replacement
                if word.endswith(ending) and base in self._synsets:
                    return base
        return word


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    lines = text.split("\n")
    return zip(lines[::2], lines[1::2], strict=False)
