"""Names of pictures: those that are not there, and those that differ in their spelling alone."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from preprocessors.checks.captions import Splits
from preprocessors.checks.findings import Case, Findings
from preprocessors.examples import CaptionExample
from preprocessors.pictures.files import is_there, list_pictures


def check_names(splits: Splits, images: Path, findings: Findings) -> set[Path]:
    """Add what is wrong with the names of pictures.

    Args:
        splits: Examples by split.
        images: Folder of the pictures.
        findings: To add to.

    Returns:
        The pictures that are there.
    """
    firsts = first_by_picture(splits)
    there = _existing(firsts)
    missing = {path: example for path, example in firsts.items() if path not in there}
    spelled = _spellings(images) if missing else {}
    meant = {path: found for path in missing if (found := spelled.get(_key(path, images)))}
    meant = {path: found for path, found in meant.items() if images / found != path}  # a link that leads nowhere
    findings.add(
        "name_of_another_form",
        (Case(missing[path].where, f"{missing[path].image_name} (the file is {name})") for path, name in meant.items()),
    )
    absent = {path: example for path, example in missing.items() if path not in meant}
    findings.add("missing_picture", (Case(example.where, str(path)) for path, example in absent.items()))
    findings.add("similar_picture_names", _similar(there, firsts, images))
    return there


def first_by_picture(splits: Splits) -> dict[Path, CaptionExample]:
    """Each picture with the first example that shows it."""
    firsts: dict[Path, CaptionExample] = {}
    for examples in splits.values():
        for example in examples:
            firsts.setdefault(example.image_path, example)
    return firsts


def fold_path(name: str) -> str:
    """The form in which names of pictures are compared: composed, without case, with slashes."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold()).replace("\\", "/")


def _key(path: Path, images: Path) -> str:
    return fold_path(os.path.relpath(path, images))


def _existing(paths: Iterable[Path]) -> set[Path]:
    # One listing a folder instead of a stat a picture: on network drives a stat costs milliseconds.
    listings: dict[Path, frozenset[str]] = {}
    there = set()
    for path in paths:
        if path.parent not in listings:
            listings[path.parent] = _names_in(path.parent)
        if path.name in listings[path.parent]:
            there.add(path)
    return there


def _names_in(place: Path) -> frozenset[str]:
    try:
        if not place.is_dir():
            return list_pictures(place)  # what a tar or a table holds, or nothing
        with os.scandir(place) as entries:
            return frozenset(entry.name for entry in entries if is_there(entry))
    except (OSError, ValueError):
        return frozenset()


def _spellings(images: Path) -> Mapping[str, str]:
    """Files below the folder by the folded form of their names."""
    found: dict[str, str] = {}
    for root, _, names in os.walk(images):
        for name in names:
            relative = os.path.relpath(os.path.join(root, name), images)
            found.setdefault(fold_path(relative), relative)
    return found


def _similar(there: set[Path], firsts: Mapping[Path, CaptionExample], images: Path) -> Iterator[Case]:
    groups: dict[str, list[Path]] = {}
    for path in firsts:
        if path in there:
            groups.setdefault(_key(path, images), []).append(path)
    for paths in groups.values():
        yield from _others(paths, firsts)


def _others(paths: Sequence[Path], firsts: Mapping[Path, CaptionExample]) -> Iterator[Case]:
    for path in paths[1:]:
        value = f"{firsts[path].image_name} beside {firsts[paths[0]].image_name}"
        yield Case(firsts[path].where, value, (paths[0], path))
