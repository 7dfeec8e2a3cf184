"""What is to be captioned: pictures by name, folders and containers of them, lists of rows."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from captioning.wanted import Request, WantedPicture, merged, shown
from preprocessors.pictures.containers import CONTAINERS, Place, open_container, place_of
from preprocessors.pictures.files import PICTURE_SUFFIXES, list_pictures, walk_folders
from utils.io import UTF8_BOM, parse_json, parse_line

SUFFIXES = (".jpg", *sorted(PICTURE_SUFFIXES - {".jpg"}))
"""In the order in which they are looked for."""
KEPT = ("image_hash", "reference")
"""Entries of a row that go into the results."""


def find_pictures(given: Sequence[Path]) -> list[WantedPicture]:
    """Pictures of files, of folders with everything below them, and of containers; each once.

    In folders and tars a picture is what ends as one (``PICTURE_SUFFIXES``) and is not hidden; a file that is named is
    taken for a picture whatever its name, and so is a folder below that cannot be listed.

    Args:
        given: Files, folders, containers (``shards/000.tar``), or something inside a container.

    Raises:
        FileNotFoundError: If there is no such thing.
        ValueError: If a folder or container has no pictures, or a container is damaged.
    """
    return merged(picture for path in given for picture in _pictures_at(path))


def _pictures_at(path: Path) -> Iterator[WantedPicture]:
    if path.is_dir():
        closed: list[Path] = []
        walk = walk_folders(path, unreadable=closed.append)
        names = [os.path.relpath(place / name, path) for place, files in walk for name in files]
        yield from _below(path, [name for name in names if _is_picture(name)])
        # They come as pictures that cannot be opened, so that they are told, and the rest goes on.
        yield from (WantedPicture(shown(place), place, os.path.relpath(place, path)) for place in closed)
    elif path.is_file() and path.suffix.lower() in CONTAINERS:
        yield from _members(path, Place(path, ""))
    elif os.path.lexists(path):
        yield WantedPicture(shown(path), path, path.name)
    elif place := place_of(path):
        yield from _members(path, place)
    else:
        raise FileNotFoundError(f"{path}: picture not found; check the path (it is relative to {Path.cwd()})")


def _members(path: Path, place: Place) -> Iterator[WantedPicture]:
    """A member of a container, or the pictures in a container or in a folder inside it."""
    names = [*open_container(place.file).names()]
    if place.name in names:
        yield WantedPicture(shown(path), path, path.name)
        return
    is_tar = place.file.suffix.lower() == ".tar"  # the others hold nothing but pictures, under names without a suffix
    folder = f"{place.name}/" if place.name else ""
    inside = [name[len(folder) :] for name in names if name.startswith(folder)]
    yield from _below(path, sorted(name for name in inside if _is_picture(name)) if is_tar else inside)


def _is_picture(name: str) -> bool:
    place, own = os.path.split(name)
    hidden = own.startswith(".") or "/." in f"/{place}"  # what macOS leaves beside each file is called ._a.jpg
    return not hidden and os.path.splitext(own)[1].lower() in PICTURE_SUFFIXES


def _below(folder: Path, names: Sequence[str]) -> Iterator[WantedPicture]:
    if not names:
        raise ValueError(f"{folder}: no pictures in there; they end in {', '.join(sorted(PICTURE_SUFFIXES))}")
    for name in names:
        yield WantedPicture(shown(folder / name), folder / name, name)


def read_list(content: bytes, source: str, images: Path) -> list[WantedPicture]:
    """Pictures of a list: JSON or JSON Lines, or a path in each line.

    A row of JSON is ``{"image": name}`` or ``{"image_hash": name without suffix}``, with ``"style"`` or without, and
    perhaps a ``"reference"``, which goes into the results. Rows of one picture come together at its first place.

    Args:
        content: UTF-8.
        source: What messages call it.
        images: Folder of the pictures.

    Raises:
        ValueError: If it is no such list, or empty; names the row.
    """
    content = content.removeprefix(UTF8_BOM)
    if b"\0" in content[:1024]:
        raise ValueError(f"{source}: is no text; a list has a path in each line, or rows of JSON")
    rows = [*_rows(content, source)]
    if not rows:
        raise ValueError(f"{source}: is empty; a list has a path in each line, or rows of JSON")
    names = _Names(images)
    return merged(_picture_of_row(record, where, names) for record, where in rows)


def _rows(content: bytes, source: str) -> Iterator[tuple[Any, str]]:
    start = content.lstrip()[:1]
    if start == b"[":
        for number, record in enumerate(parse_json(content, source), start=1):
            yield record, f"{source}, row {number}"
        return
    for number, line in enumerate(content.split(b"\n"), start=1):
        if line.strip():
            where = f"{source}, row {number}"
            # Names of files are bytes: those of a system that is not UTF-8 are found again.
            yield (parse_line(line, source, number) if start == b"{" else {"image": os.fsdecode(line.strip())}), where


class _Names:
    """Finds the pictures that rows name.

    Args:
        images: Folder, or container, of the pictures.
    """

    def __init__(self, images: Path) -> None:
        self.images = images
        self._folders: dict[Path, dict[str, str]] = {}
        """Of each folder its names, by themselves with the suffix in small letters."""

    def of_hash(self, image_hash: str) -> str:
        """The name of the file that has a hash for its stem; with ``.jpg`` if there is none."""
        folder, stem = (self.images / image_hash).parent, Path(image_hash).name
        if folder not in self._folders:
            parts = (os.path.splitext(name) for name in sorted(list_pictures(folder)))
            self._folders[folder] = {own + suffix.lower(): own + suffix for own, suffix in parts}
        there = self._folders[folder]
        if stem in there:
            return image_hash
        found = next((name for suffix in SUFFIXES if (name := there.get(stem + suffix))), f"{stem}.jpg")
        return image_hash + found[len(stem) :]


def _picture_of_row(record: Any, where: str, names: _Names) -> WantedPicture:
    if not isinstance(record, dict):
        raise ValueError(f'{where}: must be an object such as {{"image": "a.jpg", "style": "pirate"}}, got {record!r}')
    texts = {key: record.get(key) for key in ("image", "image_hash", "style")}
    for key, value in texts.items():
        if value is not None and not (isinstance(value, str) and value.strip()):
            raise ValueError(f"{where}: {key!r} must be text, got {value!r}")
    if texts["image"] is None and texts["image_hash"] is None:
        raise ValueError(f"{where}: has neither 'image' nor 'image_hash', but {', '.join(record) or 'nothing'}")
    name = texts["image"] or names.of_hash(texts["image_hash"] or "")
    path = names.images / name
    if "\\" in name and not os.path.lexists(path):  # lists from Windows
        path = names.images / name.replace("\\", "/")
    is_below = path.is_relative_to(names.images)
    inside = [part for part in path.relative_to(names.images).parts if part != ".."] if is_below else []
    request = Request(texts["style"], {key: record[key] for key in KEPT if key in record}, where)
    return WantedPicture(shown(name), path, "/".join(inside) or path.name, (request,))
