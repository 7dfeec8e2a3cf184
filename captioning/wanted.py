"""Pictures that somebody wants captions of, with the styles. Loads nothing heavy."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from captioning.writing import Caption


@dataclass(frozen=True)
class Request:
    """A style that a picture is to be captioned in.

    Attributes:
        style: Its name; None for whatever all pictures are captioned in.
        about: What goes with it into the results, such as a reference.
        where: File and row that ask for it, as messages begin; "" if there is no such place.
    """

    style: str | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    where: str = ""


@dataclass(frozen=True)
class WantedPicture:
    """A picture to be captioned.

    Attributes:
        name: What results call it.
        path: Where it is, as :mod:`preprocessors.pictures.files` writes it.
        below: Its path below the folder or container in which it was found, for results in files of their own.
        requests: Styles, in the order asked for.
    """

    name: str
    path: Path
    below: str
    requests: tuple[Request, ...] = (Request(),)

    def styles(self) -> tuple[str, ...]:
        """Its styles once each, in order; they must be known by now."""
        return tuple(dict.fromkeys(request.style for request in self.requests if request.style is not None))


@dataclass(frozen=True)
class Answer:
    """What came of a picture.

    Attributes:
        picture: As it was asked for.
        captions: By style, best first; none if there is an error.
        error: Why it could not be captioned; "" if it was.
    """

    picture: WantedPicture
    captions: Mapping[str, Sequence[Caption]] = field(default_factory=dict)
    error: str = ""


def shown(path: Path | str) -> str:
    """A path as text that can be written as UTF-8, whatever bytes the system's name has."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def merged(pictures: Iterable[WantedPicture]) -> list[WantedPicture]:
    """Each picture once, at its first place, with everything that is asked of it."""
    found: dict[Path, WantedPicture] = {}
    for picture in pictures:
        first = found.setdefault(picture.path, picture)
        if first is not picture:
            added = tuple(request for request in picture.requests if request not in first.requests)
            found[picture.path] = replace(first, requests=first.requests + added)
    return [*found.values()]


def in_styles(
    pictures: Sequence[WantedPicture], usual: Sequence[str], resolve: Callable[[str], str]
) -> list[WantedPicture]:
    """Pictures with the styles that a model has for those that were asked for.

    Args:
        pictures: To be captioned.
        usual: Styles for requests that name none, resolved.
        resolve: A style as somebody wrote it to its name; raises ValueError for one that cannot be had.

    Raises:
        ValueError: From ``resolve``, naming the row.
    """
    known: dict[str, str] = {}

    def styles_of(request: Request) -> Sequence[str]:
        if request.style is None:
            return usual
        if request.style not in known:
            try:
                known[request.style] = resolve(request.style)
            except ValueError as error:
                raise ValueError(f"{request.where}: {error}") from error
        return [known[request.style]]

    def resolved(picture: WantedPicture) -> WantedPicture:
        return replace(
            picture,
            requests=tuple(
                replace(request, style=style) for request in picture.requests for style in styles_of(request)
            ),
        )

    return [resolved(picture) for picture in pictures]
