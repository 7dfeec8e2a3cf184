"""A leaderboard over runs: those that were evaluated on the same examples stand against each other, with provenance."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from runs.files import Record
from runs.folder import Run
from runs.state import RunState
from utils.trees import find_at, get_number

RANKED_BY = "CIDEr"
Described = tuple[Run, Record, RunState]


def make_board(runs: Sequence[Described], metrics: Sequence[str]) -> dict[str, Any]:
    """Rank runs by CIDEr among those that were evaluated on the same examples.

    Args:
        runs: With their records and states.
        metrics: Names of the metrics to show.

    Returns:
        ``ranked_by``, ``metrics``, ``groups`` (``split``, ``split_id``, ``data_sha256``, ``n``, ``rows``, best first)
        and ``others`` (``run``, ``state``, ``reason`` of those without an evaluation). A row has ``rank``, ``run``,
        ``state``, ``metrics`` and ``intervals`` by name, ``style_accuracy``, ``step`` and the provenance: ``commit``,
        ``dirty``, ``train_sha256``, ``seed``, ``conf``, ``command``, ``started``, ``torch``, ``transformers``.
    """
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for run, record, state in runs:
        for split, results in record.evaluations.items():
            made_from = [str(find_at(results, f"provenance.{name}") or "") for name in ("split_id", "data_sha256")]
            row = _row(run, record, state, results, metrics)
            groups.setdefault((split, made_from[0], made_from[1]), []).append(row)
    others = [(run, state) for run, record, state in runs if not record.evaluations]
    return {
        "ranked_by": RANKED_BY,
        "metrics": list(metrics),
        "groups": [
            {"split": split, "split_id": split_id, "data_sha256": data, "n": rows[0]["n"], "rows": _rank(rows)}
            for (split, split_id, data), rows in sorted(groups.items())
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


def _rank(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    def order(row: dict[str, Any]) -> tuple[bool, float, str]:
        value = row["metrics"][RANKED_BY]
        return value is None, -(value or 0.0), row["run"]

    return [{"rank": rank} | row for rank, row in enumerate(sorted(rows, key=order), start=1)]


def _row(run: Run, record: Record, state: RunState, results: Any, metrics: Sequence[str]) -> dict[str, Any]:
    # The newest start only evaluated, where the run had been trained before: what it was trained with came first.
    start = record.starts[0] if record.starts else None
    environment = record.environment
    return {
        "run": str(run.root),
        "state": state.state,
        "n": results["n"],
        "metrics": {name: get_number(results, f"overall.{name}") for name in {RANKED_BY: 0, **dict.fromkeys(metrics)}},
        "intervals": {name: find_at(results, f"confidence.overall.{name}") for name in metrics},
        "style_accuracy": get_number(results, "style.accuracy"),
        "step": state.step,
        "commit": find_at(environment, "git.commit"),
        "dirty": find_at(environment, "git.dirty"),
        "train_sha256": find_at(environment, "data.train_sha256"),
        "seed": find_at(record.config, "train.seed"),
        "conf": None if start is None else conf_of(start.command),
        "command": None if start is None else start.command,
        "started": None if start is None else start.time,
        "torch": find_at(environment, "packages.torch"),
        "transformers": find_at(environment, "packages.transformers"),
    }
