"""Which words are typical of a style, by weighted log-odds against all other styles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from preprocessors.text.captions import Punctuation, clean_caption
from preprocessors.text.words import compared_words, is_unspaced

THRESHOLD = 1.96  # z above which chance would put 2.5% of the words that make no difference


def style_word_scores(
    captions_by_style: Mapping[str, Sequence[str]], punctuation: Punctuation = "strip"
) -> dict[str, dict[str, float]]:
    """How much more a style uses a word than all the other styles together do.

    The score is the log-odds of the word in the style less those in the others, divided by the standard deviation of
    that difference. An informative Dirichlet prior smooths both: the words of all styles, scaled to the size of an
    average style, so that neither a word seen once nor a word that everybody uses stands out.

    Args:
        captions_by_style: Captions by style. Words are those that masking sees after
            :func:`preprocessors.text.captions.clean_caption`, as :mod:`preprocessors.text.words` compares them.
        punctuation: Rule for the captions.

    Returns:
        z by style and word, for the words the style uses; for all others it would be 0 or less. Of a single style
        every z is 0: there is nothing to tell it from.

    Source:
        Monroe, Colaresi & Quinn 2008, "Fightin' Words", Political Analysis 16(4), log-odds ratio with informative
        Dirichlet prior. Their prior is scaled to an average day of speeches, ours to an average style. Unscaled it
        outweighs each of 215 personalities 215 times, and leaves next to none of them a typical word.
    """
    counts = {style: _count_words(captions, punctuation) for style, captions in captions_by_style.items()}
    totals: Counter[str] = Counter()
    for words in counts.values():
        totals.update(words)
    return {style: _score(words, totals, prior_scale=1 / len(counts)) for style, words in counts.items()}


def typical_words(scores: Mapping[str, Mapping[str, float]], threshold: float = THRESHOLD) -> dict[str, frozenset[str]]:
    """The words of each style whose z is above ``threshold``.

    Args:
        scores: As :func:`style_word_scores` gives them.
        threshold: In standard deviations.
    """
    return {
        style: frozenset(word for word, score in by_word.items() if score > threshold)
        for style, by_word in scores.items()
    }


def foreign_token_ids(
    typical_words: Mapping[str, frozenset[str]], encode: Callable[[str], list[int]]
) -> dict[str, list[int]]:
    """Tokens that give away another style.

    Only words that are one token: the first piece of a longer word also begins innocent words, which would be
    punished with it. And only a word's form after a space: at the start of a caption, or capitalised, it goes free.
    Scripts without spaces have none there either.

    Args:
        typical_words: By style its typical words, in lower case.
        encode: Text to token ids, without BOS and EOS.

    Returns:
        By style, in ascending order, the ids of the words that are typical of another style and not of this one.

    Raises:
        ValueError: If there are none in any style.
    """
    all_words = frozenset().union(*typical_words.values())
    pieces = {word: encode(word if is_unspaced(word) else f" {word}") for word in all_words}
    single = {word: ids[0] for word, ids in pieces.items() if len(ids) == 1}
    token_ids = {
        style: sorted(single[word] for word in all_words - own if word in single)
        for style, own in typical_words.items()
    }
    if not any(token_ids.values()):
        raise ValueError(
            f"unlikelihood.leakage: no token is typical of one style and not of another ({len(typical_words)} in all); "
            "it takes two styles that differ in their words. Set it to 0."
        )
    return token_ids


def _count_words(captions: Sequence[str], punctuation: Punctuation) -> Counter[str]:
    # All captions in one go: a call for each would take most of the time.
    return Counter(compared_words(clean_caption("\n".join(captions), punctuation=punctuation), punctuation))


def _score(words: Counter[str], totals: Counter[str], prior_scale: float) -> dict[str, float]:
    if len(totals) < 2:
        return dict.fromkeys(words, 0.0)  # the only word there is has infinite odds in every style
    own = np.fromiter(words.values(), dtype=np.float64, count=len(words))
    total = np.fromiter((totals[word] for word in words), dtype=np.float64, count=len(words))
    num_own, num_total = words.total(), totals.total()
    own, others = own + prior_scale * total, total - own + prior_scale * total
    own_log_odds = np.log(own / (num_own + prior_scale * num_total - own))
    others_log_odds = np.log(others / (num_total - num_own + prior_scale * num_total - others))
    scores = (own_log_odds - others_log_odds) / np.sqrt(1 / own + 1 / others)
    return dict(zip(words, scores.tolist(), strict=True))
