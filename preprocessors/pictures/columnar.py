"""Tables in Parquet and Arrow files, as Hugging Face's ``datasets`` writes them; needs pyarrow, an optional extra."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

PICTURE_COLUMNS = ("image", "img", "picture", "jpg", "png")
"""Names of the column with the pictures; the first of these that a table has."""


class Table(Protocol):
    """Rows in groups that are read at once."""

    columns: list[str]
    """Names."""
    starts: list[int]
    """Row, from 0, that each group begins with, and the number of rows at the end."""

    def bytes_of(self, group: int) -> int:
        """About what a group takes on disk; 0 where the file does not say."""

    def read(self, group: int, columns: Sequence[str]) -> list[dict[str, Any]]:
        """Rows of a group."""


def open_table(path: Path) -> Table:
    """Open a Parquet file, or an Arrow file in the stream or the file format.

    Raises:
        ValueError: If pyarrow is not installed, or the file is not what its name says.
    """
    try:
        import pyarrow as arrow  # an extra, and heavy
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise ValueError(f"{path}: Parquet and Arrow files need pyarrow; install it: pip install pyarrow") from error
    try:
        return _Parquet(path) if path.suffix == ".parquet" else _Arrow(path)
    except arrow.ArrowInvalid as error:
        raise ValueError(
            f"{path}: is no {path.suffix[1:]} file, or is damaged or cut short ({error}). Copy it again."
        ) from error


def picture_column(path: Path, table: Table) -> str:
    """Name of the column with the pictures.

    Raises:
        ValueError: If there is none.
    """
    for name in PICTURE_COLUMNS:
        if name in table.columns:
            return name
    raise ValueError(
        f"{path}: no column of pictures ({', '.join(PICTURE_COLUMNS)}); its columns: {', '.join(table.columns)}."
    )


def rows_of(table: Table, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """All rows of a table, without any column that it does not have."""
    present = [name for name in columns if name in table.columns]
    if not present:  # of nothing but columns pyarrow makes no rows
        yield from ({} for _ in range(table.starts[-1]))
        return
    for group in range(len(table.starts) - 1):
        yield from table.read(group, present)


class _Parquet:
    def __init__(self, path: Path) -> None:
        from pyarrow.parquet import ParquetFile

        self.path = path
        with ParquetFile(path) as file:
            self.columns: list[str] = file.schema_arrow.names
            groups = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
            self.starts = _starts(group.num_rows for group in groups)
            self._bytes = [group.total_byte_size for group in groups]

    def bytes_of(self, group: int) -> int:
        return int(self._bytes[group])

    def read(self, group: int, columns: Sequence[str]) -> list[dict[str, Any]]:
        from pyarrow.parquet import ParquetFile

        with ParquetFile(self.path) as file:  # opened anew: a handle would not survive a fork
            rows: list[dict[str, Any]] = file.read_row_group(group, columns=list(columns)).to_pylist()
        return rows


class _Arrow:
    def __init__(self, path: Path) -> None:
        import pyarrow as arrow

        source = arrow.memory_map(str(path))
        try:
            self._batches = arrow.ipc.open_stream(source).read_all().to_batches()
        except arrow.ArrowInvalid:
            source.seek(0)
            self._batches = arrow.ipc.open_file(source).read_all().to_batches()
        self.columns: list[str] = self._batches[0].schema.names if self._batches else []
        self.starts = _starts(batch.num_rows for batch in self._batches)

    def bytes_of(self, group: int) -> int:
        return int(self._batches[group].nbytes)

    def read(self, group: int, columns: Sequence[str]) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self._batches[group].select(list(columns)).to_pylist()
        return rows


def _starts(lengths: Iterator[int]) -> list[int]:
    starts = [0]
    for length in lengths:
        starts.append(starts[-1] + length)
    return starts
