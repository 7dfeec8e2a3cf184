"""One HTML file that shows a run: its numbers, its pictures with captions, its losses and where they come from."""

from __future__ import annotations

import base64
import io
import json
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from preprocessors.images import DECODE_ERRORS
from utils.io import write_text

logger = logging.getLogger(__name__)

THUMBNAIL_PIXELS = 240
MAX_CURVE_POINTS = 200
LABELS = {f"Bleu_{n}": f"BLEU-{n}" for n in range(1, 5)} | {"ROUGE_L": "ROUGE-L"}
HUES = (32, 345, 212, 150, 268, 186, 90, 310, 8, 238)
"""Hues (degrees) of the style tags, in the order in which styles appear; they start again after the last."""


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
    losses: Mapping[str, Sequence[tuple[int, float]]],
    config: Mapping[str, Any],
    settings: Mapping[str, Any],
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
    """
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    styles = dict.fromkeys([*results["per_style"], *(row.style for row in rows)])
    page = templates.get_template("report.html.j2").render(
        title=title,
        cards=_cards(results),
        table=_style_table(results),
        unavailable=_by_reason(results["unavailable"]),
        pictures=_pictures(rows),
        hues={style: HUES[i % len(HUES)] for i, style in enumerate(styles)},
        chart=_loss_chart(losses),
        settings=_flatten(settings),
        details={"Configuration": _flatten(config), "Provenance": _flatten(results["provenance"])},
    )
    write_text(path, page)


def _cards(results: Mapping[str, Any]) -> list[dict[str, str]]:
    """The headline numbers as label, value and a note."""
    overall, diversity = results["overall"], results["diversity"]
    constant = results.get("baseline_constant", {}).get("overall", {}).get("CIDEr")
    notes = {"CIDEr": "scale 0–10" if constant is None else f"constant caption {constant:.3f}"}
    names = [name for name in ("CIDEr", "Bleu_4", "ROUGE_L", "METEOR", "SPICE", "Bleu_1") if overall[name] is not None]
    cards = [
        {"label": LABELS.get(name, name), "value": f"{overall[name]:.3f}", "note": notes.get(name, "scale 0–1")}
        for name in names
    ]
    cards += [
        {"label": name.replace("_", " "), "value": f"{value:.3f}", "note": "style"}
        for name, value in results["style"].items()
        if isinstance(value, int | float)
    ]
    length, unique = diversity["mean_length"], diversity["unique_captions"]
    cards.append({"label": "Caption length", "value": f"{length:.1f}", "note": "words on average"})
    cards.append({"label": "Different captions", "value": f"{unique:.0%}", "note": f"of {results['n']:,}"})
    return cards


def _style_table(results: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics that exist as columns, styles as rows, all styles together last."""
    overall, baselines = results["overall"], results.get("baseline_constant", {})
    names = [name for name, value in overall.items() if value is not None and name != "CIDEr"]

    def row(style: str | None, scores: Mapping[str, Any], baseline: Mapping[str, Any], n: int) -> dict[str, Any]:
        constant = baseline.get("CIDEr")
        return {
            "style": style,
            "n": n,
            "cider": scores["CIDEr"],
            "constant": constant,
            "gain": None if constant is None else scores["CIDEr"] - constant,
            "constant_caption": baseline.get("caption", ""),
            "values": [scores[name] for name in names],
        }

    # A style that could not be scored has its reason in ``unavailable``, which stands below the table.
    scored = {style: scores for style, scores in results["per_style"].items() if scores["CIDEr"] is not None}
    rows = [row(style, scores, baselines.get(style, {}), scores["n"]) for style, scores in scored.items()]
    rows.append(row(None, overall, baselines.get("overall", {}), results["n"]))
    return {"names": [LABELS.get(name, name) for name in names], "rows": rows, "has_constant": bool(baselines)}


def _by_reason(unavailable: Mapping[str, str]) -> dict[str, str]:
    """By reason, the names of the metrics that it concerns."""
    grouped: dict[str, list[str]] = {}
    for name, reason in unavailable.items():
        grouped.setdefault(reason, []).append(name)
    return {reason: ", ".join(names) for reason, names in grouped.items()}


def _pictures(rows: Iterable[ReportRow]) -> list[dict[str, Any]]:
    grouped: dict[Path, list[ReportRow]] = {}
    for row in rows:
        grouped.setdefault(row.image_path, []).append(row)
    return [{"name": path.name, "source": _thumbnail(path), "rows": group} for path, group in grouped.items()]


def _thumbnail(path: Path) -> str | None:
    """The picture as a JPEG data URI, at most ``THUMBNAIL_PIXELS`` wide and high; None if it cannot be read."""
    try:
        with Image.open(path) as image:
            small = image.convert("RGB")
    except DECODE_ERRORS as error:
        logger.warning("%s: left out of the report: %s", path, error)
        return None
    small.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=90, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _loss_chart(losses: Mapping[str, Sequence[tuple[int, float]]]) -> dict[str, Any] | None:
    """Curves and ticks in percent of the plot's width and height, y downwards; None if there is nothing to draw."""
    finite = {name: [point for point in points if math.isfinite(point[1])] for name, points in losses.items()}
    curves = {name: _thin_out(sorted(points)) for name, points in finite.items() if points}
    if not curves:
        return None
    steps, values = zip(*(point for points in curves.values() for point in points), strict=True)
    x_ticks = _ticks(0, max(steps))
    y_ticks = _ticks(min(values), max(values))
    x_high, y_low, y_high = max(max(steps), 1), y_ticks[0], y_ticks[-1]

    def place(step: float, value: float) -> tuple[float, float]:
        return round(100 * step / x_high, 3), round(100 * (y_high - value) / (y_high - y_low), 3)

    return {
        "curves": [
            {
                "name": name,
                "last": finite[name][-1][1],
                "points": [{"at": place(step, value), "step": step, "value": value} for step, value in points],
            }
            for name, points in curves.items()
        ],
        "x_ticks": [(place(tick, y_low)[0], f"{tick:,.0f}") for tick in x_ticks if tick <= x_high],
        "y_ticks": [(place(0, tick)[1], f"{tick:g}") for tick in y_ticks],
        "not_finite": sum(len(points) for points in losses.values()) - sum(len(points) for points in finite.values()),
    }


def _thin_out(points: Sequence[tuple[int, float]]) -> list[tuple[float, float]]:
    """Replace neighbours by their mean so that at most ``MAX_CURVE_POINTS`` are left."""
    width = math.ceil(len(points) / MAX_CURVE_POINTS)
    chunks = [points[start : start + width] for start in range(0, len(points), width)]
    return [(sum(x for x, _ in chunk) / len(chunk), sum(y for _, y in chunk) / len(chunk)) for chunk in chunks]


def _ticks(low: float, high: float) -> list[float]:
    """About five round numbers in steps of 1, 2 or 5 times a power of ten; the first <= low, the last >= high."""
    if high <= low:
        high = low + 1
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(tick * step, 10) for tick in range(first, last + 1)]


def _flatten(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested groups as (dotted key, text) in the order given."""
    flat: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat += _flatten(value, f"{prefix}{key}.")
        else:
            text = str(value) if isinstance(value, str | Path) else json.dumps(value, default=str, ensure_ascii=False)
            flat.append((f"{prefix}{key}", text))
    return flat
