"""A text file for each picture, beside it or in a folder of its own: a caption in each line."""

from __future__ import annotations

from pathlib import Path

from captioning.outputs.target import Target, check_place, one_line
from captioning.wanted import Answer, WantedPicture
from utils.io import write_text

NOT_IN_NAMES = frozenset('%/\\:*?"<>|.')
"""Characters that a file's name cannot have everywhere, or that would end it; written as ``%2F``."""


class Sidecars:
    """``a.txt`` for ``a.jpg``, or ``a.pirate.txt`` if a picture is captioned in several styles."""

    def __init__(self, target: Target) -> None:
        if target.out is not None and target.out.exists() and not target.out.is_dir():
            raise ValueError(f"{target.out}: is a file; sidecar files need a folder")
        self._target = target
        self._styled = any(len(picture.styles()) > 1 for picture in target.pictures)
        found: dict[Path, WantedPicture] = {}
        there = 0
        for picture in target.pictures:
            for style in picture.styles():
                path = self._path(picture, style)
                other = found.setdefault(path, picture)
                if other is not picture:
                    raise ValueError(f"{other.name} and {picture.name} would both be captioned in {path}; rename one")
                there += path.exists()
        for path in {path.parent: path for path in found}.values():
            check_place(path)
        if there and not (target.skip_existing or target.overwrite):
            first = next(path for path in found if path.exists())
            raise ValueError(
                f"{first}: is there already ({there} of {len(found)} such files are); "
                "--skip-existing captions what is missing, and --overwrite replaces them"
            )

    def has(self, picture: WantedPicture, style: str) -> bool:
        """Whether its file is there."""
        return self._target.skip_existing and self._path(picture, style).exists()

    def add(self, answer: Answer) -> None:
        """Write its files; a picture with an error has none."""
        for style in answer.picture.styles() if not answer.error else ():
            captions = answer.captions[style]
            write_text(
                self._path(answer.picture, style), "".join(f"{one_line(caption.text)}\n" for caption in captions)
            )

    def close(self) -> None:
        """Nothing is left to be written."""

    def _path(self, picture: WantedPicture, style: str) -> Path:
        out = self._target.out
        if out is None and picture.path.parent.is_file():
            raise ValueError(f"{picture.name}: lies in a container; name a folder for the captions with --out")
        beside = picture.path if out is None else out / picture.below
        mark = "".join(f"%{ord(sign):02X}" if sign in NOT_IN_NAMES else sign for sign in style)
        return beside.with_name(f"{beside.stem}.{mark}.txt" if self._styled else f"{beside.stem}.txt")
