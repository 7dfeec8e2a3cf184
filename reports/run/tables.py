"""The report's numbers as rows and cards. Every part of the results that came later may be absent, empty or None."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from metrics.table import METRICS, headlines, label_of
from reports.run.charts import mistakes


class Measure(NamedTuple):
    """How one number of ``diversity`` is shown."""

    label: str
    form: str
    """Format specification."""
    better: str
    """"higher", "lower", or "" where neither is."""
    meaning: str


DIVERSITY = {
    "unique_captions": Measure("Different captions", ".0%", "higher", "of {n:,}"),
    "vocabulary": Measure("Vocabulary", ",.0f", "higher", "different words"),
    "distinct_1": Measure("Distinct-1", ".3f", "higher", "different words, per word written"),
    "distinct_2": Measure("Distinct-2", ".3f", "higher", "different word pairs, per pair written"),
    "self_cider": Measure(
        "Self-CIDEr", ".3f", "higher", "1: the captions of a photo share nothing; 0: they are the same"
    ),
    "mbleu_4": Measure(
        "mBLEU-4", ".3f", "lower", "1: the captions of a photo are the same; 0: no four words in a row are"
    ),
    "copied_share": Measure("Copied captions", ".1%", "lower", "are word for word a training caption"),
    "mean_length": Measure("Caption length", ".1f", "", "words on average"),
}

BASELINES = ("constant", "neighbours")
"""Keys of a row under which their CIDEr stands."""


def headline_cards(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The headline numbers, each with a label, a value and notes."""
    overall, style = results["overall"], results.get("style") or {}
    baselines = {"constant caption": _constant(results, None), "nearest pictures’ captions": _neighbours(results, None)}
    reached = [f"{name} {found['CIDEr']:.3f}" for name, found in baselines.items() if found.get("CIDEr") is not None]
    cards = []
    for name in (name for name in headlines() if overall.get(name) is not None):
        interval = _interval(results, name, None)
        notes = [] if interval is None else [f"{_level(results)}: {span(interval)}"]
        notes += reached if name == "CIDEr" and reached else [f"scale {_scale(name)}"]
        cards.append({"label": label_of(name), "value": number(overall[name]), "notes": notes})
    if style.get("accuracy") is not None:
        notes = [
            f"people’s captions: {percent(style.get('judge_accuracy'))}",
            f"chance: {percent(style.get('chance'))}",
        ]
        cards.append({"label": "Style recognised", "value": percent(style["accuracy"]), "notes": notes})
    return cards


def describe_confidence(results: Mapping[str, Any]) -> str:
    """What the intervals are, in a line; "" where there are none."""
    confidence = results.get("confidence") or {}
    if not confidence.get("overall") and not confidence.get("per_style"):
        return ""
    return f"{_level(results)} bootstrap interval over {confidence['unit']}s, {confidence['resamples']:,} resamples"


def style_table(results: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics that exist as columns, styles as ``rows``, all styles together as ``total``."""
    overall = results["overall"]
    names = [name for name, value in overall.items() if value is not None and name != "CIDEr"]

    def row(style: str | None, scores: Mapping[str, Any], n: int) -> dict[str, Any]:
        cider, constant, neighbours = scores.get("CIDEr"), _constant(results, style), _neighbours(results, style)
        return {
            "style": style,
            "n": n,
            "cider": cider,
            "interval": _interval(results, "CIDEr", style),
            "constant": constant.get("CIDEr"),
            "gain": _gain(cider, constant.get("CIDEr")),
            "constant_caption": constant.get("caption", ""),
            "neighbours": neighbours.get("CIDEr"),
            "neighbours_gain": _gain(cider, neighbours.get("CIDEr")),
            "neighbours_interval": neighbours.get("gain_interval"),
            "values": [(scores.get(name), _interval(results, name, style)) for name in names],
        }

    # A style that could not be scored has its reason in ``unavailable``, which stands below the table.
    rows = [
        row(style, scores, scores["n"])
        for style, scores in results["per_style"].items()
        if any(value is not None for name, value in scores.items() if name != "n")
    ]
    rows.append(row(None, overall, results["n"]))
    with_interval = [row for row in rows if row["interval"] is not None]
    top = max(
        (max(row["interval"][1], row["constant"] or 0.0, row["neighbours"] or 0.0) for row in with_interval),
        default=0.0,
    )
    *rows, total = [row | {"range": _range(row, top)} for row in rows]
    return {
        "names": [label_of(name) for name in names],
        "scales": _scales(names),
        "rows": rows,
        "total": total,
        "has_constant": bool(results.get("baseline_constant")),
        "has_neighbours": any(row["neighbours"] is not None for row in [*rows, total]),
        "level": _level(results) if with_interval else "",
    }


def _scale(name: str) -> str:
    return f"0–{METRICS[name].top:.3g}" + ("" if METRICS[name].higher_is_better else " (lower is better)")


def _scales(names: Sequence[str]) -> str:
    """Where the scales of the table's columns end: CIDEr's, then by name those that are not like most."""
    scales = {label_of(name): _scale(name) for name in names if name in METRICS}
    special = [f"{label} {scale}" for label, scale in scales.items() if scale != "0–1"]
    return ", ".join([f"CIDEr scale {_scale('CIDEr')}", *special, "the others 0–1"])


def _range(row: Mapping[str, Any], top: float) -> dict[str, float | None] | None:
    """Places of a row's interval, CIDEr and baselines in percent of a scale that ends at ``top``; None without one."""
    if row["interval"] is None or top <= 0:
        return None
    low, high = row["interval"]
    marks = {"low": low, "high": high, "value": row["cider"]}
    marks |= {name: row[name] for name in BASELINES}
    return {name: None if value is None else round(100 * value / top, 2) for name, value in marks.items()}


def judge_table(results: Mapping[str, Any], *, with_mistakes: bool) -> dict[str, Any] | None:
    """How often each style is recognised, in the model's and in people's captions; None without a judge.

    Args:
        results: What ``metrics.results.evaluate_captions`` returned.
        with_mistakes: Give each row its most frequent ``mistake`` (None if there is none).
    """
    judged = results.get("style") or {}
    if not judged:
        return None
    # The most frequent come first, so from the end: what stays under a style is its most frequent.
    most_frequent = {found.asked: found for found in reversed(mistakes(judged.get("confusion") or {}))}
    rows = [
        {"style": style, "mistake": most_frequent.get(style), **_judged(scores)}
        for style, scores in (judged.get("per_style") or {}).items()
    ]
    return {
        "judge": judged.get("judge"),
        "train_captions": judged.get("train_captions"),
        "held_out_captions": judged.get("held_out_captions"),
        "chance": judged.get("chance"),
        "rows": rows,
        "total": {"style": None, "mistake": None, **_judged(judged | {"n": results["n"]})},
        "has_accuracy": judged.get("accuracy") is not None,
        "has_perplexity": any(row["perplexity"] is not None for row in rows),
        "has_mistakes": with_mistakes and bool(most_frequent),
    }


def _judged(scores: Mapping[str, Any]) -> dict[str, Any]:
    names = ("n", "accuracy", "judge_accuracy", "perplexity", "reference_perplexity")
    return {name: scores.get(name) for name in names}


def diversity_cards(results: Mapping[str, Any]) -> list[dict[str, str]]:
    """The numbers of ``diversity`` that exist, each with what it means and which direction is better."""
    found = results.get("diversity") or {}
    return [
        {
            "label": shown.label,
            "value": format(found[name], shown.form),
            "better": shown.better,
            "meaning": shown.meaning.format(n=results["n"]),
        }
        for name, shown in DIVERSITY.items()
        if found.get(name) is not None
    ]


def _constant(results: Mapping[str, Any], style: str | None) -> Mapping[str, Any]:
    """The best constant caption and its CIDEr in a style (None: of all styles together); {} if there is none."""
    return (results.get("baseline_constant") or {}).get("overall" if style is None else style) or {}


def _neighbours(results: Mapping[str, Any], style: str | None) -> Mapping[str, Any]:
    """What the nearest training pictures' captions reach, likewise."""
    found = results.get("baseline_neighbours") or {}
    return (found.get("overall") if style is None else (found.get("per_style") or {}).get(style)) or {}


def _gain(cider: float | None, baseline: float | None) -> float | None:
    return None if cider is None or baseline is None else cider - baseline


def _interval(results: Mapping[str, Any], metric: str, style: str | None) -> tuple[float, float] | None:
    """The confidence interval of a metric in a style (None: in all of them together), None if there is none."""
    confidence = results.get("confidence") or {}
    by_metric = confidence.get("overall") if style is None else (confidence.get("per_style") or {}).get(style)
    bounds = (by_metric or {}).get(metric)
    return None if bounds is None else (bounds[0], bounds[1])


def _level(results: Mapping[str, Any]) -> str:
    return f"{results['confidence']['level']:.0%}"


def number(value: float | None, digits: int = 3) -> str:
    """With ``digits`` decimals; a dash for None."""
    return "–" if value is None else f"{value:,.{digits}f}"


def span(bounds: Sequence[float]) -> str:
    """An interval as "low–high"."""
    return "–".join(f"{bound:.3f}" for bound in bounds)


def percent(share: float | None) -> str:
    """A share in [0, 1] with one decimal; a dash for None."""
    return "–" if share is None else f"{share:.1%}"


def whole_percent(share: float | None) -> str:
    """A share without decimals that says 0% and 100% only where it is exactly that; a dash for None."""
    if share is None:
        return "–"
    rounded = f"{share:.0%}"
    if rounded == "0%" and share > 0:
        return "<1%"
    return ">99%" if rounded == "100%" and share < 1 else rounded


def place(share: float | None) -> float | None:
    """A share in [0, 1] as a place in percent of a width."""
    return None if share is None else round(100 * share, 2)
