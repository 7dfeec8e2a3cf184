"""Pictures that somebody wants captions of, with the styles. Loads nothing heavy."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.io import encode_json

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
    """Each picture once, at its first place, with everything that is asked of it.

    Where two are called the same, as a file and one of a list elsewhere, their paths are their names: results are told
    apart by them.
    """
    found: dict[Path, WantedPicture] = {}
    requests: dict[Path, list[Request]] = {}
    for picture in pictures:
        found.setdefault(picture.path, picture)
        requests.setdefault(picture.path, []).extend(picture.requests)
    called = Counter(picture.name for picture in found.values())
    return [
        replace(
            picture, name=picture.name if called[picture.name] == 1 else shown(path), requests=tuple(requests[path])
        )
        for path, picture in found.items()
    ]


def in_styles(
    pictures: Sequence[WantedPicture], usual: Sequence[str], resolve: Callable[[str], str]
) -> list[WantedPicture]:
    """Pictures with the styles that a model has for those that were asked for; the same is not asked for twice.

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

    plain = tuple(map(Request, usual))  # one for all pictures of a folder: with hundreds of styles they fill the memory

    def resolved(picture: WantedPicture) -> WantedPicture:
        if picture.requests == (Request(),):
            return replace(picture, requests=plain)
        requests: dict[tuple[str, bytes], Request] = {}
        for request in picture.requests:
            for style in styles_of(request):
                requests.setdefault((style, encode_json(request.about)), replace(request, style=style))
        return replace(picture, requests=tuple(requests.values()))

    return [resolved(picture) for picture in pictures]
