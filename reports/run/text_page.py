"""One HTML file that shows a text run: its numbers, by style, texts that its model wrote, its losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from reports.run.charts import Points, line_chart, training_charts
from reports.run.page import flatten
from reports.run.tables import number, percent
from reports.templating import hues_of, open_templates
from utils.io import write_text

CARDS = {
    "perplexity": ("Perplexity", "per token; as many tokens could follow on average"),
    "bits_per_byte": ("Bits per byte", "the number to compare models with other tokenizers by"),
    "loss": ("Loss", "nats per token"),
    "next_word_hit_rate": ("Next word", "is among five that the model proposes"),
    "next_word_first_rate": ("Next word first", "is the first that it proposes"),
}
"""By name the label of a number, and what it says."""
RATES = ("next_word_hit_rate", "next_word_first_rate")
STYLE_NUMBERS = ("perplexity", "bits_per_byte", "loss")


def write_text_report(
    path: Path,
    *,
    title: str,
    results: Mapping[str, Any],
    texts: Sequence[Mapping[str, Any]],
    losses: Mapping[str, Points],
    config: Mapping[str, Any],
    training: Mapping[str, Points] = MappingProxyType({}),
) -> None:
    """Write the report: one file that needs no network.

    Args:
        path: The HTML file; replaced only once the new one is complete.
        title: Headline, for example the run's name.
        results: What ``pipeline.text.scoring.text_results`` returned, with ``provenance`` and maybe a ``note``.
        texts: What the model wrote: ``style``, ``caption``, ``ended``.
        losses: By curve ("train", "val") the points (optimizer step, loss in nats per token); may be empty.
        config: The resolved configuration, JSON-like.
        training: The other numbers logged in training, see :func:`reports.run.charts.training_charts`.
    """
    templates = open_templates(Path(__file__).parent.parent / "templates")
    templates.filters |= {form.__name__: form for form in (number, percent)}
    page = templates.get_template("text.html.j2").render(
        title=title,
        cards=[_card(name, results) for name in CARDS if results["overall"].get(name) is not None],
        results=results,
        names={name: CARDS[name][0] for name in STYLE_NUMBERS},
        texts=texts,
        hues=hues_of([*results["per_style"], *(text["style"] for text in texts)]),
        chart=line_chart(losses),
        training=training_charts(training),
        details={"Configuration": flatten(config), "Provenance": flatten(results["provenance"])},
    )
    write_text(path, page)


def _card(name: str, results: Mapping[str, Any]) -> dict[str, str]:
    label, note = CARDS[name]
    value = results["overall"][name]
    if name in RATES:
        note = f"{note}, at {results['places']:,} places"
    return {"label": label, "value": percent(value) if name in RATES else number(value), "note": note}
