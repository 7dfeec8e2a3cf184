"""Two runs side by side as one HTML file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reports.run.charts import Points, line_chart
from reports.runs.text import differing_text, metric_rows
from reports.templating import open_templates
from utils.io import shorten_json, write_text

FIRST_CHARTS = ("val/loss", "val/nll", "val/CIDEr", "train/loss", "train/reward")
"""What is drawn first, of what both runs have."""
NOT_DRAWN = {"train/lr"}
"""The configuration says it."""
TEMPLATES = Path(__file__).parent.parent / "templates"
VALUE_LENGTH = 300


def write_comparison(path: Path, found: Mapping[str, Any], curves: tuple[Mapping[str, Points], ...]) -> None:
    """Write the page: one file that needs no network.

    Args:
        path: The HTML file; replaced only once the new one is complete.
        found: What ``pipeline.runs.compare_runs`` found.
        curves: Of A and of B by name the points (optimizer step, value).
    """
    tables = {
        title: [
            (place, *(shorten_json(value, VALUE_LENGTH) for value in values)) for place, values in found[name].items()
        ]
        for title, name in (("Configuration", "configuration"), ("Data", "data"), ("Environment", "environment"))
    }
    page = (
        open_templates(TEMPLATES)
        .get_template("compare.html.j2")
        .render(
            title=f"{Path(found['a']).name} and {Path(found['b']).name}",
            found=found,
            rows={split: metric_rows(scores) for split, scores in found["metrics"].items()},
            charts=both_curves(*curves),
            tables=tables,
            code=differing_text(found["source"]),
        )
    )
    write_text(path, page)


def both_curves(a: Mapping[str, Points], b: Mapping[str, Points]) -> list[dict[str, Any]]:
    """A chart with two curves for every number that both runs logged."""
    names = dict.fromkeys([*FIRST_CHARTS, *sorted(a)])
    common = [name for name in names if a.get(name) and b.get(name) and name not in NOT_DRAWN]
    drawn = ((name, line_chart({"A": a[name], "B": b[name]})) for name in common)
    return [{"title": name} | chart for name, chart in drawn if chart is not None]
