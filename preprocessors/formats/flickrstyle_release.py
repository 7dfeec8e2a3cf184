"""FlickrStyle10K as it was released: files of captions, and pickled lists of the pictures that they are of."""

from __future__ import annotations

import pickletools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from preprocessors.formats.bad_rows import leaving_out
from preprocessors.formats.flickrstyle import FLICKR8K_SPLITS
from preprocessors.formats.rows import REMEDY, AnnotationRow, Format, Sample, require_file

RELEASE_CAPTIONS = {"humorous": "funny_train.txt", "romantic": "romantic_train.txt"}
RELEASE_FOLDERS = {"humorous": "humor", "romantic": "romantic"}
"""Of the published archive; each holds the style's captions and names."""
SHARED_NAMES = "train_fu.p"
RELEASE_NAMES = {
    "humorous": (SHARED_NAMES, "train.p"),
    "romantic": ("train_ro.p", SHARED_NAMES, "train.p"),
}
"""Names of the list of pictures, of mirrors and of the archive, the first that is there; one list may serve both."""
# All that a pickled list of names needs, in any protocol. None of these opcodes can import or call anything.
LIST_OPCODES = frozenset(
    "PROTO FRAME MARK LIST EMPTY_LIST APPEND APPENDS STOP PUT BINPUT LONG_BINPUT MEMOIZE "
    "UNICODE BINUNICODE SHORT_BINUNICODE STRING BINSTRING SHORT_BINSTRING".split()
)


class StyleFiles(NamedTuple):
    """The two files of a style."""

    captions: Path
    names: Path


def flickrstyle_release_rows(folder: Path, *, with_splits: bool) -> Iterator[AnnotationRow]:
    """Rows of FlickrStyle10K's own files: for each style captions, line by line, and a pickled list of picture names.

    Args:
        folder: Holds ``humor/`` and ``romantic/`` with ``train.p`` and the captions, as the archive unpacks, or what is
            in one of them, or the captions beside ``train_fu.p`` and ``train_ro.p``, as mirrors lay them out.
        with_splits: Look every picture up in ``Flickr_8k.{train,dev,test}Images.txt`` of the same folder or the one
            above.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a line cannot be decoded or is blank, the files have different lengths, or a pickle holds
            anything but names.
    """
    files = find_styles(folder)
    lists = {path: _read_pickled_names(path) for path in dict.fromkeys(found.names for found in files.values())}
    lines = {style: _read_lines(found.captions) for style, found in files.items()}
    _check_lengths(folder, files, lists, lines)
    splits = _read_flickr8k_splits(folder) if with_splits else {}
    if len({tuple(names) for names in lists.values()}) > 1:
        for style, (captions, names) in files.items():
            for index, (image, text) in enumerate(zip(lists[names], lines[style], strict=True), start=1):
                if text:
                    yield AnnotationRow(str(captions), index, image, {style: (text,)}, splits.get(image))
        return
    # The last file stands for the row in messages: a row has the same number in all of them.
    source = str([*files.values()][-1].captions)
    for index, image in enumerate([*lists.values()][0]):
        both: dict[str, tuple[str, ...]] = {style: (texts[index],) for style, texts in lines.items() if texts[index]}
        if both:
            yield AnnotationRow(source, index + 1, image, both, splits.get(image))


def find_styles(folder: Path) -> dict[str, StyleFiles]:
    """The files of each style that is there; both must be, unless the folder is that of one style alone.

    Raises:
        FileNotFoundError: If a file is missing.
    """
    remedy = "data.annotations must be the folder of the FlickrStyle10K release, or of one of its styles."
    places = {style: _place(folder, style) for style in RELEASE_CAPTIONS}
    there = [style for style, place in places.items() if (place / RELEASE_CAPTIONS[style]).is_file()]
    alone = len(there) == 1 and (folder / "train.p").is_file()
    found = {}
    for style in there if alone else RELEASE_CAPTIONS:
        captions = require_file(places[style] / RELEASE_CAPTIONS[style], remedy)
        names = [places[style] / name for name in RELEASE_NAMES[style]]
        published = "train.p" if places[style] != folder else SHARED_NAMES
        known = next((path for path in names if path.is_file()), places[style] / published)
        found[style] = StyleFiles(captions, require_file(known, remedy))
    return found


def _place(folder: Path, style: str) -> Path:
    inner = folder / RELEASE_FOLDERS[style]
    return inner if inner.is_dir() else folder


def _check_lengths(
    folder: Path, files: dict[str, StyleFiles], lists: dict[Path, list[str]], lines: dict[str, list[str]]
) -> None:
    if all(len(lists[found.names]) == len(lines[style]) for style, found in files.items()):
        return
    lengths = {path: len(names) for path, names in lists.items()}
    lengths |= {found.captions: len(lines[style]) for style, found in files.items()}
    counts = ", ".join(f"{path.relative_to(folder)} {length}" for path, length in lengths.items())
    raise ValueError(f"{folder}: the files have different numbers of rows ({counts}). Unpack the release again.")


def _read_lines(path: Path) -> list[str]:
    """The captions of a file by their lines; "" where one is left out."""
    lines = path.read_bytes().removesuffix(b"\n").split(b"\n")
    captions = [""] * len(lines)
    for row, line in enumerate(lines, start=1):
        with leaving_out(path, row):
            captions[row - 1] = _decode_line(line, f"{path}, row {row}")
    return captions


def _decode_line(line: bytes, where: str) -> str:
    # FlickrStyle10K is UTF-8 but for one line of the romantic file, which is GB18030.
    for encoding in ("utf-8", "gb18030"):
        try:
            text = line.decode(encoding).strip()
        except UnicodeDecodeError:
            continue
        if not text:
            raise ValueError(f"{where}: blank line, an example needs a caption. {REMEDY}")
        return text
    raise ValueError(f"{where}: neither UTF-8 nor GB18030: {line[:40]!r}. Save the line as UTF-8.")


def _read_pickled_names(path: Path) -> list[str]:
    # Loading a pickle runs whatever its author put into it. Its strings can be read off the opcodes without that.
    names = []
    try:
        for opcode, argument, position in pickletools.genops(path.read_bytes()):
            if opcode.name not in LIST_OPCODES:
                raise ValueError(f"opcode {opcode.name} at byte {position} is not part of a list of names")
            if isinstance(argument, str):
                names.append(argument)
    except ValueError as error:
        raise ValueError(f"{path}: not a pickled list of picture names ({error}). Unpack the release again.") from error
    return names


def _read_flickr8k_splits(folder: Path) -> dict[str, str]:
    splits = {}
    for name, split in FLICKR8K_SPLITS.items():
        file = f"Flickr_8k.{name}Images.txt"
        above = folder.parent / file
        path = require_file(
            above if above.is_file() and not (folder / file).is_file() else folder / file,
            "Copy it from Flickr8k beside the captions, or set data.split=hash.",
        )
        splits.update(dict.fromkeys(path.read_text(encoding="utf-8").split(), split))
    return splits


def recognises(sample: Sample) -> bool:
    """Whether a folder holds the captions of a style and a list of pictures."""
    if not sample.path.is_dir():
        return False
    try:
        return bool(find_styles(sample.path))
    except FileNotFoundError:
        return False


FORMAT = Format(
    open_rows=lambda source: flickrstyle_release_rows(source.path, with_splits=source.split != "hash"),
    find=lambda place: place.annotations,
    data_set="flickrstyle",
    own_split="flickr8k",
    title="FlickrStyle10K's own form",
    recognises=recognises,
)
