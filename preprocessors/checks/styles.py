"""Styles that nobody trains, and styles that look like a misspelling of another."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from preprocessors.checks.captions import Splits
from preprocessors.checks.findings import Case, Findings
from preprocessors.examples import CaptionExample
from preprocessors.text.style_names import fold_name

ALIKE = 0.85
"""difflib's ratio from which two names are taken for spellings of one."""
RARER = 10
"""So many times rarer is the misspelling; names as common as each other are meant, such as rational and irrational."""
SUGGESTED = 0.6
"""difflib's ratio from which a style is suggested for an unknown one."""


def check_styles(splits: Splits, findings: Findings, neutral: str = "") -> None:
    """Add what is wrong with styles; those of val and test are held against train's and the neutral one."""
    findings.add("near_miss_style", _near_misses(splits.get("train", ())))
    findings.add("unknown_style", _unknown(splits, neutral))


def _unknown(splits: Splits, neutral: str) -> Iterator[Case]:
    trained = {fold_name(example.style): example.style for example in splits.get("train", ())}
    for examples in (examples for name, examples in splits.items() if name != "train" and trained):
        rows = Counter(fold_name(example.style) for example in examples)
        told: set[str] = set()
        for example in examples:
            key = fold_name(example.style)
            if key not in trained and key not in told and key != fold_name(neutral):
                told.add(key)
                nearest = difflib.get_close_matches(key, trained, n=3, cutoff=SUGGESTED)
                hint = f"; nearest: {', '.join(trained[name] for name in nearest)}" if nearest else ""
                yield Case(example.where, f"{example.style!r} ({rows[key]} rows{hint})")


def _near_misses(train: Sequence[CaptionExample]) -> Iterator[Case]:
    rows = Counter(fold_name(example.style) for example in train)
    firsts: dict[str, CaptionExample] = {}
    for example in train:
        firsts.setdefault(fold_name(example.style), example)
    for key, example in firsts.items():
        commoner = [other for other in rows if other != key and _is_meant(key, other, rows)]
        if commoner:
            best = max(commoner, key=lambda other: difflib.SequenceMatcher(None, key, other).ratio())
            value = f"{example.style!r} ({rows[key]} rows) for {firsts[best].style!r} ({rows[best]} rows)"
            yield Case(example.where, value)


def _is_meant(key: str, other: str, rows: Counter[str]) -> bool:
    if _bare(key) == _bare(other):
        return (rows[key], key) < (rows[other], other)  # one of the two
    if rows[key] * RARER > rows[other] or abs(len(key) - len(other)) > max(len(key), len(other)) * 2 * (1 - ALIKE):
        return False
    matcher = difflib.SequenceMatcher(None, key, other)
    return matcher.quick_ratio() >= ALIKE and matcher.ratio() >= ALIKE


def _bare(key: str) -> str:
    """Letters and digits alone: ``matter-of-fact`` and ``Matter of Fact`` are one."""
    return re.sub(r"[\W_]+", "", key)
