"""Whether the pictures of rows are there, and inside the folder of the pictures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from preprocessors.formats.rows import AnnotationRow
from preprocessors.pictures.files import is_there, list_pictures


class _Folder(NamedTuple):
    """What lies in a folder."""

    files: frozenset[str] = frozenset()
    links: frozenset[str] = frozenset()
    """Those of the files that are symbolic links."""
    is_outside: bool = False


class PicturePaths:
    """Finds the pictures of rows.

    Args:
        images: Folder of the pictures.
        allow_outside: Whether pictures may lie outside of it: under an absolute path, above it, or behind a symbolic
            link.
    """

    def __init__(self, images: Path, *, allow_outside: bool = False) -> None:
        self.images, self.allow_outside = images, allow_outside
        self._root = os.path.realpath(images)
        self._folders: dict[str, _Folder] = {}

    def find(self, row: AnnotationRow) -> AnnotationRow | None:
        """The row with its picture named as the disk has it; None if there is no such picture.

        Backslashes are taken for slashes where there is no file with them: annotations from Windows have them.

        Raises:
            ValueError: If the picture lies outside and must not.
        """
        if self._has(row):
            return row
        if "\\" not in row.image:
            return None
        other = row._replace(image=row.image.replace("\\", "/"))
        return other if self._has(other) else None

    def check_name(self, row: AnnotationRow) -> None:
        """Refuse a picture whose name alone leads outside; looks at no disk.

        Raises:
            ValueError: Naming the row.
        """
        name = row.image
        if self.allow_outside or not (".." in name or os.path.isabs(name)):
            return
        place = os.path.abspath(os.path.join(self.images, name))
        if not _is_inside(place, os.path.abspath(self.images)):
            raise self._outside(row, place)

    def _has(self, row: AnnotationRow) -> bool:
        self.check_name(row)
        path = os.path.join(self.images, row.image)
        parent, name = os.path.split(path)
        folder = self._folders.get(parent)
        if folder is None:
            folder = self._folders[parent] = self._list(parent)
        if name not in folder.files:
            return False
        if not self.allow_outside and (folder.is_outside or name in folder.links):
            place = os.path.realpath(path)
            if not _is_inside(place, self._root):
                raise self._outside(row, place)
        return True

    def _list(self, folder: str) -> _Folder:
        # One listing instead of a stat per row: on network drives a stat costs milliseconds.
        if not os.path.isdir(folder):
            outside = not _is_inside(os.path.realpath(folder), self._root)
            return _Folder(list_pictures(Path(folder)), is_outside=outside)  # what a tar or a table holds, or nothing
        with os.scandir(folder) as entries:
            files = {entry.name: entry.is_symlink() for entry in entries if is_there(entry)}
        links = frozenset(name for name, is_link in files.items() if is_link)
        return _Folder(frozenset(files), links, not _is_inside(os.path.realpath(folder), self._root))

    def _outside(self, row: AnnotationRow, place: str) -> ValueError:
        return ValueError(
            f"{row.where}: the picture {row.image!r} lies outside {self.images} ({place}). "
            f"Correct the row or data.images, or allow such pictures with data.allow_outside=true."
        )


def _is_inside(place: str, root: str) -> bool:
    return place == root or place.startswith(root.rstrip(os.sep) + os.sep)
