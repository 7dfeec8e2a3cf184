"""FlickrStyle10K as it was released: two caption files and a pickled list of picture names."""

from __future__ import annotations

import pickletools
from collections.abc import Iterator
from pathlib import Path

from preprocessors.formats.flickrstyle import FLICKR8K_SPLITS
from preprocessors.formats.rows import REMEDY, AnnotationRow, Format, require_file

RELEASE_CAPTIONS = {"humorous": "funny_train.txt", "romantic": "romantic_train.txt"}
RELEASE_NAMES = "train_fu.p"
# All that a pickled list of names needs, in any protocol. None of these opcodes can import or call anything.
LIST_OPCODES = frozenset(
    "PROTO FRAME MARK LIST EMPTY_LIST APPEND APPENDS STOP PUT BINPUT LONG_BINPUT MEMOIZE "
    "UNICODE BINUNICODE SHORT_BINUNICODE STRING BINSTRING SHORT_BINSTRING".split()
)


def flickrstyle_release_rows(folder: Path, *, with_splits: bool) -> Iterator[AnnotationRow]:
    """Rows of FlickrStyle10K's own files: two caption files, line by line, and a pickled list of picture names.

    Args:
        folder: Holds ``funny_train.txt``, ``romantic_train.txt`` and ``train_fu.p``.
        with_splits: Look every picture up in ``Flickr_8k.{train,dev,test}Images.txt`` of the same folder.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a line cannot be decoded or is blank, the files have different lengths, or the pickle holds
            anything but names.
    """
    remedy = "data.annotations must be the folder of the FlickrStyle10K release."
    names = _read_pickled_names(require_file(folder / RELEASE_NAMES, remedy))
    lines = {style: _read_lines(require_file(folder / file, remedy)) for style, file in RELEASE_CAPTIONS.items()}
    lengths = {RELEASE_NAMES: len(names), **{RELEASE_CAPTIONS[style]: len(texts) for style, texts in lines.items()}}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{file} {length}" for file, length in lengths.items())
        raise ValueError(f"{folder}: the files have different numbers of rows ({counts}). Unpack the release again.")
    splits = _read_flickr8k_splits(folder) if with_splits else {}
    # The romantic file stands for the row in messages: a row has the same number in all three.
    source = str(folder / RELEASE_CAPTIONS["romantic"])
    for index, image in enumerate(names):
        captions: dict[str, tuple[str, ...]] = {style: (texts[index],) for style, texts in lines.items()}
        yield AnnotationRow(source, index + 1, image, captions, splits.get(image))


def _read_lines(path: Path) -> list[str]:
    lines = path.read_bytes().removesuffix(b"\n").split(b"\n")
    return [_decode_line(line, f"{path}, row {row}") for row, line in enumerate(lines, start=1)]


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
        path = require_file(
            folder / f"Flickr_8k.{name}Images.txt", "Copy it from Flickr8k beside the captions, or set data.split=hash."
        )
        splits.update(dict.fromkeys(path.read_text(encoding="utf-8").split(), split))
    return splits


FORMAT = Format(
    open_rows=lambda source: flickrstyle_release_rows(source.path, with_splits=source.split == "flickr8k"),
    find=lambda place: place.annotations,
    data_set="flickrstyle",
    own_split="flickr8k",
)
