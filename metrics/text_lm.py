"""How well a language model foretells texts: loss, perplexity, bits per byte, and the next words of documents."""

from __future__ import annotations

import math
import re
import string
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

MOST_NATS = 700.0
"""Of a token or word: what is beyond, as of text without spaces by who has learnt nothing, has no exponential."""
DOCUMENT_METRICS: Mapping[str, bool] = {
    "loss": False,
    "perplexity": False,
    "bits_per_byte": False,
    "next_word_hit_rate": True,
    "next_word_first_rate": True,
}
"""By name whether more of it is better."""
WORD = re.compile(r"\S+")


class TextScore(NamedTuple):
    """What a text, or several together, cost a model."""

    nats: float
    """Negative log-likelihood of its tokens with EOS, given its control code."""
    tokens: int
    """With EOS."""
    num_bytes: int
    """Of the text in UTF-8."""


def total(scores: Sequence[TextScore]) -> TextScore:
    """Several texts as one."""
    nats, tokens, num_bytes = (zip(*scores, strict=True)) if scores else ((), (), ())
    return TextScore(math.fsum(nats), sum(tokens), sum(num_bytes))


def perplexity(nats: float) -> float:
    """Of a mean cost of a token or word; what has no exponential any more counts as ``MOST_NATS``."""
    return math.exp(min(nats, MOST_NATS))


def text_numbers(score: TextScore) -> dict[str, float | None]:
    """The numbers of a score by name.

    Returns:
        ``loss`` in nats per token, ``perplexity`` per token, and ``bits_per_byte``, the only one that models with
        different tokenizers can be compared by. None where there is nothing to divide by.
    """
    loss = score.nats / score.tokens if score.tokens else None
    return {
        "loss": loss,
        "perplexity": None if loss is None else perplexity(loss),
        "bits_per_byte": score.nats / math.log(2) / score.num_bytes if score.num_bytes else None,
    }


class Place(NamedTuple):
    """A place within a document where a word is looked for."""

    document: int
    before: str
    """The text up to there, without white space at its end."""
    word: str
    """What follows."""


def places_of(texts: Mapping[int, str], most: int) -> Iterator[Place]:
    """Places before the words of texts but for their first, spread evenly over all of them.

    Args:
        texts: By the number of the document.
        most: So many places at most.
    """
    every = sum(max(0, len(text.split()) - 1) for text in texts.values()) if most else 0
    chosen = min(most, every)
    if not chosen:
        return
    passed = 0  # of all places those before this one, of which about passed * chosen / every were taken
    for number, text in texts.items():
        begins = [found.start() for found in WORD.finditer(text)][1:]
        for begin in begins:
            if passed * chosen % every < chosen:
                word = WORD.match(text, begin)
                assert word is not None  # that is where it was found
                yield Place(number, text[:begin].rstrip(), word[0])
            passed += 1


def is_same_word(a: str, b: str) -> bool:
    """Whether two words are the same but for case and the punctuation around them."""
    return _plain(a) == _plain(b)


def _plain(word: str) -> str:
    return (word.strip(string.punctuation) or word).casefold()


def hit_rates(places: Sequence[Place], proposed: Sequence[Sequence[str]]) -> dict[str, Any]:
    """How often the word that follows is among those that were proposed.

    Args:
        places: Where words were looked for.
        proposed: For each the words, likeliest first.

    Returns:
        ``next_word_hit_rate`` among all that were proposed, ``next_word_first_rate`` with the first of them; None
        without places.
    """
    found = [[is_same_word(word, place.word) for word in words] for place, words in zip(places, proposed, strict=True)]
    number = len(found)
    return {
        "next_word_hit_rate": sum(map(any, found)) / number if number else None,
        "next_word_first_rate": sum(row[0] for row in found if row) / number if number else None,
    }
