"""What becomes of rows that cannot be used, of styles that are not wanted, and of rows without a picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from preprocessors.examples import DroppedRow
from preprocessors.formats.bad_rows import BadRows
from preprocessors.formats.recognition import open_rows
from preprocessors.formats.rows import REMEDY, AnnotationRow, Source
from preprocessors.picture_paths import PicturePaths
from preprocessors.pictures.files import holds_pictures
from preprocessors.text.style_names import fold_name

BadImagePolicy = Literal["error", "skip", "ignore"]
BadRowPolicy = Literal["error", "skip"]

MISSING_PICTURE = "missing picture"
NO_CAPTION = "no caption"


class RowPolicy:
    """What becomes of rows that cannot be used: an error, or left out and noted."""

    def __init__(self, on_bad_row: BadRowPolicy) -> None:
        self._skips, self._reader, self._dropped = on_bad_row == "skip", BadRows(), list[DroppedRow]()

    @property
    def dropped(self) -> list[DroppedRow]:
        """The rows that were left out."""
        return [*self._reader.dropped, *self._dropped]

    def read(self, format: str, source: Source) -> Iterator[AnnotationRow]:
        """The rows of a source, without those that cannot be read if such rows are left out."""
        opened = partial(open_rows, format, source)
        return self._reader.read(opened) if self._skips else opened()

    def leave_out(self, row: DroppedRow, message: str) -> None:
        """Note a row that is left out.

        Raises:
            ValueError: With the message, if such rows are errors.
        """
        if not self._skips:
            raise ValueError(message)
        self._dropped.append(row)

    def is_without_captions(self, row: AnnotationRow) -> bool:
        """Whether a row has no captions in a style, and is left out for it; raises as :meth:`leave_out` does."""
        style = next((style for style, texts in row.captions.items() if not texts), None)
        if style is None:
            return False
        self.leave_out(
            DroppedRow(row.source, row.row, NO_CAPTION, style),
            f"{row.where}: no caption in style {style!r}; only a test split may be without. {REMEDY}",
        )
        return True


class StyleFilter:
    """The styles to keep; None keeps all.

    Args:
        styles: Compared without case.
        path: Of the annotations, for messages.
    """

    def __init__(self, styles: Sequence[str] | None, path: Path) -> None:
        self._wanted = None if styles is None else {fold_name(style): style for style in styles}
        self._path, self._present = path, dict[str, str]()

    def select(self, row: AnnotationRow) -> Mapping[str, tuple[str, ...]]:
        """The captions of a row in these styles."""
        if self._wanted is None:
            return row.captions
        self._present.update((fold_name(style), style) for style in row.captions)
        return {style: texts for style, texts in row.captions.items() if fold_name(style) in self._wanted}

    def check(self) -> None:
        """Refuse styles that no row had."""
        present = self._present
        absent = [style for key, style in (self._wanted or {}).items() if key not in present]
        if absent:
            raise ValueError(
                f"{self._path}: data.styles or eval.styles names {', '.join(map(repr, absent))}, which no row has. "
                f"Its styles: {', '.join(sorted(present.values())[:10])}{', ...' if len(present) > 10 else ''}."
            )


class PictureFilter:
    """The pictures of the rows, and what becomes of rows without.

    Args:
        paths: Where they are looked for.
        on_bad_image: Whether a missing one is an ``error``, its row is left out (``skip``), or nobody looks
            (``ignore``).

    Raises:
        FileNotFoundError: If the folder of the pictures is missing.
    """

    def __init__(self, paths: PicturePaths, on_bad_image: BadImagePolicy) -> None:
        if on_bad_image != "ignore" and not holds_pictures(paths.images):
            raise FileNotFoundError(f"{paths.images}: folder of pictures not found. Set data.images.")
        self._paths, self._policy = paths, on_bad_image
        self._num_rows, self._where = 0, ""
        self.dropped: list[DroppedRow] = []

    def find(self, row: AnnotationRow) -> AnnotationRow | None:
        """The row with its picture as the disk names it; None if there is none, which is noted."""
        if self._policy == "ignore" and "\\" not in row.image:
            self._paths.check_name(row)
            return row
        self._num_rows += 1
        found = self._paths.find(row)
        if self._policy == "ignore":
            return found or row
        if found is None:
            missing = str(self._paths.images / row.image)
            self._where = self._where or row.where
            self.dropped.append(DroppedRow(row.source, row.row, MISSING_PICTURE, missing))
        return found

    def check(self) -> None:
        """Refuse missing pictures, all at once, if they are errors."""
        if self.dropped and self._policy == "error":
            raise FileNotFoundError(
                f"{self._where}: no picture {self.dropped[0].detail} "
                f"({len(self.dropped)} of {self._num_rows} rows have none). "
                f"Check data.images and data.image_suffix, or leave such rows out with data.on_bad_image=skip."
            )
