"""The card of captions that were cut at the limit of their length."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reports.run.tables import percent

MOST_STYLES = 3


def endings_card(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A card with the share of captions that were cut, or none: older results do not tell.

    Args:
        results: Of an evaluation.
    """
    found = results.get("length") or {}
    if found.get("cut_share") is None:
        return []
    notes = [f"{found['cut']:,} of {results['n']:,}, at {found['max_length']} tokens"]
    per_style = found.get("per_style") or {}
    worst = sorted((style for style in per_style if per_style[style]["cut"]), key=lambda s: -per_style[s]["cut_share"])
    if len(per_style) > 1 and worst:
        listed = ", ".join(f"{style} {percent(per_style[style]['cut_share'])}" for style in worst[:MOST_STYLES])
        notes.append(listed + (", …" if len(worst) > MOST_STYLES else ""))
    if found.get("references_over"):
        notes.append(f"people’s captions longer than that: {percent(found['references_over'])}")
    return [{"label": "Cut at the limit", "value": percent(found["cut_share"]), "notes": notes}]
