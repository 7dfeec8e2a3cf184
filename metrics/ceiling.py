"""The CIDEr that remains to whoever writes as people do, but is held to some rule of spelling."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

from metrics.scores.cider import cider_d
from metrics.scores.document_frequency import DocumentFrequency
from metrics.tokenizers.ptb import TOKENIZER_NAME, tokenize_many

MOST_EXAMPLES = 2_000
"""Examples that are scored; evenly spread ones of a larger split."""


class Ceiling(NamedTuple):
    """CIDEr of human captions as they are, and of the same under the rule."""

    method: str
    """``leave_one_out``: each caption against the others of its picture and style; ``itself``: against itself."""
    n: int
    """Captions scored."""
    as_written: float
    under_rule: float

    @property
    def lost(self) -> float:
        """Share of ``as_written`` that the rule costs."""
        return 0.0 if self.as_written == 0 else 1 - self.under_rule / self.as_written


def cider_ceilings(captions: Sequence[Sequence[str]], under_rule: Sequence[Sequence[str]]) -> list[Ceiling]:
    """What a rule for captions costs at the least.

    Captions of examples with several are scored against the others of their example, those of the rest against
    themselves, which is the most that any caption can have. Document frequencies are of these captions.

    Args:
        captions: Of each example, as people wrote them.
        under_rule: The same captions as a model under the rule would write them.

    Returns:
        One for each of the two methods that has examples; none for fewer than two examples, where CIDEr is 0.
    """
    step = -(-len(captions) // MOST_EXAMPLES) or 1
    captions, under_rule = captions[::step], under_rule[::step]
    if len(captions) < 2:
        return []
    written, ruled = _tokenize(captions), _tokenize(under_rule)
    frequencies = DocumentFrequency.from_references(written, tokenizer=TOKENIZER_NAME, eos=None)
    parts: dict[str, list[_Row]] = {"leave_one_out": [], "itself": []}
    for own, own_ruled in zip(written, ruled, strict=True):
        for place, (text, rule) in enumerate(zip(own, own_ruled, strict=True)):
            others = [*own[:place], *own[place + 1 :]]
            parts["leave_one_out" if others else "itself"].append(_Row(others or own, text, rule))
    return [_score(method, rows, frequencies) for method, rows in parts.items() if rows]


class _Row(NamedTuple):
    references: Sequence[str]
    text: str
    ruled: str


def _score(method: str, rows: Sequence[_Row], frequencies: DocumentFrequency) -> Ceiling:
    references = [row.references for row in rows]
    written = cider_d(references, [row.text for row in rows], frequencies)
    ruled = cider_d(references, [row.ruled for row in rows], frequencies)
    return Ceiling(method, len(rows), float(written.mean()), float(ruled.mean()))


def _tokenize(captions: Sequence[Sequence[str]]) -> list[list[str]]:
    words = iter(tokenize_many([text for own in captions for text in own]))
    return [list(islice(words, len(own))) for own in captions]
