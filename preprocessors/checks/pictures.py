"""Pictures that are damaged, lie on their side, or stand there twice; from what is known of opened pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocessors.checks.captions import Splits
from preprocessors.checks.findings import Case, Findings
from preprocessors.checks.names import first_by_picture
from preprocessors.checks.near import near_pairs
from preprocessors.examples import CaptionExample
from preprocessors.pictures.inspection import GREY_SHARE
from preprocessors.pictures.record import PictureRecord, groups_of

CUT_SHORT = ("truncated", "unexpected end", "end of file", "broken data stream", "incomplete")
"""What Pillow says of files that end too early."""


def check_faults(faults: Mapping[Path, str], splits: Splits, findings: Findings) -> None:
    """Add the pictures that cannot be read, by what is wrong with them."""
    firsts = first_by_picture(splits)
    for kind, is_cut in (("truncated_picture", True), ("undecodable_picture", False)):
        chosen = (path for path, fault in faults.items() if is_cut_short(fault) == is_cut)
        findings.add(kind, (Case(firsts[path].where, faults[path], (path,)) for path in chosen))


def is_cut_short(fault: str) -> bool:
    """Whether a picture's fault is that its file ends too early."""
    return any(words in fault.lower() for words in CUT_SHORT)


def check_pictures(splits: Splits, record: PictureRecord, findings: Findings, *, near: bool = True) -> None:
    """Add what is wrong with pictures that open.

    Args:
        splits: Examples by split.
        record: Knows their pictures; those that it does not know are passed over.
        findings: To add to.
        near: Whether those that only look alike are sought as well.
    """
    firsts = first_by_picture(splits)
    paths = list(firsts)
    rows = record.facts(paths)
    _check_parts(paths, rows, firsts, findings)
    own = _splits_of(splits)
    same = _same_pictures(rows)
    twice = _in_two_splits(paths, own, firsts, same)
    findings.add("picture_in_two_splits", twice.values())
    findings.add("duplicate_picture", _duplicates(paths, own, firsts, same))
    if near:
        _check_near(paths, rows, own, firsts, findings)


def _check_parts(
    paths: Sequence[Path], rows: NDArray[Any], firsts: Mapping[Path, CaptionExample], findings: Findings
) -> None:
    for place in np.flatnonzero(rows["key"]).tolist():
        path, facts = paths[place], rows[place]
        where = firsts[path].where
        if facts["grey_share"] >= GREY_SHARE:
            value = f"{path.name} ({facts['grey_share']:.0%} of its height is one grey)"
            findings.add("half_grey_picture", [Case(where, value, (path,))])
        elif facts["has_hole"]:
            findings.add("half_grey_picture", [Case(where, f"{path.name} (zeros in the file)", (path,))])
        if facts["orientation"] > 1:
            value = f"{path.name} (EXIF orientation {facts['orientation']})"
            findings.add("sideways_picture", [Case(where, value, (path,))])


def _splits_of(splits: Splits) -> dict[Path, list[str]]:
    own: dict[Path, list[str]] = {}
    for name, examples in splits.items():
        for path in dict.fromkeys(example.image_path for example in examples):
            own.setdefault(path, []).append(name)
    return own


def _same_pictures(rows: NDArray[Any]) -> list[list[int]]:
    """Groups of places whose files or pixels are the same."""
    leaders = list(range(len(rows)))

    def leader(place: int) -> int:
        while leaders[place] != place:
            leaders[place] = place = leaders[leaders[place]]
        return place

    for name in ("file_hash", "pixel_hash"):
        for group in groups_of(rows, name):
            for place in group[1:]:
                first, second = sorted((leader(int(group[0])), leader(int(place))))
                leaders[second] = first
    groups: dict[int, list[int]] = {}
    for place in range(len(rows)):
        groups.setdefault(leader(place), []).append(place)
    return [group for group in groups.values() if len(group) > 1]


def _in_two_splits(
    paths: Sequence[Path],
    own: Mapping[Path, Sequence[str]],
    firsts: Mapping[Path, CaptionExample],
    same: Iterable[Sequence[int]],
) -> dict[Path, Case]:
    """By picture, those of which the same file, bytes or pixels stand in two splits; each picture once."""
    found: dict[Path, Case] = {}
    for path in paths:
        if len(own[path]) > 1:
            found[path] = Case(firsts[path].where, f"{firsts[path].image_name} in {_and(own[path])}", (path,))
    for group in same:
        members = [paths[place] for place in group]
        names = list(dict.fromkeys(name for path in members for name in own[path]))
        if len(names) > 1 and not any(path in found for path in members):
            first = members[0]
            other = next(path for path in members if own[path] != own[first])
            value = (
                f"{firsts[first].image_name} in {_and(own[first])}, {firsts[other].image_name} in {_and(own[other])}"
            )
            found[first] = Case(firsts[other].where, value, (first, other))
    return found


def _duplicates(
    paths: Sequence[Path],
    own: Mapping[Path, Sequence[str]],
    firsts: Mapping[Path, CaptionExample],
    same: Iterable[Sequence[int]],
) -> Iterator[Case]:
    """Copies within a split."""
    for group in same:
        seen: dict[str, Path] = {}
        for path in (paths[place] for place in group):
            name = own[path][0]
            first = seen.setdefault(name, path)
            if first != path:
                value = f"{firsts[path].image_name} is {firsts[first].image_name}"
                yield Case(firsts[path].where, value, (first, path))


def _check_near(
    paths: Sequence[Path],
    rows: NDArray[Any],
    own: Mapping[Path, Sequence[str]],
    firsts: Mapping[Path, CaptionExample],
    findings: Findings,
) -> None:
    for first, second in near_pairs(rows):
        one, other = paths[first], paths[second]
        within = {*own[one]} & {*own[other]}
        kind = "near_duplicate_picture" if within else "near_duplicate_in_two_splits"
        places = "" if within else f" ({_and(own[other])}, {_and(own[one])})"
        value = f"{firsts[other].image_name} looks like {firsts[one].image_name}{places}"
        findings.add(kind, [Case(firsts[other].where, value, (one, other))])


def _and(names: Iterable[str]) -> str:
    return " and ".join(names)
