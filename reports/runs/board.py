"""A leaderboard over runs as CSV, Markdown and HTML."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metrics.table import label_of
from reports.run.tables import number, percent, span
from reports.runs.text import printable, short_hash, with_interval
from reports.templating import open_templates
from utils.io import write_text

PROVENANCE = ("commit", "dirty", "train_sha256", "seed", "conf", "command", "started", "torch", "transformers")
TEMPLATES = Path(__file__).parent.parent / "templates"


def write_board(prefix: Path, board: Mapping[str, Any], *, title: str) -> dict[str, str]:
    """Write the leaderboard as ``PREFIX.csv``, ``.md`` and ``.html``.

    Args:
        prefix: Of the files' names.
        board: What ``runs.board.make_board`` returned.
        title: Headline, for example the folder's name.

    Returns:
        The files by kind.
    """
    contents = {"csv": to_csv(board), "md": to_markdown(board, title), "html": to_html(board, title)}
    files = {kind: Path(f"{prefix}.{kind}") for kind in contents}
    for kind, text in contents.items():
        write_text(files[kind], text)
    return {kind: str(file) for kind, file in files.items()}


def to_csv(board: Mapping[str, Any]) -> str:
    """A line for each run and evaluation, everything in full."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    scores = [column for name in board["metrics"] for column in (name, f"{name}_low", f"{name}_high")]
    what = ("split", "split_id", "data_sha256", "n", "rank", "run", "state")
    writer.writerow([*what, *scores, "style_accuracy", "step", *PROVENANCE])
    for group in board["groups"]:
        for row in group["rows"]:
            place = [{**group, **row}[name] for name in what]
            numbers = [
                cell
                for name in board["metrics"]
                for cell in (row["metrics"][name], *(row["intervals"][name] or (None, None)))
            ]
            writer.writerow([*place, *numbers, row["style_accuracy"], row["step"], *(row[name] for name in PROVENANCE)])
    for row in board["others"]:
        writer.writerow([None] * 5 + [row["run"], row["state"]])
    return text.getvalue()


def to_markdown(board: Mapping[str, Any], title: str) -> str:
    """A table for each group, hashes shortened."""
    lines = [f"# {_cell(title)}"]
    for group in board["groups"]:
        names = names_in(group, board["metrics"])
        header = ["", "run", *map(label_of, names), "style", "steps", "seed", "commit", "data", "configuration"]
        split = " ".join(filter(None, [group["split"], group["split_id"]]))
        lines += ["", f"## {_cell(split)}: {group['n']:,} examples, data {short_hash(group['data_sha256'])}", ""]
        lines += [_cell(group["scored"]), ""] if group["scored"] else []
        lines += [_line(header), _line(["---"] * len(header))]
        lines += [_line(_markdown_cells(row, names)) for row in group["rows"]]
    if board["others"]:
        lines += ["", "## Without an evaluation", "", _line(["run", "state", "reason"]), _line(["---"] * 3)]
        lines += [_line([row["run"], row["state"], row["reason"]]) for row in board["others"]]
    return "\n".join([*lines, ""])


def to_html(board: Mapping[str, Any], title: str) -> str:
    """A page: one file that needs no network."""
    templates = open_templates(TEMPLATES)
    templates.filters |= {form.__name__: form for form in (number, percent, span, short_hash, steps_text)} | {
        "label": label_of
    }
    groups = [group | {"names": names_in(group, board["metrics"])} for group in board["groups"]]
    template = templates.get_template("board.html.j2")
    return template.render(title=title, groups=groups, others=board["others"])


def names_in(group: Mapping[str, Any], metrics: list[str]) -> list[str]:
    """The metrics that a run of the group has."""
    return [name for name in metrics if any(row["metrics"][name] is not None for row in group["rows"])]


def steps_text(step: int | None) -> str:
    """Optimizer steps, where they are known."""
    return "–" if step is None else f"{step:,}"


def _markdown_cells(row: Mapping[str, Any], names: list[str]) -> list[str]:
    numbers = [with_interval(row["metrics"][name], row["intervals"][name]) for name in names]
    commit = short_hash(row["commit"]) + (" (changed)" if row["dirty"] else "")
    seed = "–" if row["seed"] is None else str(row["seed"])
    made_from = [seed, commit, short_hash(row["train_sha256"]), row["conf"] or "–"]
    return [str(row["rank"]), row["run"], *numbers, percent(row["style_accuracy"]), steps_text(row["step"]), *made_from]


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(map(_cell, cells))} |"


def _cell(text: str) -> str:
    return printable(text).replace("\\", "\\\\").replace("|", "\\|")
