"""The pictures of captions that some model wrote: found in a folder, and opened."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from metrics.caption_files import count_and_list
from metrics.caption_table import CaptionTable
from metrics.matching import WAYS
from preprocessors.pictures.files import PICTURE_SUFFIXES, holds_pictures, list_pictures, open_picture, walk_folders

if TYPE_CHECKING:
    from PIL.Image import Image


def pictures_of(
    folder: Path, ids: Sequence[str], images: Mapping[str, str], tables: Sequence[CaptionTable]
) -> Callable[[str], Image]:
    """Find the pictures of examples in a folder, in those below it, or in a container such as a tar.

    A picture is known by what the files say of it, its file's name or its id, as ``metrics.matching.WAYS`` compare it.

    Args:
        folder: Where to look.
        ids: The example_ids.
        images: Image of each.
        tables: That say more of them.

    Returns:
        Opens an image, RGB.

    Raises:
        FileNotFoundError: If there is no such folder, or it lacks a picture; counts and lists these.
        ValueError: If it has several pictures of one name.
    """
    if not holds_pictures(folder):
        raise FileNotFoundError(f"--images {folder}: no such folder.")
    names: dict[str, dict[str, None]] = {}
    for key in ids:
        said = [table.files[key] for table in tables if key in table.files]
        names.setdefault(images[key], {}).update(dict.fromkeys([*said, images[key]]))
    found = _find({image: list(own) for image, own in names.items()}, [*_list(folder)])
    if missing := [image for image in names if image not in found]:
        raise FileNotFoundError(f"--images {folder}: lacks the pictures of {count_and_list(missing)}.")
    return lambda image: _open(folder / found[image])


def _open(path: Path) -> Image:
    from preprocessors.pictures.images import UnreadablePicture, decode_picture

    try:
        with open_picture(path) as file:
            return decode_picture(file)
    except UnreadablePicture as error:
        raise UnreadablePicture(f"{path}: {error}") from error


def _list(folder: Path) -> Iterator[str]:
    """The names of the pictures, from the folder on."""
    if not folder.is_dir():
        yield from sorted(list_pictures(folder))
        return
    for place, files in walk_folders(folder):
        for name in files:
            if Path(name).suffix.lower() in PICTURE_SUFFIXES:
                yield (place / name).relative_to(folder).as_posix()


def _find(names: Mapping[str, Sequence[str]], files: Sequence[str]) -> dict[str, str]:
    """The file of each image, as far as there is one.

    Raises:
        ValueError: If the surest way that leads to any leads to several.
    """
    found: dict[str, str] = {}
    for name_of in WAYS.values():
        known: dict[str, list[str]] = {}
        for file in files:
            known.setdefault(name_of(file), []).append(file)
        for image in names.keys() - found.keys():
            fitting = {file for name in names[image] if name_of(name) for file in known.get(name_of(name), [])}
            if len(fitting) > 1:
                raise ValueError(
                    f"the picture {image!r} could be {' or '.join(sorted(fitting)[:2])}; keep one of them."
                )
            if fitting:
                (found[image],) = fitting
    return found
