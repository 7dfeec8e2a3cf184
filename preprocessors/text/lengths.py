"""How long captions are in a model's tokens, and which limit covers them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from preprocessors.text.captions import Punctuation, TextTokenizer, clean_caption, encode_caption

MOST_COUNTED = 50_000
"""Captions whose tokens are counted, 25 microseconds each; of more than these, so many spread evenly."""
COVERED_PERMILLE = 995
"""Of a thousand captions so many are to fit. The rest is mostly stories and faults of the data."""


@dataclass(frozen=True)
class CaptionLengths:
    """How many captions of each style have how many tokens, EOS not counted.

    Attributes:
        by_style: Number of captions by style and tokens.
        is_sample: Whether these are some of many captions.
        repeating: Captions in which an n-gram of tokens that may not come twice does.
    """

    by_style: Mapping[str, Mapping[int, int]]
    is_sample: bool = False
    repeating: int = 0

    @property
    def total(self) -> int:
        """Number of captions counted."""
        return sum(sum(counts.values()) for counts in self.by_style.values())

    @property
    def longest(self) -> int:
        """Tokens of the longest caption; 0 without captions."""
        return max((length for counts in self.by_style.values() for length in counts), default=0)

    def over(self, limit: int) -> dict[str, int]:
        """By style the number of captions with more than ``limit`` tokens."""
        return {
            style: sum(number for length, number in counts.items() if length > limit)
            for style, counts in self.by_style.items()
        }

    def covering(self, permille: int = COVERED_PERMILLE) -> int:
        """The smallest limit within which so many of a thousand captions stay, 1 at least."""
        counts: Counter[int] = Counter()
        for of_style in self.by_style.values():
            counts.update(of_style)
        needed, covered = -(-counts.total() * permille // 1000), 0
        for length in sorted(counts):
            covered += counts[length]
            if covered >= needed:
                return max(1, length)
        return 1


def caption_lengths(
    captions_by_style: Mapping[str, Sequence[str]],
    tokenizer: TextTokenizer,
    punctuation: Punctuation,
    no_repeat_ngram_size: int = 0,
) -> CaptionLengths:
    """Count the tokens of captions as they are trained on, without any limit.

    Args:
        captions_by_style: Captions by style.
        tokenizer: Of the model.
        punctuation: Rule for the captions.
        no_repeat_ngram_size: Of generation; 0 counts no repetitions.
    """
    stride = max(1, -(-sum(map(len, captions_by_style.values())) // MOST_COUNTED))
    counts: dict[str, Counter[int]] = {}
    repeating = 0
    for style, captions in captions_by_style.items():
        counts[style] = Counter()
        # What is written twice is encoded once: constant captions and made-up data repeat a lot.
        for caption, number in Counter(captions[::stride]).items():
            token_ids = encode_caption(tokenizer, clean_caption(caption, punctuation=punctuation))
            counts[style][len(token_ids)] += number
            repeating += number * _repeats(token_ids, no_repeat_ngram_size)
    return CaptionLengths(counts, stride > 1, repeating)


def _repeats(token_ids: Sequence[int], size: int) -> bool:
    if size == 0:
        return False
    ngrams = [tuple(token_ids[start : start + size]) for start in range(len(token_ids) - size + 1)]
    return len({*ngrams}) < len(ngrams)
