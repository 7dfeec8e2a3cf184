"""The kinds of document sources, by the name in ``documents.format``. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

from utils.plugins import describe_kind, is_plugin, load_plugin

if TYPE_CHECKING:
    from preprocessors.documents.reading import DocumentSource

CAPTIONS = "captions"
"""Documents from the data group, in any of its formats."""


class SourceKind(NamedTuple):
    """How documents lie in files of their own."""

    opens: str
    """``module:function`` that is a :class:`OpensDocuments`."""
    uses_separator: bool = False


SOURCES: Mapping[str, SourceKind] = {
    "jsonl": SourceKind("preprocessors.documents.sources:open_jsonl"),
    "folder": SourceKind("preprocessors.documents.sources:open_folder"),
    "text": SourceKind("preprocessors.documents.sources:open_separated", uses_separator=True),
}
FORMATS = (CAPTIONS, *SOURCES)


class OpensDocuments(Protocol):
    """Documents of a file or folder."""

    def __call__(self, path: Path, *, separator: str, links: bool) -> DocumentSource:
        """Open them.

        Args:
            path: ``documents.train``, ``val`` or ``test``.
            separator: ``documents.separator``.
            links: Whether titles and links are read.

        Raises:
            FileNotFoundError: If there is no such file or folder.
            ValueError: If it cannot be read at all.
        """


def opener_of(name: str) -> OpensDocuments:
    """What opens documents of a format of ``SOURCES``, or a user's own function as ``package.module:name``.

    Raises:
        ValueError: If it is not there, or cannot be called.
    """
    found = load_plugin(name) if is_plugin(name) else resolve_name(SOURCES[name].opens)
    if not callable(found):
        raise ValueError(f"{name}: is {describe_kind(found)}; name a function that opens documents")
    return cast(OpensDocuments, found)
