"""The kinds of document sources, by the name in ``documents.format``. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

CAPTIONS = "captions"
"""Documents from the data group, in any of its formats."""


class SourceKind(NamedTuple):
    """How documents lie in files of their own."""

    opens: str
    """``module:function`` of a path, ``separator`` and ``links``, which gives a ``DocumentSource``."""
    uses_separator: bool = False


SOURCES: Mapping[str, SourceKind] = {
    "jsonl": SourceKind("preprocessors.documents.sources:open_jsonl"),
    "folder": SourceKind("preprocessors.documents.sources:open_folder"),
    "text": SourceKind("preprocessors.documents.sources:open_separated", uses_separator=True),
}
FORMATS = (CAPTIONS, *SOURCES)
