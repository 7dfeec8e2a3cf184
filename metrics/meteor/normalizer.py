"""Captions to METEOR's words: what its option ``-norm`` does to English, and then lower case.

The rules work on text with a space on either side, one behind the other, and each meets what those before it made;
where two look at the same character the order decides. They are METEOR's, quirks included.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from itertools import pairwise

_LETTERS = (
    "A-Za-z\u0160\u017d\u0161\u017e\u0178\xc0-\xd6\xd8-\xf6\xf8-\u017e\u0400-\u04ff\u0500-\u0527"
    "\ua640-\ua66e\ua67e-\ua697\u1d00-\u1d7f"
)
_LETTER = f"[{_LETTERS}]"
_OTHER = f"[^{_LETTERS}]"
# White space and digits are those of ASCII, as in Java.
_LONELY = re.compile(rf"([^0-9{_LETTERS} \t\n\x0b\f\r.'`,\-\u2018\u2019])")
_DOTS = re.compile(r"\.(\.+)")
_DOT = re.compile(r"DOTMULTI\.([^.])")
_Rules = tuple[tuple[re.Pattern[str], str], ...]
_RULES: tuple[tuple[str, _Rules], ...] = (
    (
        ",",
        (
            (re.compile("([^0-9]),([^0-9])"), r"\1 , \2"),
            (re.compile("([0-9]),([^0-9])"), r"\1 , \2"),
            (re.compile("([^0-9]),([0-9])"), r"\1 , \2"),
        ),
    ),
    ("`\u2018\u2019", ((re.compile("[`\u2018\u2019]"), "'"),)),
    ("'\u201c\u201d", ((re.compile("[\u201c\u201d]|''"), ' " '),)),
    ("\u2013", ((re.compile("\u2013"), "-"),)),
    ("-", ((re.compile("--"), "-"), (re.compile(rf"([0-9.{_LETTERS}])-([0-9{_LETTERS}])"), r"\1 \2"))),
    (
        "'",
        (
            (re.compile(f"({_OTHER})'({_OTHER})"), r"\1 ' \2"),
            (re.compile(f"([^0-9{_LETTERS}])'({_LETTER})"), r"\1 ' \2"),
            (re.compile(f"({_LETTER})'({_OTHER})"), r"\1 ' \2"),
            (re.compile(f"({_LETTER})'({_LETTER})"), r"\1 '\2"),
            (re.compile("([0-9])'(s)"), r"\1 '\2"),
        ),
    ),
)
"""In their order; those that stand together need one of the same characters."""
_SEPARATORS = re.compile("[ \t\n\r\f]+")
_SPACES = re.compile("[ \xa0\u2000-\u200a\u202f\u205f\u3000]+")
_HAS_LETTER = re.compile(_LETTER)
_CONTROLS = "".join(map(chr, range(ord(" ") + 1)))
_PLAIN = re.compile("[0-9a-z ]*")

NUMERIC_ONLY = "#NUMERIC_ONLY#"


def read_prefixes(text: str) -> dict[str, bool]:
    """Abbreviations that keep their full stop, from METEOR's list of them.

    Returns:
        By abbreviation whether it keeps it in front of numbers only.
    """
    rows = [row for row in map(_split, text.split("\n")) if row and not row[0].startswith("#")]
    return {row[0]: NUMERIC_ONLY in row[1:2] for row in rows}


def words_of(text: str, prefixes: Mapping[str, bool], lower: Callable[[str], str] = str.lower) -> list[str]:
    """The words that METEOR makes of a caption.

    Args:
        text: One line.
        prefixes: What ``read_prefixes`` gives.
        lower: Makes lower case.
    """
    if _PLAIN.fullmatch(text):
        return text.split()
    return _split(lower(normalize(text.strip(_CONTROLS), prefixes)))


def normalize(text: str, prefixes: Mapping[str, bool]) -> str:
    """A caption with single spaces between its words, in the case it is written in."""
    line = _mark_dots(_DOTS.sub(r" DOTMULTI\1", _LONELY.sub(r" \1 ", f" {text} ")))
    for needed, rules in _RULES:
        if any(character in line for character in needed):
            for pattern, replacement in rules:
                line = pattern.sub(replacement, line)
    words = _split(line)
    line = "".join(f"{_stop(word, following, prefixes)} " for word, following in pairwise([*words, ""]))
    while "DOTDOTMULTI" in line:
        line = line.replace("DOTDOTMULTI", "DOTMULTI.")
    return _SPACES.sub(" ", line.replace("DOTMULTI", ".")).strip(_CONTROLS)


def _mark_dots(line: str) -> str:
    while "DOTMULTI." in line:
        line = _DOT.sub(r"DOTDOTMULTI \1", line).replace("DOTMULTI.", "DOTDOTMULTI")
    return line


def _stop(word: str, following: str, prefixes: Mapping[str, bool]) -> str:
    """A word, with its full stop apart unless it belongs to it."""
    if len(word) < 2 or not word.endswith("."):
        return word
    bare = word[:-1]
    if "." in bare and _HAS_LETTER.search(bare):
        return word.replace(".", "")
    numeric_only = prefixes.get(bare)
    if numeric_only is False or re.match("[a-z]", following):
        return word
    if numeric_only and re.match("[0-9]", following):
        return word
    return f"{bare} ."


def _split(line: str) -> list[str]:
    return [word for word in _SEPARATORS.split(line) if word]
