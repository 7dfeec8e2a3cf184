"""One HTML file that shows what came of a sweep, whatever state it is in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from reports.sweep.measures import (
    Row,
    best_row,
    common_measure,
    comparison_measure,
    epochs_text,
    look,
    metric_measure,
    metric_name,
)
from reports.sweep.plots import MAX_LABEL, MAX_ROWS, SHADES, forest_plot, parallel_plot, rank_plot, scatter_plots
from reports.sweep.scales import shorten, show
from reports.sweep.trends import describe_trend
from reports.templating import open_templates
from runs.folder import Run
from utils.io import write_text

LOOKS = {
    "best": "the best",
    "trained": "trained to the end",
    "stopped": "stopped at a comparison",
    "open": "not finished yet",
    "failed": "failed",
}
"""What a configuration's class in the style sheet means; in the order of the legends."""
OVER = {"images": "over images (bootstrap)", "seeds": "over seeds (Student)"}
FIXED_COLUMNS = 6
"""Of the table: rank, state, metric, interval, epochs, run folder."""


def write_page(path: Path, board: Mapping[str, Any], *, title: str) -> None:
    """Write the page: one file that needs no network and runs no script.

    Args:
        path: The HTML file; replaced only once the new one is complete. Run folders below its own are named from
            there, and those with a report link to it.
        board: What ``sweeps.standings.leaderboard.make_leaderboard`` returned.
        title: Headline, for example the name of the sweep's folder.
    """
    templates = open_templates(Path(__file__).parent.parent / "templates")
    templates.filters |= {"number": _number, "span": _span, "show": show, "label": _label, "breakable": _breakable}
    content = _texts(board, title) | _pictures(board) | _table(board, path.parent)
    write_text(path, templates.get_template("leaderboard.html.j2").render(content))


def _texts(board: Mapping[str, Any], title: str) -> dict[str, Any]:
    rows, best = board["configurations"], best_row(board)
    states = [row["state"] for row in rows]
    looks = {look(row, best) for row in rows}
    over = dict.fromkeys(row["interval_over"] for row in rows if row["interval"] is not None)
    comparisons = board["comparisons"]
    return {
        "title": title,
        "summary": _summary(board),
        "metric": metric_name(board),
        "better": metric_measure(board).better,
        "split": board["split"],
        "level": f"{board['level']:.0%}",
        "best": best,
        "counts": [(state, states.count(state)) for state in LOOKS if state in states],
        "legend": [(name, text) for name, text in LOOKS.items() if name in looks],
        "points_legend": [(name, LOOKS[name]) for name in _looks_of_points(board)],
        "interval_text": " and ".join(OVER[name] for name in over),
        "first_comparison": epochs_text(comparisons[0]) if comparisons else "",
        "notes": _notes(board, [*over]),
        "many": len(rows) > MAX_ROWS,
    }


def _pictures(board: Mapping[str, Any]) -> dict[str, Any]:
    rows, measure, forest = board["configurations"], common_measure(board), forest_plot(board)
    settings = {key: {row["point"]: row["settings"][key] for row in rows} for key in board["axes"]}
    return {
        "shades": SHADES,
        "tips": {row["point"]: _tip(board, row) for row in rows},
        "parallel": parallel_plot(board),
        "measure": measure,
        "scatters": scatter_plots(board, measure),
        "left_out": len(rows) - len(measure.values),
        "readings": {key: describe_trend(values, measure) for key, values in settings.items()},
        "forest": forest,
        "ranks": rank_plot(board) if forest and len(forest["rows"]) > MAX_ROWS else None,
    }


def _table(board: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    comparisons = [comparison_measure(board, number) for number in range(len(board["comparisons"]))]
    rows = board["configurations"]
    return {
        "axes": board["axes"],
        "short": _short_names(board["axes"]),
        "seeds": board["seeds"],
        "comparisons": comparisons,
        "columns": FIXED_COLUMNS + len(board["axes"]) + len(comparisons),
        "table": [row | {"runs": [_describe_run(trial, folder) for trial in row["trials"]]} for row in rows],
    }


def _summary(board: Mapping[str, Any]) -> str:
    number, seeds, places = len(board["configurations"]), len(board["seeds"]), board["comparisons"]
    each = f"{seeds} seed{'' if seeds == 1 else 's'} each"
    sizes = f"{number} configuration{'' if number == 1 else 's'}, {each}, at most {epochs_text(board['epochs'])}"
    ranked = f"ranked by {metric_name(board)} on the {board['split']} split"
    if not places:
        return f"{sizes}, no successive halving; {ranked}."
    *first, last = [f"{place:g}" for place in places[:-1]] + [epochs_text(places[-1])]
    after = f"{', '.join(first)} and {last}" if first else last
    return f"{sizes}; successive halving compares them after {after}; {ranked}."


def _notes(board: Mapping[str, Any], over: Sequence[str]) -> list[str]:
    split, metric, level = board["split"], metric_name(board), f"{board['level']:.0%}"
    notes = [
        f"The best configuration was chosen by {metric} on the {split} split, and that is the number shown: the best "
        "of several draws is partly luck, so it is optimistic. Measure the chosen one again on examples that had no "
        "part in the choice."
    ]
    if "images" in over:
        notes.append(
            f"Intervals over images ({level}, bootstrap) say how much the number would vary with other images, and "
            "nothing of how much it would vary with another seed."
        )
    if "seeds" in over:
        notes.append(
            f"Intervals over seeds ({level}, Student) say how far the mean of {len(board['seeds'])} seeds may lie from "
            "that of many, on these images."
        )
    notes.append(
        "Colours of the lines go by rank, from the first to the last; red is the best configuration; grey ones failed "
        "or have no number yet. In the plots of single axes the dots are full for configurations that were trained to "
        "the end, and hollow for others."
    )
    return notes


def _tip(board: Mapping[str, Any], row: Row) -> str:
    """What a configuration says under the pointer: its settings and numbers, a line each."""
    lines = [f"rank {row['rank']} of {len(board['configurations'])}, {row['state']} ({epochs_text(row['epochs'])})"]
    lines += [f"{key} {show(row['settings'][key])}" for key in board["axes"]]
    for number in range(len(board["comparisons"])):
        measure = comparison_measure(board, number)
        if row["point"] in measure.values:
            lines.append(f"{measure.name} {_number(measure.values[row['point']])}")
    if row["metric"] is not None:
        interval = f" ({_span(row['interval'])})" if row["interval"] else ""
        lines.append(f"{metric_name(board)} {_number(row['metric'])}{interval}")
    return "\n".join(lines)


def _looks_of_points(board: Mapping[str, Any]) -> list[str]:
    best, measure = best_row(board), common_measure(board)
    found = {look(row, best) for row in board["configurations"] if row["point"] in measure.values}
    return [name for name in LOOKS if name in found]


def _short_names(axes: Sequence[str]) -> dict[str, str]:
    """The last part of each key, where no other ends alike."""
    last = [key.rpartition(".")[2] for key in axes]
    return {key: name if last.count(name) == 1 else key for key, name in zip(axes, last, strict=True)}


def _describe_run(trial: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    run, here = Path(trial["run"]).absolute(), folder.absolute()
    below = run.is_relative_to(here)
    name = run.relative_to(here).as_posix() if below else str(trial["run"])
    link = quote(f"{name}/{Run(run).report.name}") if below and Run(run).report.is_file() else None
    return dict(trial) | {"folder": name, "link": link}


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.3f}"


def _span(bounds: Sequence[float]) -> str:
    return "–".join(f"{bound:.3f}" for bound in bounds)


def _label(text: str) -> str:
    return shorten(text, MAX_LABEL)


def _breakable(text: str) -> Markup:
    """A dotted key that may be broken after each part."""
    return Markup("<wbr>").join(re.findall(r"[^._/]*[._/]|[^._/]+", text))
