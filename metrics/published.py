"""Captions of data sets as they are published, by the readers that training uses."""

from __future__ import annotations

import logging
from pathlib import Path

from metrics.caption_table import CaptionTable
from preprocessors.formats.recognition import open_rows, recognise
from preprocessors.formats.rows import AnnotationRow, Source

logger = logging.getLogger(__name__)

UNSTYLED = ""
"""Style of captions whose file gives none."""
COCO_FORMS = ("coco", "nocaps")
"""Read by :mod:`metrics.caption_files`, which asks less of them than training does."""


def read_published(path: Path) -> CaptionTable | None:
    """The captions of a file in the form of a data set, or of a folder of FlickrStyle10K; None in any other form.

    An example's key is the picture's id, or its name where it has none, with ``#<style>`` where it has a style.

    Raises:
        ValueError: If a row cannot be read.
    """
    rows = _open(path)
    if rows is None:
        return None
    table = CaptionTable(path)
    bare = 0
    for row in rows:
        image = row.image_id or row.image
        for style, captions in row.captions.items():
            bare += not captions
            key = image if style == UNSTYLED else f"{image}#{style}"
            if captions:
                table.captions.setdefault(key, []).extend(captions)
                table.images[key], table.files[key] = image, row.image
                for held, value in ((table.styles, style), (table.splits, row.split)):
                    if value:
                        held[key] = value
    if bare:
        logger.warning("%s: %s pictures have no captions and are left out", path, f"{bare:,}")
    return table


def read_published_by_style(path: Path) -> dict[str, list[str]] | None:
    """Training captions of such a file by style; of one that carries splits those of its training split."""
    rows = _open(path)
    if rows is None:
        return None
    by_style: dict[str, list[str]] = {}
    for row in rows:
        for style, captions in row.captions.items():
            if captions and row.split in (None, "train"):
                by_style.setdefault(style, []).extend(captions)
    return by_style


def _open(path: Path) -> list[AnnotationRow] | None:
    # A pipe can be read only once.
    name = recognise(path) if path.is_file() or path.is_dir() else None
    if name is None or name in COCO_FORMS:
        return None
    rows = [*open_rows(name, Source(path, None, "", "", neutral=UNSTYLED))]
    dropped = sum(bool(row.drop_reason) for row in rows)
    if dropped:
        logger.warning("%s: %d rows are left out, as in training", path, dropped)
    logger.info("%s: read as %s", path, name)
    return [row for row in rows if not row.drop_reason]
