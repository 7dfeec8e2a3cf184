"""Data sets in many files: names with ``{000..012}`` or ``*``, and the files of a split by their usual names."""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from preprocessors.formats.rows import Place

SPLIT_NAMES = {"train": ("train",), "val": ("val", "validation", "valid", "dev"), "test": ("test",)}
"""What people call a split in names of files and folders."""
BRACES = re.compile(r"\{([^{}]*)\}")
RANGE = re.compile(r"(\d+)\.\.(\d+)")


def expand_braces(text: str) -> list[str]:
    """What a name with ``{000..012}`` or ``{a,b}`` stands for, in order; numbers keep their zeros in front.

    Raises:
        ValueError: If a range runs backwards.
    """
    found = BRACES.search(text)
    if found is None:
        return [text]
    choices = found[1].split(",")
    if bounds := RANGE.fullmatch(found[1]):
        first, last = bounds.groups()
        if int(last) < int(first):
            raise ValueError(f"{text}: the range {found[0]} runs backwards. Write {{{last}..{first}}}.")
        choices = [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]
    before, after = text[: found.start()], text[found.end() :]
    return [expanded for choice in choices for expanded in expand_braces(before + choice + after)]


def expand_shards(pattern: Path) -> list[Path]:
    """The files that a path with braces, ``*``, ``?`` or ``[...]`` stands for; those of ``*`` are sorted.

    Raises:
        FileNotFoundError: If one that is written out is missing, or nothing matches.
    """
    if pattern.is_file():
        return [pattern]
    shards: list[Path] = []
    folder = root_of(pattern)
    for name in _names_under(folder, pattern):
        shards += sorted(_found(folder, name)) if glob.has_magic(name) else [folder / name]
    shards = list(dict.fromkeys(shards))
    missing = [shard for shard in shards if not shard.is_file()]
    if missing:
        counts = f"{len(missing)} of {len(shards)}"
        raise FileNotFoundError(f"{missing[0]}: no such file ({counts} that {pattern} stands for are missing).")
    if not shards:
        raise FileNotFoundError(f"{pattern}: no file is named so. Check data.annotations.")
    return shards


def root_of(annotations: Path) -> Path:
    """The folder that names of pictures begin at: the annotations, or the folder that their file or pattern lies in."""
    return next(path for path in (annotations, *annotations.parents) if path.is_dir())


def place_inside(place: Place, name: str) -> Path:
    """Where a name leads in the folder of annotations, from which its pictures are named.

    Raises:
        ValueError: If it leads elsewhere.
    """
    path = place.annotations / name
    if not path.is_relative_to(place.annotations):
        raise ValueError(
            f"data.{place.split_name}={name}: lies outside {place.annotations}. Make data.annotations a folder above "
            "it, and name it from there."
        )
    return path


def files_per_split(patterns: Sequence[str], all_files: Sequence[str]) -> Callable[[Place], Path]:
    """Finds the files of a split in the folder of annotations, or those that ``hash`` divides.

    Args:
        patterns: The format's own names; ``{split}`` stands for ``train``, ``val`` (or ``validation``, ``valid``,
            ``dev``) or ``test``.
        all_files: Names of all files of a folder, for ``hash``.
    """

    def find(place: Place) -> Path:
        annotations = place.annotations
        if not annotations.is_dir():
            if place.split is None:
                raise ValueError(
                    f"{annotations}: one set of files for every split. Set data.split=hash to divide it, or make "
                    "data.annotations the folder and name the files with data.train, data.val and data.test."
                )
            expand_shards(annotations)
            return annotations
        names = [place.file] if place.file else _names_of(place, patterns, all_files)
        for path in (place_inside(place, name) for name in names):
            if _matches(path):
                return path
        raise FileNotFoundError(
            f"{annotations}: has none of {', '.join(names)}. Check data.annotations, or name the files with "
            f"data.{place.split_name}."
        )

    return find


def _names_of(place: Place, patterns: Sequence[str], all_files: Sequence[str]) -> list[str]:
    if place.split is not None:
        return list(all_files)
    return [pattern.replace("{split}", name) for name in SPLIT_NAMES[place.split_name] for pattern in patterns]


def _matches(pattern: Path) -> bool:
    # A name that is written out and partly missing is found here and refused when it is read.
    folder = root_of(pattern)
    return any((folder / name).is_file() or _found(folder, name) for name in _names_under(folder, pattern))


def _names_under(folder: Path, pattern: Path) -> list[str]:
    # A folder that is there is meant as it is written, whatever marks its name has.
    return expand_braces(pattern.relative_to(folder).as_posix())


def _found(folder: Path, name: str) -> list[Path]:
    return [folder / found for found in glob.glob(name, root_dir=folder, recursive=True)]
