"""Style names as people write them: how they are compared, their aliases, and the nearest to a wrong one."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

CLOSE = 0.8
"""Similarity, 0 to 1, from which two names may be one name and a slip of the pen."""
_INVISIBLE = frozenset(
    map(chr, (0xAD, 0x61C, *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x206A), 0xFEFF))
)
_PRESENTATION = dict.fromkeys((0xFE0E, 0xFE0F))  # variation selectors: a character as text, as an emoji


def tidy_name(name: str) -> str:
    """A style name as a new registry writes it: in composed form (NFC), without space and invisible marks around it.

    Marks are those of direction and of joining, and the one at the head of a file, which editors leave behind.
    """
    start, end = 0, len(name)
    while start < end and _is_blank(name[start]):
        start += 1
    while end > start and _is_blank(name[end - 1]):
        end -= 1
    return unicodedata.normalize("NFC", name[start:end])


def fold_name(name: str) -> str:
    """The form in which style names are compared: without case, surrounding space and invisible marks.

    Names that look alike are alike: composed and decomposed letters (NFC and NFD), an emoji with and without the mark
    that asks for its coloured form.
    """
    decomposed = unicodedata.normalize("NFD", tidy_name(name)).casefold()
    return unicodedata.normalize("NFC", decomposed.translate(_PRESENTATION))


def spelled_out(name: str, aliases: Mapping[str, str]) -> str:
    """The style's name if ``name`` is an alias, in any case; otherwise ``name`` itself."""
    key = fold_name(name)
    return next((target for alias, target in aliases.items() if fold_name(alias) == key), name)


def index_names(names: Sequence[str]) -> dict[str, int]:
    """Folded name to its place.

    Raises:
        ValueError: If a name is blank, or two are compared as one.
    """
    index: dict[str, int] = {}
    for number, name in enumerate(names):
        key = fold_name(name)
        if not key:
            raise ValueError(f"style number {number} has a blank name. Give every style a name.")
        if key in index:
            raise ValueError(
                f"styles {names[index[key]]!r} and {name!r} differ only in case or space. Keep one of them."
            )
        index[key] = number
    return index


def index_aliases(aliases: Mapping[str, str], names: Mapping[str, int]) -> dict[str, str]:
    """Folded alias to folded name.

    Args:
        aliases: As written.
        names: Folded names that they may lead to.

    Raises:
        ValueError: If an alias leads to no style, hides one, or is given for two.
    """
    index: dict[str, str] = {}
    for alias, name in aliases.items():
        if fold_name(name) not in names:
            nearest = ", ".join(nearest_names(name, names))
            raise ValueError(
                f"alias {alias!r} leads to {name!r}, which is no style; nearest: {nearest}. Correct it, or add the "
                "style."
            )
        if names.get(fold_name(alias), names[fold_name(name)]) != names[fold_name(name)]:
            raise ValueError(f"alias {alias!r} for {name!r} is itself the name of a style. Remove the alias.")
        if index.setdefault(fold_name(alias), fold_name(name)) != fold_name(name):
            raise ValueError(f"alias {alias!r} is given for two styles. Keep one of them.")
    return index


def nearest_names(name: str, known: Iterable[str]) -> list[str]:
    """The folded names most like a name, at most three, the most similar first."""
    return difflib.get_close_matches(fold_name(name), list(known), n=3, cutoff=0.0)


def slip_of(name: str, known: Iterable[str]) -> str | None:
    """The folded name that this one may be a slip of the pen for; None if no name is so like it."""
    return next(iter(difflib.get_close_matches(fold_name(name), list(known), n=1, cutoff=CLOSE)), None)


def _is_blank(character: str) -> bool:
    return character.isspace() or character in _INVISIBLE
