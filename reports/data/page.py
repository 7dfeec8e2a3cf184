"""One HTML file that shows what is wrong with captioned pictures, with the pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reports.templating import open_templates
from reports.thumbnails import thumbnail
from utils.io import write_text

THUMBNAIL_PIXELS = 160
MAX_STYLES = 40
"""Styles whose words and counts are shown; the JSON has all."""
SEVERITIES = {"error": "Training stops at it", "warning": "Results differ by it", "note": "Worth a look"}


def write_check_page(path: Path, report: Mapping[str, Any], *, title: str) -> None:
    """Write the page: one file that needs no network, with pictures as thumbnails inside.

    Args:
        path: The HTML file; replaced only once the new one is complete.
        report: What :func:`pipeline.check.check` writes as JSON.
        title: Headline, for example the run's name.
    """
    thumbnails = _Thumbnails()
    templates = open_templates(Path(__file__).parent.parent / "templates")
    page = templates.get_template("check.html.j2").render(
        title=title,
        report=report,
        severities=SEVERITIES,
        totals={name: sum(found["severity"] == name for found in report["findings"]) for name in SEVERITIES},
        styles=_style_table(report["splits"]),
        words=dict(list(report["style_words"].items())[:MAX_STYLES]),
        thumbnail=thumbnails.of,
    )
    write_text(path, page)


def _style_table(splits: Mapping[str, Any]) -> dict[str, dict[str, dict[str, int]]]:
    """By style, by split, its counts; the commonest styles first."""
    counts: dict[str, dict[str, dict[str, int]]] = {}
    for name, split in splits.items():
        for style, numbers in split["styles"].items():
            counts.setdefault(style, {})[name] = numbers
    ordered = sorted(counts.items(), key=lambda item: -sum(numbers["examples"] for numbers in item[1].values()))
    return dict(ordered[:MAX_STYLES])


class _Thumbnails:
    """Pictures as JPEG data URIs, each made once."""

    def __init__(self) -> None:
        self._made: dict[str, str | None] = {}

    def of(self, path: str) -> str | None:
        """At most ``THUMBNAIL_PIXELS`` wide and high, upright; None if it cannot be read."""
        if path not in self._made:
            try:
                self._made[path] = thumbnail(Path(path), THUMBNAIL_PIXELS)
            except (OSError, ValueError):  # which is a finding of its own
                self._made[path] = None
        return self._made[path]
