"""Runs as tables for a terminal, and the words that pages share with them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from metrics.table import label_of
from reports.run.tables import number, span
from runs.state import STATES, RunState
from utils.io import shorten_json

SHORT_HASH = 8
NAMED_STYLES = 3
NAMED_DIFFERENCES = 40


def list_text(states: Sequence[RunState]) -> str:
    """A line for each run, and below what is wrong with some of them."""
    if not states:
        return "no runs"
    header = ("run", "state", "step", "best validation", "CIDEr", "styles", "last sign", "size")
    rows = [
        (
            state.folder,
            state.state,
            step_text(state),
            best_text(state),
            scores_text(state),
            styles_text(state.styles),
            age_text(state.last_sign),
            size_text(state.size),
        )
        for state in states
    ]
    said = [f"{state.folder}: {state.reason}" for state in states if state.reason]
    said += [f"{state.folder}: {fault}" for state in states for fault in state.faults]
    return "\n".join([text_table(header, rows, right=(2, 7)), *([""] if said else []), *map(printable, said)])


def show_text(details: Mapping[str, Any], state: RunState) -> str:
    """Everything about one run, for people."""
    pairs = [
        ("run", state.folder),
        ("state", f"{state.state}: {state.reason or STATES[state.state]}"),
        ("step", step_text(state)),
        ("best validation", best_text(state)),
        ("last sign of life", age_text(state.last_sign)),
        ("styles", ", ".join(state.styles)),
        *((f"CIDEr, {split}", score_text(score)) for split, score in state.scores.items()),
        ("size", ", ".join(f"{name} {size_text(size)}" for name, size in details["sizes"].items() if size)),
        ("checkpoints", ", ".join(map(str, details["checkpoints"])) or "none"),
        ("started by", "; ".join(f"{start['time']} {start['command']}" for start in details["starts"])),
        ("commit", commit_text(details["environment"].get("git"))),
        ("versions", _pairs(details["environment"].get("packages"))),
        ("data", _pairs(details["environment"].get("data"))),
        ("code", source_text(details["source"])),
        *(("damage", fault) for fault in state.faults),
    ]
    if state.holder is not None:
        pairs.insert(2, ("held by", _pairs(state.holder)))
    width = max(len(name) for name, _ in pairs)
    return "\n".join(f"{name:<{width}}  {printable(text)}" for name, text in pairs if text)


def compare_text(found: Mapping[str, Any]) -> str:
    """In what two runs differ, and what came of it."""
    lines = [f"A  {found['a']}", f"B  {found['b']}"]
    for name in ("configuration", "data", "environment"):
        lines += ["", f"{name}: {'the same' if not found[name] else ''}".rstrip()]
        rows = [(place, *(shorten_json(value, 60) for value in values)) for place, values in found[name].items()]
        if rows:
            lines += [text_table(("", "A", "B"), rows[:NAMED_DIFFERENCES])]
        if len(rows) > NAMED_DIFFERENCES:
            lines += [f"and {len(rows) - NAMED_DIFFERENCES} more"]
    lines += ["", f"code: {differing_text(found['source'])}"]
    for split, scores in found["metrics"].items():
        lines += ["", f"{split}: {scores['note']}", text_table(("", "A", "B", "B - A", "p"), metric_rows(scores))]
    return "\n".join([*lines, *(["", *found["faults"]] if found["faults"] else [])])


def metric_rows(scores: Mapping[str, Any]) -> list[tuple[str, str, str, str, str]]:
    """Name, both values with what is known of their certainty, difference with interval, and p."""
    rows = []
    for name, row in scores["rows"].items():
        a, b = (with_interval(row[side], row.get(f"{side}_interval")) for side in ("a", "b"))
        difference = "" if row["difference"] is None else f"{row['difference']:+.4f}"
        bounds = "" if row.get("low") is None else f" [{row['low']:+.4f}, {row['high']:+.4f}]"
        rows.append((label_of(name), a, b, difference + bounds, "" if row.get("p") is None else f"{row['p']:.4f}"))
    return rows


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Columns that line up; those in ``right`` at their right edge."""
    cells = [[printable(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = [
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    return "\n".join(lines)


def printable(text: str) -> str:
    """A text from a file as a terminal may have it: without line ends and control characters."""
    return "".join(letter if letter.isprintable() else "�" for letter in text)


def step_text(state: RunState) -> str:
    """Steps done and to do."""
    return f"{state.step:,}" + ("" if state.max_steps is None else f"/{state.max_steps:,}")


def best_text(state: RunState) -> str:
    """The best validation and where it was."""
    best = state.best
    if best is None:
        return ""
    return f"{best.metric} {best.value:.4f}" + ("" if best.step is None else f" at {best.step:,}")


def scores_text(state: RunState) -> str:
    """CIDEr of each split."""
    return "; ".join(f"{split} {score_text(score)}" for split, score in state.scores.items())


def score_text(score: Any) -> str:
    """CIDEr with its interval."""
    return with_interval(score.cider, score.interval)


def with_interval(value: float | None, interval: Sequence[float] | None) -> str:
    """A number and its interval, if it has one."""
    return number(value) + ("" if interval is None else f" [{span(interval)}]")


def styles_text(styles: Sequence[str]) -> str:
    """A few styles by name, of many how many."""
    return ", ".join(styles) if len(styles) <= NAMED_STYLES else f"{len(styles)} styles"


def age_text(when: float | None) -> str:
    """How long ago something was."""
    if when is None:
        return ""
    seconds = max(0.0, time.time() - when)
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def size_text(size: int) -> str:
    """Bytes in a unit that fits."""
    for unit, length in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= length:
            return f"{size / length:.1f} {unit}"
    return f"{size} B"


def commit_text(git: Any) -> str:
    """The commit, and whether files differed from it."""
    if not isinstance(git, dict) or not git.get("commit"):
        return "unknown"
    return str(git["commit"]) + (", with changes that were not committed" if git.get("dirty") else "")


def source_text(source: Mapping[str, Any]) -> str:
    """Whether the code of now is that of the run, and how many copies there are."""
    changed, copies = source["changed"], source["copies"]
    if changed is None:
        return "the run has no copy of its code"
    now = "that of now" if not changed else f"other than now in {source['named']}"
    return now + (f"; {len(copies)} copies, since later starts had other code" if len(copies) > 1 else "")


def differing_text(differing: Sequence[str] | None) -> str:
    """Which files of two runs' code differ."""
    if differing is None:
        return "a run has no copy of its code"
    return f"{len(differing)} files differ: {', '.join(differing[:NAMED_DIFFERENCES])}" if differing else "the same"


def short_hash(digest: Any) -> str:
    """The beginning of a hash or commit."""
    return str(digest)[:SHORT_HASH] if digest else "–"


def _pairs(values: Any) -> str:
    pairs = values.items() if isinstance(values, Mapping) else ()
    return ", ".join(f"{name} {value}" for name, value in pairs if value is not None)
