"""A leaderboard that outlives its runs: a JSON Lines file that results are added to, from any run or program."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock

from runs.files import check_results
from utils.io import append_jsonl, read_jsonl, shorten_json
from utils.trees import find_at

NAMED_IN = ("provenance.model", "provenance.hypotheses")
"""Where results say whose they are."""
DATA = ("provenance.metrics.references_sha256", "provenance.data_sha256")
"""Where they say on which data they are, the captions compared with first."""
SCORING = ("provenance.metrics.tokenizer", "provenance.metrics.cider")
"""What else numbers must share to be compared."""
LEFT_OUT = ("per_image",)
"""Of the results, which can be as large as the data."""


class Entry(NamedTuple):
    """A line of a leaderboard."""

    name: str
    """Whose results they are."""
    added: str
    """When, ISO 8601."""
    results: Mapping[str, Any]
    """As an evaluation gives them, without the scores of single images."""


def data_of(results: Mapping[str, Any]) -> tuple[str, ...]:
    """What must be the same of results that are compared: the data, and how they were scored; () if they do not say."""
    data = next((str(found) for place in DATA if (found := find_at(results, place))), None)
    return () if data is None else (data, *(str(find_at(results, place)) for place in SCORING))


def add_to_leaderboard(path: Path, results: Mapping[str, Any], *, name: str | None = None) -> Entry:
    """Add results to a leaderboard. Several processes may, at the same time.

    Args:
        path: JSON Lines file; made if it is not there.
        results: Of an evaluation, or what stands in its file.
        name: Whose they are; None = as they say.

    Returns:
        What was added.

    Raises:
        ValueError: As :func:`check_entry`.
        OSError: If it cannot be written.
    """
    name = check_entry(path, results, name)
    kept = {key: value for key, value in results.items() if key not in LEFT_OUT}
    entry = Entry(name, datetime.now().astimezone().isoformat(timespec="seconds"), kept)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        append_jsonl(path, entry._asdict())
    return entry


def check_entry(where: Path, results: Mapping[str, Any], name: str | None = None) -> str:
    """Refuse results that cannot stand in a leaderboard; ``where`` begins the message.

    Returns:
        Whose they are: the name that is given, or as they say.

    Raises:
        ValueError: If they are no results, or do not say on which data or whose they are.
    """
    check_results(where, results)
    name = name or next((str(found) for place in NAMED_IN if (found := find_at(results, place))), None)
    if name is None:
        raise ValueError(f"{where}: the results do not say whose they are; give a name")
    if not data_of(results):
        raise ValueError(
            f"{where}: the results of {name} do not say on which data they are, so nothing can be compared"
        )
    return name


def check_leaderboard(path: Path | None) -> None:
    """Refuse a file that results cannot be added to, before hours go into them; None is fine.

    Raises:
        ValueError: If it is a folder, or there is something else in it.
    """
    if path is not None and path.is_dir():
        raise ValueError(f"{path}: is a folder; name a file for the leaderboard")
    if path is not None and path.exists():
        read_leaderboard(path)


def read_leaderboard(path: Path) -> list[Entry]:
    """What stands in a leaderboard; of results of one name on the same data the newest.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a line is no entry; names it.
    """
    newest: dict[tuple[str, ...], Entry] = {}
    for number, row in read_jsonl(path):
        where = f"{path}, line {number}"
        if not isinstance(row, dict) or not all(isinstance(row.get(key), str) for key in ("name", "added")):
            raise ValueError(f"{where}: is no entry of a leaderboard, but {shorten_json(row)}; remove the line")
        check_results(Path(where), row.get("results"))
        entry = Entry(row["name"], row["added"], row["results"])
        newest[entry.name, *data_of(entry.results)] = entry
    return [*newest.values()]
