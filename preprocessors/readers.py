"""Annotation files to caption examples: picks the split and the styles, and checks that the pictures are there."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

import numpy as np

from preprocessors.example_table import ExampleTable, TableBuilder
from preprocessors.examples import CaptionExample, DroppedRow
from preprocessors.formats.bad_rows import BAD_ROW
from preprocessors.formats.recognition import find_source, name_other_form
from preprocessors.formats.rows import NEUTRAL, REMEDY, WITHOUT_CAPTION, AnnotationRow, Place, Source
from preprocessors.formats.shards import root_of
from preprocessors.formats.table import HASH_SPLIT, HELD_OUT_SPLIT, format_of
from preprocessors.picture_paths import PicturePaths
from preprocessors.row_filters import (
    NO_CAPTION,
    BadImagePolicy,
    BadRowPolicy,
    PictureFilter,
    RowPolicy,
    StyleFilter,
)
from preprocessors.text.style_names import spelled_out

logger = logging.getLogger(__name__)

SplitName = Literal["train", "val", "test"]

NO_SPLIT = "in no split"


class NoRows(ValueError):
    """The annotations have no rows for a split."""


@dataclass(frozen=True)
class ReadResult:
    """Examples of one split, the rows left out by policy, and the name of the split for the results."""

    examples: Sequence[CaptionExample]
    dropped: list[DroppedRow] = field(default_factory=list)
    split_id: str = ""

    @property
    def has_captions(self) -> bool:
        """Whether there is anything to compare captions with: a server's test split has none, and then in no row."""
        return len(self.examples) == 0 or bool(self.examples[0].captions)


def count_reasons(dropped: Iterable[DroppedRow]) -> dict[str, int]:
    """Number of dropped rows by reason, the most frequent first."""
    return dict(Counter(row.reason for row in dropped).most_common())


def hash_split(image: str, salt: str | None = None) -> SplitName:
    """Split of a picture that depends on its name alone, so that it never changes and needs no list.

    SHA-256 of the file name in UTF-8, its first 8 hexadecimal digits as a number modulo 100: below 80 ``train``, below
    90 ``val``, else ``test``. All captions and styles of a picture fall into the same split.

    Args:
        image: File name of the picture, without its folder.
        salt: Name of another division: stands before the file name, with a slash between them. None is the published
            one.
    """
    salted = image if salt is None else f"{salt}/{image}"
    number = int(hashlib.sha256(salted.encode("utf-8", "surrogatepass")).hexdigest()[:8], 16) % 100
    if number < 80:
        return "train"
    return "val" if number < 90 else "test"


def held_out_split(image: str, own: SplitName, salt: str | None = None) -> SplitName:
    """Split of a picture where a tenth of the training pictures is held out, to choose on.

    Args:
        image: File name of the picture, without its folder.
        own: The split that its row carries.
        salt: As in :func:`hash_split`.

    Returns:
        ``val`` for training pictures that :func:`hash_split` gives there, ``train`` for the others; ``test`` for all
        that the file keeps from training.
    """
    if own != "train":
        return "test"
    return "val" if hash_split(image, salt) == "val" else "train"


def read_examples(
    format: str,
    *,
    annotations: Path,
    images: Path,
    split_name: SplitName,
    image_suffix: str = ".jpg",
    files: Mapping[str, str | None] | None = None,
    split: str | None = None,
    split_salt: str | None = None,
    styles: Sequence[str] | None = None,
    aliases: Mapping[str, str] | None = None,
    on_bad_image: BadImagePolicy = "error",
    columns: Mapping[str, str] | None = None,
    neutral: str = NEUTRAL,
    on_bad_row: BadRowPolicy = "error",
    allow_outside: bool = False,
) -> ReadResult:
    """Read one split of a captioned photo set, row by row: what stays in memory is the examples in columns.

    Args:
        format: Name of the format, as for ``preprocessors.formats.table.format_of``.
        annotations: Folder of the annotation files, or one file that holds every split.
        images: Folder of the pictures; not looked at by formats that hold them.
        split_name: The split to read.
        image_suffix: Put after picture names that come without one.
        files: File name by split name inside ``annotations``; the format's own name where it is None.
        split: How a file that holds every split is divided: by the split that its rows carry (the format's
            ``own_split``, which is then the default), ``hash`` by :func:`hash_split`, or ``held_out`` by
            :func:`held_out_split`.
        split_salt: Of ``hash`` and ``held_out``.
        styles: Keep these only, compared without case; None keeps all.
        aliases: Other spellings of styles, in the file and in ``styles``, each to the style's name.
        on_bad_image: Whether a missing picture is an ``error``, its row is left out (``skip``) and counted, or nobody
            looks (``ignore``: the captions alone are wanted).
        columns: For files of one's own: what a column holds, by its name; None = the usual names.
        neutral: The style of captions whose data set gives none.
        on_bad_row: Whether a row that cannot be read, is in no split or has no captions is an ``error``, or is left out
            (``skip``) and counted. Of a file that holds every split such rows are counted with each of them, for
            nobody knows where they belong.
        allow_outside: Whether pictures may lie outside ``images``.

    Returns:
        One example per (image, style) in the order of the file, the rows left out, and the split's name. Examples of a
        test split may be without captions, but then all of them.

    Raises:
        FileNotFoundError: If an annotation file, the folder of pictures, or (with ``error``) a picture is missing.
        NoRows: If there are no rows for the split.
        ValueError: If a row is unreadable, a picture lies outside, a style of ``styles`` does not occur, or nothing is
            left to read.
    """
    place = Place(Path(annotations), split_name, (files or {}).get(split_name), split)
    if format_of(format).holds_pictures:
        images = root_of(place.annotations)
    source = _find_source(format, place, image_suffix, split_salt)
    is_test = split_name == "test"
    source = source._replace(columns=columns or {}, neutral=neutral, images=Path(images), may_lack_captions=is_test)
    bad, known = RowPolicy(on_bad_row), aliases or {}
    chosen = StyleFilter(styles and [spelled_out(style, known) for style in styles], source.path)
    pictures = PictureFilter(PicturePaths(Path(images), allow_outside=allow_outside), on_bad_image)
    builder = TableBuilder(Path(images))
    rows = _rows_of_split(bad.read(format, source), source, _Division(split_name, source.split, split_salt), bad)
    dropped: list[DroppedRow] = []
    uncaptioned: dict[tuple[str, int], DroppedRow] = {}
    for row in rows:
        if row.drop_reason:
            gone = DroppedRow(row.source, row.row, row.drop_reason, row.drop_detail)
            if not is_test or row.drop_reason != WITHOUT_CAPTION:
                dropped.append(gone)
                continue
            uncaptioned[row.source, row.row] = gone
        captions = chosen.select(_name_styles(row, known) if known else row)
        if not captions or (not is_test and bad.is_without_captions(row)):
            continue
        found = pictures.find(row)
        if found is not None:
            for style, texts in captions.items():
                builder.add(found.image, style, texts, row.source, row.row)
    chosen.check()
    pictures.check()
    examples = builder.build()
    if examples.num_captions().any():
        dropped += uncaptioned.values()
    examples = _all_or_none_captioned(examples, bad, uncaptioned.keys())
    dropped += [*bad.dropped, *pictures.dropped]
    if not len(examples):
        if all(row.reason == BAD_ROW for row in dropped):
            name_other_form(format, source.path, "not one row can be read")
        raise ValueError(
            f"{source.path}: no row of {split_name!r} is left; dropped: {count_reasons(dropped)}. "
            f"The first: {_describe(dropped[0])}"
        )
    if dropped:
        logger.warning("%s: dropped %d rows of %s: %s", source.path, len(dropped), split_name, count_reasons(dropped))
    return ReadResult(examples, sorted(dropped, key=lambda row: (row.source, row.row)), source.split_id)


def _find_source(name: str, place: Place, image_suffix: str, salt: str | None) -> Source:
    form = format_of(name)
    split = place.split or form.own_split
    known = [None, HASH_SPLIT] + [HELD_OUT_SPLIT, form.own_split] * (form.own_split is not None)
    if split not in known:
        raise ValueError(
            f"data.split={split}: data.format={name} has no {str(split).capitalize()} split. "
            f"Use data.split={HASH_SPLIT} or none."
        )
    path = find_source(name, place._replace(split=split))
    salted = "" if salt is None else f"-salt-{salt}"
    divisions = {
        None: path.name,
        HASH_SPLIT: f"hash-sha256-80-10-10{salted}",
        HELD_OUT_SPLIT: f"{form.own_split}-train-held-out-sha256-10{salted}",
    }
    division = divisions.get(split, split)
    return Source(path, split, f"{form.data_set}/{division}", image_suffix)


@dataclass(frozen=True)
class _Division:
    """Which rows belong to a split."""

    split_name: SplitName
    split: str | None
    salt: str | None

    def split_of(self, row: AnnotationRow) -> str:
        if self.split is None:
            return self.split_name
        name = Path(row.image.replace("\\", "/")).name
        if self.split == HASH_SPLIT:
            return hash_split(name, self.salt)
        if row.split is None:
            raise ValueError(
                f"{row.where}: {row.image} is in no {self.split.capitalize()} split. Correct the row, or set "
                f"data.split=hash, or leave such rows out with data.on_bad_row=skip."
            )
        own = cast(SplitName, row.split)
        return own if self.split != HELD_OUT_SPLIT else held_out_split(name, own, self.salt)


def _rows_of_split(
    rows: Iterator[AnnotationRow], source: Source, division: _Division, bad: RowPolicy
) -> Iterator[AnnotationRow]:
    counts: Counter[str] = Counter()
    split_name = division.split_name
    for row in rows:
        try:
            belongs_to = division.split_of(row)
        except ValueError as error:
            bad.leave_out(DroppedRow(row.source, row.row, NO_SPLIT, row.image), str(error))
            continue
        counts[belongs_to] += 1
        if belongs_to == split_name:
            yield row
    if not counts and not bad.dropped:
        raise NoRows(f"{source.path}: the file has no rows. Check data.annotations and data.{split_name}.")
    if counts and not counts[split_name]:
        found = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise NoRows(
            f"{source.path}: {source.split_id} has no rows for {split_name!r} (rows: {found}). "
            f"Use another split, or data.split=hash, which has all three."
        )


def _describe(gone: DroppedRow) -> str:
    if gone.reason == BAD_ROW:
        return gone.detail  # names file and row
    remedy = "; data.split=hash divides pictures by their names" if gone.reason == NO_SPLIT else ""
    return f"{gone.source}, row {gone.row}: {gone.reason} {gone.detail}{remedy}."


def _name_styles(row: AnnotationRow, aliases: Mapping[str, str]) -> AnnotationRow:
    """The row with the styles' names in place of aliases; captions of a style under several names come together."""
    captions: dict[str, tuple[str, ...]] = {}
    for style, texts in row.captions.items():
        name = spelled_out(style, aliases)
        captions[name] = (*captions.get(name, ()), *texts)
    return row._replace(captions=captions)


def _all_or_none_captioned(
    examples: ExampleTable, bad: RowPolicy, passed_over: Container[tuple[str, int]]
) -> ExampleTable:
    """Of a split with captions those without are bad rows; with none at all they are what there is to caption.

    Args:
        examples: Of a split.
        bad: What becomes of bad rows.
        passed_over: File and row of examples without captions that are just left out of a split with captions.
    """
    is_captioned = examples.num_captions() > 0
    if is_captioned.all() or not is_captioned.any():
        return examples
    for place in np.flatnonzero(~is_captioned):
        example = examples[int(place)]
        if (example.source, example.row) in passed_over:
            continue
        bad.leave_out(
            DroppedRow(example.source, example.row, NO_CAPTION, example.style),
            f"{example.where}: no caption in style {example.style!r}, and other rows of the split have some. {REMEDY}",
        )
    return examples.take(np.flatnonzero(is_captioned))
