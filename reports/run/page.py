"""One HTML file that shows a run: its numbers, its pictures with captions, its losses and where they come from."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from metrics.baselines import neighbours_verdict
from metrics.table import label_of
from reports.run.alignment import alignments
from reports.run.charts import Points, confusion_map, line_chart, training_charts
from reports.run.endings import endings_card
from reports.run.tables import (
    describe_confidence,
    diversity_cards,
    headline_cards,
    judge_table,
    number,
    percent,
    place,
    span,
    style_table,
    whole_percent,
)
from reports.templating import hues_of, open_templates
from reports.thumbnails import thumbnail
from utils.io import write_text

logger = logging.getLogger(__name__)

THUMBNAIL_PIXELS = 240
MAX_REASON_NAMES = 5


@dataclass(frozen=True)
class ReportRow:
    """One captioned picture in one style."""

    example_id: str
    image_path: Path
    style: str
    caption: str
    """What the model wrote; may be empty."""
    references: Sequence[str]
    """What people wrote for this picture in this style; may be empty."""


def write_report(
    path: Path,
    *,
    title: str,
    results: Mapping[str, Any],
    rows: Sequence[ReportRow],
    losses: Mapping[str, Points],
    config: Mapping[str, Any],
    settings: Mapping[str, Any],
    training: Mapping[str, Points] = MappingProxyType({}),
    training_labels: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Write the report: one file that needs no network, with pictures as thumbnails inside.

    A picture that cannot be read is replaced by its name and logged: a report must not fail after the training
    that it is about.

    Args:
        path: The HTML file; replaced only once the new one is complete.
        title: Headline, for example the run's name.
        results: What ``metrics.results.evaluate_captions`` returned.
        rows: Captions to show; those of one picture are put together, in the order given.
        losses: By curve ("train", "val") the points (optimizer step, loss in nats per token); may be empty.
        config: The resolved configuration, JSON-like.
        settings: Decoding settings to name beside the captions.
        training: The other numbers logged in training, see :func:`reports.run.charts.training_charts`.
        training_labels: Titles of those that no chart knows.
    """
    templates = open_templates(Path(__file__).parent.parent / "templates")
    templates.filters |= {form.__name__: form for form in (number, percent, place, span, whole_percent)}
    judged = results.get("style") or {}
    confusion = confusion_map(judged.get("confusion") or {})
    styles = [*results["per_style"], *(judged.get("per_style") or {}), *(row.style for row in rows)]
    page = templates.get_template("report.html.j2").render(
        title=title,
        cards=[*headline_cards(results), *endings_card(results)],
        confidence=describe_confidence(results),
        table=style_table(results),
        verdict=neighbours_verdict(results),
        judged=judge_table(results, with_mistakes=confusion is not None and not confusion["rows"]),
        confusion=confusion,
        diversity=diversity_cards(results),
        unavailable=_by_reason(results["unavailable"]),
        pictures=_pictures(rows),
        alignments={row.example_id: alignments(results, row.caption, row.references) for row in rows},
        hues=hues_of(styles),
        chart=line_chart(losses),
        self_critical="scst" in training,
        preference="preference" in training,
        training=training_charts(training, training_labels),
        settings=flatten(settings),
        details={"Configuration": flatten(config), "Provenance": flatten(results["provenance"])},
    )
    write_text(path, page)


def _by_reason(unavailable: Mapping[str, str]) -> dict[str, str]:
    """By reason, the names of the metrics that it concerns; of many names the first and how many more."""
    grouped: dict[str, list[str]] = {}
    for name, reason in unavailable.items():
        grouped.setdefault(reason, []).append(label_of(name))
    return {reason.rstrip("."): _first_names(names) for reason, names in grouped.items()}


def _first_names(names: Sequence[str]) -> str:
    more = len(names) - MAX_REASON_NAMES
    return ", ".join(names[:MAX_REASON_NAMES]) + (f" and {more} more" if more > 0 else "")


def _pictures(rows: Iterable[ReportRow]) -> list[dict[str, Any]]:
    grouped: dict[Path, list[ReportRow]] = {}
    for row in rows:
        grouped.setdefault(row.image_path, []).append(row)
    return [{"name": path.name, "source": _thumbnail(path), "rows": group} for path, group in grouped.items()]


def _thumbnail(path: Path) -> str | None:
    """The picture as a JPEG data URI, at most ``THUMBNAIL_PIXELS`` wide and high; None if it cannot be read."""
    try:
        return thumbnail(path, THUMBNAIL_PIXELS)
    except (OSError, ValueError) as error:
        logger.warning("%s: left out of the report: %s", path, getattr(error, "reason", error))
        return None


def flatten(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested groups as (dotted key, text) in the order given."""
    flat: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat += flatten(value, f"{prefix}{key}.")
        else:
            text = str(value) if isinstance(value, str | Path) else json.dumps(value, default=str, ensure_ascii=False)
            flat.append((f"{prefix}{key}", text))
    return flat
