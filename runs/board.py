"""A leaderboard over runs and results: those on the same examples stand against each other, with provenance."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from runs.files import Record
from runs.folder import Run
from runs.leaderboard import Entry, data_of
from runs.state import RunState
from utils.trees import find_at, get_number

RANKED_BY: Mapping[str, bool] = {"CIDEr": True, "bits_per_byte": False}
"""The numbers that a group is ranked by, the first that one of its rows has; by name whether more of it is better."""
Described = tuple[Run, Record, RunState]


def make_board(runs: Sequence[Described], metrics: Sequence[str], entries: Sequence[Entry] = ()) -> dict[str, Any]:
    """Rank runs and results among those that were evaluated on the same examples.

    Args:
        runs: With their records and states.
        metrics: Names of the metrics to show.
        entries: Of a file.

    Returns:
        ``metrics``, ``groups`` (``split``, ``split_id``, ``data_sha256``, ``scored``, which tells groups on the same
        data apart, ``n``, ``ranked_by``, ``rows``, best first) and ``others`` (``run``, ``state``, ``reason`` of those
        without an evaluation). A row has ``rank``, ``run``, ``state``, ``metrics`` and ``intervals`` by name,
        ``style_accuracy``, ``step`` and the provenance: ``commit``, ``dirty``, ``train_sha256``, ``seed``, ``conf``,
        ``command``, ``started``, ``torch``, ``transformers``.
    """
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for run, record, state in runs:
        for split, results in record.evaluations.items():
            key = (split, *(str(find_at(results, f"provenance.{name}") or "") for name in ("split_id", "data_sha256")))
            row = _scores(results, metrics) | _origin(run, record, state)
            groups.setdefault((*key, *data_of(results)), []).append(row)
    for entry in entries:
        about = [find_at(entry.results, f"provenance.{name}") for name in ("split", "split_id", "data_sha256")]
        key = tuple(str(part or "") for part in about)
        row = _scores(entry.results, metrics) | _origin_of(entry)
        groups.setdefault((*key, *data_of(entry.results)), []).append(row)
    others = [(run, state) for run, record, state in runs if not record.evaluations]
    return {
        "metrics": list(metrics),
        "groups": [
            {
                **{"split": split, "split_id": split_id, "data_sha256": data or next(iter(more), "")},
                "scored": "; ".join(more[1:]) if sum(key[:3] == (split, split_id, data) for key in groups) > 1 else "",
                **_rank(rows),
            }
            for (split, split_id, data, *more), rows in sorted(groups.items())
        ],
        "others": [{"run": str(run.root), "state": state.state, "reason": state.reason} for run, state in others],
    }


def conf_of(command: str) -> str | None:
    """The configuration file that a command line names."""
    try:
        words = shlex.split(command)
    except ValueError:
        return None
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word == "--conf" and following:
            return following
        if word.startswith("--conf="):
            return word.removeprefix("--conf=")
    return None


def _rank(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The rows of a group, best first, and what of them decides."""
    ranked_by = next((name for name in RANKED_BY if any(row["ranked"][name] is not None for row in rows)), "CIDEr")
    sign = -1 if RANKED_BY[ranked_by] else 1

    def order(row: dict[str, Any]) -> tuple[bool, float, str]:
        value = row["ranked"][ranked_by]
        return value is None, sign * (value or 0.0), row["run"]

    ordered = enumerate(sorted(rows, key=order), start=1)
    kept = [{"rank": rank} | {key: value for key, value in row.items() if key != "ranked"} for rank, row in ordered]
    return {"n": rows[0]["n"], "ranked_by": ranked_by, "rows": kept}


def _scores(results: Mapping[str, Any], metrics: Sequence[str]) -> dict[str, Any]:
    return {
        "n": results["n"],
        "ranked": {name: get_number(results, f"overall.{name}") for name in RANKED_BY},
        "metrics": {name: get_number(results, f"overall.{name}") for name in metrics},
        "intervals": {name: find_at(results, f"confidence.overall.{name}") for name in metrics},
        "style_accuracy": get_number(results, "style.accuracy"),
    }


def _origin_of(entry: Entry) -> dict[str, Any]:
    about = entry.results["provenance"]
    return {
        "run": entry.name,
        "state": "",
        "step": None,
        "train_sha256": about.get("train_sha256"),
        "seed": about.get("seed"),
        "conf": None,
        "command": None,
        "started": entry.added,
    } | _code(about.get("environment"))


def _origin(run: Run, record: Record, state: RunState) -> dict[str, Any]:
    # The newest start only evaluated, where the run had been trained before: what it was trained with came first.
    start = record.starts[0] if record.starts else None
    return {
        "run": str(run.root),
        "state": state.state,
        "step": state.step,
        "train_sha256": find_at(record.environment, "data.train_sha256"),
        "seed": find_at(record.config, "train.seed"),
        "conf": None if start is None else conf_of(start.command),
        "command": None if start is None else start.command,
        "started": None if start is None else start.time,
    } | _code(record.environment)


def _code(environment: Any) -> dict[str, Any]:
    """What ran."""
    places = {"commit": "git.commit", "dirty": "git.dirty"}
    places |= {package: f"packages.{package}" for package in ("torch", "transformers")}
    return {name: find_at(environment, place) for name, place in places.items()}
