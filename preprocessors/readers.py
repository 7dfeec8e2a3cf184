"""Annotation files to caption examples: picks the split and the styles, and checks that the pictures are there."""

from __future__ import annotations

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

from preprocessors.examples import CaptionExample, DroppedRow, make_example_id, merge_examples
from preprocessors.formats.rows import AnnotationRow, Place, Source
from preprocessors.formats.table import FORMATS, HASH_SPLIT, HELD_OUT_SPLIT
from preprocessors.text.styles import fold_name

logger = logging.getLogger(__name__)

SplitName = Literal["train", "val", "test"]
BadImagePolicy = Literal["error", "skip", "ignore"]

MISSING_PICTURE = "missing picture"


@dataclass(frozen=True)
class ReadResult:
    """Examples of one split, the rows left out by policy, and the name of the split for the results."""

    examples: list[CaptionExample]
    dropped: list[DroppedRow] = field(default_factory=list)
    split_id: str = ""


def count_reasons(dropped: Iterable[DroppedRow]) -> dict[str, int]:
    """Number of dropped rows by reason, the most frequent first."""
    return dict(Counter(row.reason for row in dropped).most_common())


def hash_split(image: str) -> SplitName:
    """Split of a picture that depends on its name alone, so that it never changes and needs no list.

    SHA-256 of the file name in UTF-8, its first 8 hexadecimal digits as a number modulo 100: below 80 ``train``, below
    90 ``val``, else ``test``. All captions and styles of a picture fall into the same split.

    Args:
        image: File name of the picture, without its folder.
    """
    number = int(hashlib.sha256(image.encode("utf-8")).hexdigest()[:8], 16) % 100
    if number < 80:
        return "train"
    return "val" if number < 90 else "test"


def held_out_split(image: str, own: SplitName) -> SplitName:
    """Split of a picture where a tenth of the training pictures is held out, to choose on.

    Args:
        image: File name of the picture, without its folder.
        own: The split that its row carries.

    Returns:
        ``val`` for training pictures that :func:`hash_split` gives there, ``train`` for the others; ``test`` for all
        that the file keeps from training.
    """
    if own != "train":
        return "test"
    return "val" if hash_split(image) == "val" else "train"


def read_examples(
    format: str,
    *,
    annotations: Path,
    images: Path,
    split_name: SplitName,
    image_suffix: str = ".jpg",
    files: Mapping[str, str | None] | None = None,
    split: str | None = None,
    styles: Sequence[str] | None = None,
    on_bad_image: BadImagePolicy = "error",
) -> ReadResult:
    """Read one split of a captioned photo set.

    Args:
        format: Name of the format, one of ``preprocessors.formats.table.FORMATS``.
        annotations: Folder of the annotation files, or one file that holds every split.
        images: Folder of the pictures.
        split_name: The split to read.
        image_suffix: Put after picture names that come without one.
        files: File name by split name inside ``annotations``; the format's own name where it is None.
        split: How a file that holds every split is divided: by the split that its rows carry (the format's
            ``own_split``, which is then the default), ``hash`` by :func:`hash_split`, or ``held_out`` by
            :func:`held_out_split`.
        styles: Keep these only, compared without case; None keeps all.
        on_bad_image: Whether a missing picture is an ``error``, its row is left out (``skip``) and counted, or nobody
            looks (``ignore``: the captions alone are wanted).

    Returns:
        One example per (image, style) in the order of the file, the rows left out, and the split's name.

    Raises:
        FileNotFoundError: If an annotation file, the folder of pictures, or (with ``error``) a picture is missing.
        ValueError: If a row is unreadable, a style of ``styles`` does not occur, or nothing is left to read.
    """
    place = Place(Path(annotations), split_name, (files or {}).get(split_name), split)
    source = _find_source(format, place, image_suffix)
    in_split = list(_rows_of_split(FORMATS[format].open_rows(source), source, split_name))
    dropped = [DroppedRow(row.source, row.row, row.drop_reason, row.drop_detail) for row in in_split if row.drop_reason]
    rows = _select_styles([row for row in in_split if not row.drop_reason], styles, source.path)
    if on_bad_image != "ignore":
        rows, without_picture = _check_pictures(rows, Path(images), on_bad_image)
        dropped += without_picture
    if not rows:
        raise ValueError(f"{source.path}: no row of {split_name!r} is left; dropped: {count_reasons(dropped)}.")
    if dropped:
        logger.warning("%s: dropped %d rows of %s: %s", source.path, len(dropped), split_name, count_reasons(dropped))
    examples = merge_examples(example for row in rows for example in _examples_of(row, Path(images)))
    return ReadResult(examples, dropped, source.split_id)


def _find_source(name: str, place: Place, image_suffix: str) -> Source:
    form = FORMATS[name]
    split = place.split or form.own_split
    known = [None, HASH_SPLIT] + [HELD_OUT_SPLIT, form.own_split] * (form.own_split is not None)
    if split not in known:
        raise ValueError(
            f"data.split={split}: data.format={name} has no {str(split).capitalize()} split. "
            f"Use data.split={HASH_SPLIT} or none."
        )
    path = form.find(place._replace(split=split))
    divisions = {
        None: path.name,
        HASH_SPLIT: "hash-sha256-80-10-10",
        HELD_OUT_SPLIT: f"{form.own_split}-train-held-out-sha256-10",
    }
    division = divisions.get(split, split)
    return Source(path, split, f"{form.data_set}/{division}", image_suffix)


def _rows_of_split(rows: Iterator[AnnotationRow], source: Source, split_name: SplitName) -> Iterator[AnnotationRow]:
    counts: Counter[str] = Counter()
    for row in rows:
        belongs_to = _split_of(row, source.split) if source.split else split_name
        counts[belongs_to] += 1
        if belongs_to == split_name:
            yield row
    if not counts:
        raise ValueError(f"{source.path}: the file has no rows. Check data.annotations and data.{split_name}.")
    if not counts[split_name]:
        found = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise ValueError(
            f"{source.path}: {source.split_id} has no rows for {split_name!r} (rows: {found}). "
            f"Use another split, or data.split=hash, which has all three."
        )


def _split_of(row: AnnotationRow, split: str) -> str:
    if split == HASH_SPLIT:
        return hash_split(Path(row.image).name)
    if row.split is None:
        raise ValueError(
            f"{row.where}: {row.image} is in no {split.capitalize()} split. Correct the row, or set data.split=hash."
        )
    own = cast(SplitName, row.split)
    return own if split != HELD_OUT_SPLIT else held_out_split(Path(row.image).name, own)


def _select_styles(rows: list[AnnotationRow], styles: Sequence[str] | None, path: Path) -> list[AnnotationRow]:
    if styles is None:
        return rows
    present = {fold_name(style): style for row in rows for style in row.captions}
    wanted = {fold_name(style): style for style in styles}
    absent = [style for key, style in wanted.items() if key not in present]
    if absent:
        raise ValueError(
            f"{path}: data.styles or eval.styles names {', '.join(map(repr, absent))}, which no row has. "
            f"Its styles: {', '.join(sorted(present.values())[:10])}{', ...' if len(present) > 10 else ''}."
        )
    selected = (
        row._replace(captions={style: texts for style, texts in row.captions.items() if fold_name(style) in wanted})
        for row in rows
    )
    return [row for row in selected if row.captions]


def _check_pictures(
    rows: list[AnnotationRow], images: Path, on_bad_image: BadImagePolicy
) -> tuple[list[AnnotationRow], list[DroppedRow]]:
    if not images.is_dir():
        raise FileNotFoundError(f"{images}: folder of pictures not found. Set data.images.")
    listings: dict[Path, frozenset[str]] = {}
    found: list[AnnotationRow] = []
    missing: list[AnnotationRow] = []
    for row in rows:
        path = images / row.image
        if path.parent not in listings:
            listings[path.parent] = _list_files(path.parent)
        (found if path.name in listings[path.parent] else missing).append(row)
    if missing and on_bad_image == "error":
        raise FileNotFoundError(
            f"{missing[0].where}: no picture {images / missing[0].image} "
            f"({len(missing)} of {len(rows)} rows have none). "
            f"Check data.images and data.image_suffix, or leave such rows out with data.on_bad_image=skip."
        )
    return found, [DroppedRow(row.source, row.row, MISSING_PICTURE, str(images / row.image)) for row in missing]


def _list_files(folder: Path) -> frozenset[str]:
    # One listing instead of a stat per row: on network drives a stat costs milliseconds.
    if not folder.is_dir():
        return frozenset()
    with os.scandir(folder) as entries:
        return frozenset(entry.name for entry in entries if _is_there(entry))


def _is_there(entry: os.DirEntry[str]) -> bool:
    """Whether something lies there; if it is no file, opening the picture says what it is, with the row."""
    try:
        return not entry.is_symlink() or entry.stat() is not None
    except FileNotFoundError:
        return False
    except OSError:  # a link that leads in a circle
        return True


def _examples_of(row: AnnotationRow, images: Path) -> Iterator[CaptionExample]:
    for style, captions in row.captions.items():
        example_id = make_example_id(row.image, style)
        yield CaptionExample(example_id, images / row.image, style, captions, row.source, row.row)
