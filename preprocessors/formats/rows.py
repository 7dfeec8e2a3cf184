"""Rows of annotation files, what several formats need to read them, and what a format is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from preprocessors.formats.bad_rows import each_record, leave_out
from utils.io import parse_line, read_json, read_lines

WITHOUT_CAPTION = "picture without a caption"
"""``drop_reason`` of a picture that nobody captioned, of formats that find pictures by themselves; in a test split in
which no picture has captions, it is one to caption."""
REMEDY = "Correct or remove the row, or leave such rows out with data.on_bad_row=skip."
SPLIT_FILES = frozenset({"train", "val", "test"})
"""Settings that name the file of a split, for :attr:`Format.settings`."""
OWN_FILES = SPLIT_FILES | {"columns"}
"""Those of files of one's own, whose columns may have any names."""
NEUTRAL = "neutral"
"""Style of captions that their data set gives none, unless :attr:`Source.neutral` names another."""


class AnnotationRow(NamedTuple):
    """One row of an annotation file: a picture and its captions by style.

    ``row`` counts from 1. A picture to be captioned that has no captions has an empty tuple under its style. ``split``
    is ``train``, ``val``, ``test`` or None where the file says nothing. ``drop_reason`` is not empty if the row is left
    out by policy (see ``WITHOUT_CAPTION``), ``drop_detail`` then holds the value at fault. ``image_id`` is the picture
    as files of results name it, "" where that is ``image``; ``domain`` the part of the data set that has figures of its
    own.
    """

    source: str
    row: int
    image: str
    captions: dict[str, tuple[str, ...]]
    split: str | None = None
    drop_reason: str = ""
    drop_detail: str = ""
    image_id: str = ""
    domain: str = ""

    @property
    def where(self) -> str:
        """File and row, as error messages begin."""
        return f"{self.source}, row {self.row}"


class Place(NamedTuple):
    """Where the rows of a split are looked for."""

    annotations: Path
    """Folder of the annotation files, or one file that holds every split."""
    split_name: str
    """``train``, ``val`` or ``test``."""
    file: str | None
    """Name of the split's file inside ``annotations``; None = the format's own name."""
    split: str | None
    """As in :class:`Source`."""


class Source(NamedTuple):
    """Where the rows of a split come from."""

    path: Path
    """A file, or the folder of a format whose files belong together."""
    split: str | None
    """How its rows are divided: by the split that they carry, by ``hash``, or not at all (the file is the split)."""
    split_id: str
    """Name of the split in results."""
    image_suffix: str
    """Put after picture names that come without one."""
    columns: Mapping[str, str] = {}
    """For files of one's own: what a column holds, by its name."""
    neutral: str = NEUTRAL
    """Style of captions that come without one."""
    images: Path | None = None
    """Folder of the pictures, if they are looked for: a data set may lie there in folders or without them."""
    may_lack_captions: bool = False
    """Whether pictures may be there only to be captioned: those of a test split."""


class Generator(NamedTuple):
    """Makes a data set that nobody has to bring."""

    folder: Callable[[int | None], Path]
    """Where it lies unless ``data.annotations`` says otherwise, by ``data.num_images``."""
    make: Callable[[Path, int | None], None]
    """Make it there, with so many training pictures; only one process at a time may."""


class Sample(NamedTuple):
    """What a file of annotations looks like, for :attr:`Format.recognises`."""

    path: Path
    """The file, or a folder."""
    content: Any = None
    """Of a JSON file; None for any other."""
    first: Mapping[str, Any] = {}
    """First row of a list or of JSON Lines, empty for any other."""
    header: tuple[str, ...] = ()
    """Names of the columns of a table of text, empty for any other."""

    def first_of(self, key: str) -> Mapping[str, Any]:
        """First row of a list in a JSON object, empty if there is none."""
        return first_row(self.content.get(key)) if isinstance(self.content, dict) else {}


@dataclass(frozen=True)
class Format:
    """How a captioned photo set lies on disk.

    Attributes:
        open_rows: The rows of a source, of all its splits.
        find: The path of a source, mostly :func:`file_per_split` or :func:`one_file`; raises if nothing is there.
        data_set: Name of the data set in the names of splits.
        own_split: Name of the split that rows carry, which is then the default; None if they carry none.
        settings: Settings of the data group that this format uses and others do not.
        generator: Makes the data set; None if people bring it.
        title: What people call this form of file, as in "this is Karpathy's form".
        recognises: Whether a file is in this form, from the beginning of its content; for messages about a file that
            another format cannot read, and for scoring, where nobody names the format.
        holds_pictures: The pictures lie with or in the annotations; their names begin at the folder of annotations.
    """

    open_rows: Callable[[Source], Iterator[AnnotationRow]]
    find: Callable[[Place], Path]
    data_set: str
    own_split: str | None = None
    settings: frozenset[str] = frozenset()
    generator: Generator | None = None
    title: str = ""
    recognises: Callable[[Sample], bool] | None = None
    holds_pictures: bool = False


def require_file(path: Path, remedy: str) -> Path:
    """The path itself, if it is a file.

    Raises:
        FileNotFoundError: If it is not; the message ends with ``remedy``.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: annotation file not found. {remedy}")
    return path


def first_row(rows: Any) -> Mapping[str, Any]:
    """The first row of a list of objects, empty if this is none."""
    return rows[0] if isinstance(rows, list) and rows and isinstance(rows[0], dict) else {}


def file_per_split(*patterns: str) -> Callable[[Place], Path]:
    """Finds the file of a split in the folder of annotations, or the one file that ``hash`` divides.

    Args:
        patterns: The format's own names of the file, of which the first that is there is taken; ``{split}`` stands for
            ``train``, ``val`` or ``test``.
    """

    def find(place: Place) -> Path:
        annotations = place.annotations
        if annotations.is_file():
            if place.split is None:
                raise ValueError(
                    f"{annotations}: one file for every split. Set data.split=hash to divide it, or make "
                    f"data.annotations the folder and name the files with data.train, data.val and data.test."
                )
            return annotations
        if place.split is not None:
            raise ValueError(f"{annotations}: data.split=hash divides one file, so data.annotations must be a file.")
        names = [place.file] if place.file else [pattern.format(split=place.split_name) for pattern in patterns]
        paths = [annotations / name for name in names]
        path = next((path for path in paths if path.is_file()), paths[0])
        return require_file(path, f"Check data.annotations, or name the file with data.{place.split_name}.")

    return find


def one_file(name: str, remedy: str) -> Callable[[Place], Path]:
    """Finds the file that holds every split: ``data.annotations`` itself, or the file of this name in it.

    Args:
        name: The format's own name of the file.
        remedy: What to do where it is not there.
    """

    def find(place: Place) -> Path:
        annotations = place.annotations
        return require_file(annotations / name if annotations.is_dir() else annotations, remedy)

    return find


def json_object(path: Path, *keys: str) -> dict[str, Any]:
    """The content of a JSON file that is an object in which each of ``keys`` is a list.

    Raises:
        ValueError: If it is anything else.
    """
    content = read_json(path)
    missing = [key for key in keys if not isinstance(content, dict) or not isinstance(content.get(key), list)]
    if not isinstance(content, dict) or missing:
        expected = " and ".join(f"a list {key!r}" for key in missing)
        raise ValueError(f"{path}: must hold a JSON object with {expected}. Check data.format.")
    return content


def json_list(path: Path) -> Iterator[tuple[int, dict[str, Any], str]]:
    """Rows of a JSON list: number from 1, object, and file and row as messages begin."""
    return json_objects(_list_records(path), path)


def json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Lines of a JSON Lines file: number from 1 and content."""
    for row, line in read_lines(path):
        try:
            content = parse_line(line, path, row)
        except ValueError as error:
            leave_out(path, row, ValueError(f"{error}. {REMEDY}"))
        else:
            yield row, content


def json_objects(
    records: Iterable[tuple[int, Any]], path: Path, part: str = ""
) -> Iterator[tuple[int, dict[str, Any], str]]:
    """The same rows with file and row as messages begin, of a part of the file if named; refuses what is no object.

    Bad rows can be left out of every format that takes its records from here, see
    :func:`preprocessors.formats.bad_rows.each_record`.
    """
    for row, record in each_record(_objects(records, path, part), path):
        yield row, record, f"{path}, {part}row {row}"


def _objects(records: Iterable[tuple[int, Any]], path: Path, part: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for row, record in records:
        if isinstance(record, dict):
            yield row, record
        else:
            message = f"{path}, {part}row {row}: must be a JSON object, got {record!r}. {REMEDY}"
            leave_out(path, row, ValueError(message))


def objects_of(record: dict[str, Any], key: str, where: str) -> list[dict[str, Any]]:
    """The objects of a list in a record."""
    value = record.get(key)
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise ValueError(f"{where}: {key!r} must be a list of objects, got {value!r}. {REMEDY}")
    return value


def _list_records(path: Path) -> Iterator[tuple[int, Any]]:
    records = read_json(path)
    if not isinstance(records, list):
        raise ValueError(f"{path}: must hold a JSON list of rows, got {type(records).__name__}. Check data.format.")
    yield from enumerate(records, start=1)


def string_of(record: dict[str, Any], key: str, where: str) -> str:
    """A text of a record, which may be blank."""
    value = record.get(key)
    if not isinstance(value, str):
        problem = f"must be text, got {value!r}" if key in record else f"is missing (keys: {', '.join(record)})"
        raise ValueError(f"{where}: {key!r} {problem}. {REMEDY}")
    return value


def text_of(record: dict[str, Any], key: str, where: str) -> str:
    """A text of a record without outer space, which must not be blank."""
    value = string_of(record, key, where).strip()
    if not value:
        raise ValueError(f"{where}: {key!r} is blank. {REMEDY}")
    return value


def identifier_of(record: dict[str, Any], key: str, where: str) -> str:
    """An id of a record as text, which may be a whole number; "" if there is none."""
    value = record.get(key, "")
    whole = isinstance(value, float) and value.is_integer()
    if isinstance(value, bool) or not (isinstance(value, str | int) or whole):
        raise ValueError(f"{where}: {key!r} must be text or a whole number, got {value!r}. {REMEDY}")
    return id_text(value).strip()


def id_text(value: Any) -> str:
    """An id as it is compared: 42 and 42.0, which tables make of a column with gaps, are "42"."""
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)


def placed(images: Path | None, folder: str, name: str) -> str:
    """A picture's name, in its data set's own folder if that is there below ``images``, and without it otherwise."""
    return f"{folder}/{name}" if folder and (images is None or (images / folder).is_dir()) else name


def captions_of(record: dict[str, Any], key: str, where: str) -> tuple[str, ...]:
    """The captions of a record: a text, or a list of one and more."""
    value = record.get(key)
    if not isinstance(value, list):
        return (text_of(record, key, where),)
    if not value:
        raise ValueError(f"{where}: {key!r} is an empty list, an example needs at least one caption. {REMEDY}")
    return tuple(text_of({key: caption}, key, where) for caption in value)
