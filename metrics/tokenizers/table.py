"""What makes words of captions before they are scored: one entry each, and segmenters of other packages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib import metadata
from pkgutil import resolve_name
from typing import Any, NamedTuple

PTB = "ptb"


class Tokenizer(NamedTuple):
    """Makes words of captions."""

    name: str
    """Goes into results: only numbers over the same words can be compared."""
    tokenize_many: Callable[[Iterable[str]], list[str]]
    """Captions to words separated by single spaces."""


TOKENIZERS: Mapping[str, tuple[str, str]] = {
    PTB: ("metrics.tokenizers.ptb:TOKENIZER_NAME", "metrics.tokenizers.ptb:tokenize_many"),
    "characters": (
        "metrics.tokenizers.characters:CHARACTERS_NAME",
        "metrics.tokenizers.characters:tokenize_characters",
    ),
}
"""By name: where its full name is, and its function."""


def open_tokenizer(name: str = PTB) -> Tokenizer:
    """A tokenizer by its name in the table, or a segmenter as ``package.module:function``.

    A segmenter takes a caption and gives its words, as ``jieba:lcut`` does; they are lower-cased, and those without a
    letter or digit are dropped.

    Raises:
        ValueError: If there is none of that name, or the package is not installed.
    """
    if name in TOKENIZERS:
        return Tokenizer(*map(resolve_name, TOKENIZERS[name]))
    known = f"{', '.join(TOKENIZERS)}, or package.module:function of a segmenter that is installed, such as jieba:lcut"
    if ":" not in name:
        raise ValueError(f"--tokenizer {name}: unknown; known: {known}.")
    try:
        segment = resolve_name(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"--tokenizer {name}: cannot be used ({error}); known: {known}.") from error
    if not callable(segment):
        raise ValueError(f"--tokenizer {name}: is no function; known: {known}.")
    return Tokenizer(f"{name}{_version(name)}, lower-cased, no punctuation", lambda texts: _segmented(segment, texts))


def _segmented(segment: Callable[[str], Any], texts: Iterable[str]) -> list[str]:
    return [
        " ".join(part for word in segment(text) for part in str(word).lower().split() if any(map(str.isalnum, part)))
        for text in texts
    ]


def _version(name: str) -> str:
    package = name.partition(":")[0].partition(".")[0]
    found = metadata.packages_distributions().get(package, [])
    return f" {metadata.version(found[0])}" if found else ""
