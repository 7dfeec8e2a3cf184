"""JSON, JSON Lines and text files: reads name the file and position of a fault, writes are whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

UTF8_BOM = b"\xef\xbb\xbf"


def read_json(path: Path | str) -> Any:
    """The content of a JSON file.

    Args:
        path: A UTF-8 file; a leading byte order mark is allowed.

    Raises:
        FileNotFoundError: If there is no such file, or it is a folder.
        ValueError: If the file cannot be read, is not UTF-8 or is not JSON; names file and position.
    """
    return parse_json(read_bytes(Path(path)), path)


def read_commented_json(path: Path | str) -> Any:
    """As :func:`read_json`, of a file in which lines that begin with ``//`` are comments."""
    lines = read_bytes(Path(path)).removeprefix(UTF8_BOM).split(b"\n")
    # No string goes over a line's end in JSON, so that none is taken for a comment; places in messages stay right.
    return parse_json(b"\n".join(b"" if line.lstrip().startswith(b"//") else line for line in lines), path)


def parse_json(data: bytes, path: Path | str) -> Any:
    """The content of a JSON file from its bytes; ``path`` is for messages.

    Raises:
        ValueError: If it is not UTF-8 or not JSON; names file and position.
    """
    data = data.removeprefix(UTF8_BOM)
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        _check_utf8(path, data)
        raise ValueError(f"{path}, line {error.lineno}, column {error.colno}: not valid JSON ({error.msg})") from error


def read_jsonl(path: Path | str) -> Iterator[tuple[int, Any]]:
    """The rows of a JSON Lines file, blank lines skipped.

    The file is opened at the first row that is asked for, so faults appear then.

    Yields:
        The number of the line in the file, from 1, and its content.

    Raises:
        FileNotFoundError: If there is no such file, or it is a folder.
        ValueError: If the file cannot be read or a line is not JSON; names file, line and column.
    """
    for number, line in read_lines(path):
        yield number, parse_line(line, path, number)


def read_lines(path: Path | str) -> Iterator[tuple[int, bytes]]:
    """The lines of a text file that are not blank, with their numbers from 1; one at a time is in memory.

    Only a line feed ends a line: ``str.splitlines`` would also cut at characters such as U+2028, which JSON strings may
    hold. Raises as :func:`read_jsonl` does.
    """
    with _reading(Path(path)), Path(path).open("rb") as file:
        for number, line in enumerate(file, start=1):
            content = line.removeprefix(UTF8_BOM) if number == 1 else line
            if content.strip():
                yield number, content.removesuffix(b"\n")


def parse_line(line: bytes, path: Path | str, number: int) -> Any:
    """The content of a line of a JSON Lines file.

    Raises:
        ValueError: If it is not UTF-8 or not JSON; names file, line and column.
    """
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        _check_utf8(path, line, number)
        raise ValueError(f"{path}, line {number}, column {error.colno}: not valid JSON ({error.msg})") from error


def read_text(path: Path | str) -> str:
    """The content of a text file, without a leading byte order mark and with its line ends as they are.

    Raises:
        FileNotFoundError: If there is no such file, or it is a folder.
        ValueError: If the file cannot be read or is not UTF-8; names file and line.
    """
    data = read_bytes(Path(path)).removeprefix(UTF8_BOM)
    _check_utf8(path, data)
    return data.decode()


def parse_value(text: str) -> Any:
    """A value as it stands on a command line: JSON, or a string if it is none."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def encode_json(obj: Any, *, indent: bool = False) -> bytes:
    """JSON as UTF-8 bytes without a final newline.

    Numpy scalars and arrays become numbers and lists, paths become strings, NaN and infinities become null.

    Raises:
        TypeError: If something in ``obj`` has no JSON form.
    """
    options = orjson.OPT_SERIALIZE_NUMPY | (orjson.OPT_INDENT_2 if indent else 0)
    return orjson.dumps(obj, default=_encode_other, option=options)


def shorten_json(value: Any, limit: int = 80) -> str:
    """A value as JSON for a message, cut after ``limit`` characters."""
    text = encode_json(value).decode()
    return text if len(text) <= limit else f"{text[:limit]}..."


def hash_json(obj: Any) -> str:
    """SHA-256 (hex) of what is said, as :func:`encode_json` writes it."""
    return hashlib.sha256(encode_json(obj)).hexdigest()


def hash_file(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path | str, obj: Any, *, indent: bool = True) -> None:
    """Writes a JSON file at once, as ``write_bytes`` does."""
    write_bytes(path, encode_json(obj, indent=indent) + b"\n")


def write_text(path: Path | str, text: str) -> None:
    """Writes a UTF-8 text file at once, as ``write_bytes`` does."""
    write_bytes(path, text.encode())


def append_jsonl(path: Path | str, obj: Any) -> None:
    """Adds one row to a JSON Lines file, in one write. Makes the file and its folder.

    If the file does not end with a newline, because a program was killed while writing or the file was made by hand,
    the row starts on a line of its own.
    """
    path = Path(path)
    row = encode_json(obj) + b"\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        if file.tell() > 0:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                row = b"\n" + row
        end = file.seek(0, os.SEEK_END)
        try:
            file.write(row)
            file.flush()
        except OSError:
            with contextlib.suppress(OSError):
                file.close()  # which tries to write the rest
            os.truncate(path, end)  # a row that is cut short would stay when it is written again
            raise


def read_bytes(path: Path) -> bytes:
    """The content of a file; raises as :func:`read_text`, but for what is not UTF-8."""
    with _reading(path):
        return path.read_bytes()


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Say of a file that cannot be read what is wrong and what to do."""
    if path.is_dir():
        raise FileNotFoundError(f"{path}: is a folder; a file is needed here")
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: no such file; check the path (it is relative to {Path.cwd()})") from error
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from error


def _check_utf8(path: Path | str, data: bytes, only_line: int | None = None) -> None:
    # Where bytes are not UTF-8, the JSON parser says "line 1, column 1", wherever they are.
    try:
        data.decode()
    except UnicodeDecodeError as error:
        line = only_line or data.count(b"\n", 0, error.start) + 1
        place = f"line {line}, byte {error.start + 1:,} of the {'line' if only_line else 'file'}"
        raise ValueError(f"{path}, {place}: 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8") from error


def write_bytes(path: Path | str, data: bytes | bytearray) -> None:
    """Writes a file at once: readers see the old file or the new one, never a part. Makes the folder.

    A link stays and the file that it leads to is written.

    Raises:
        ValueError: If there is something that is no file, such as a device or a pipe.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        raise ValueError(f"{path}: is no regular file, so it cannot be replaced; name another.")
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder, since a rename is atomic only within one file system.
    # Names end at 255 bytes, of which a character takes up to four.
    aside = path.with_name(f".{path.name[:50]}.{secrets.token_hex(4)}.tmp")
    try:
        with aside.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def _encode_other(obj: Any) -> Any:
    if isinstance(obj, Path):
        return str(obj)
    # Tensors, and arrays that orjson does not take itself, such as those that are not contiguous.
    if hasattr(obj, "tolist"):
        return obj.tolist()
    raise TypeError(f"{type(obj).__name__} has no JSON form")
