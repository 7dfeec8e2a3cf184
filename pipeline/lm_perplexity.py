"""How a language model of the styles foretells captions, where it does so better than n-grams."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from metrics.style.language_model import FloatArray, NgramLanguageModel
from metrics.text_lm import perplexity
from metrics.tokenizers.ptb import tokenize_many
from models.style_lm import StyleLM
from models.style_lm.words import Entries
from pipeline.results import captions_by_style
from preprocessors.examples import CaptionExample

AT_ONCE = 64
"""Captions that the model reads together."""


class Foretold(NamedTuple):
    """What a language model says of captions of one style.

    Attributes:
        perplexity: Inverse of the geometric mean probability of a word; the end of a caption counts as one.
        bits_per_byte: Of the words with a space between.
    """

    perplexity: float
    bits_per_byte: float


def check_lm(folder: Path | None) -> None:
    """Refuse a language model that cannot be used, before a training is over whose captions it is to judge.

    Args:
        folder: Of the model; None for none.

    Raises:
        FileNotFoundError: If files are missing.
        ValueError: If they are damaged.
        NoNumbers: If a weight is NaN or infinite.
    """
    if folder is not None:
        StyleLM.load_from_dir(folder)


class Duel(NamedTuple):
    """Perplexities of people's captions, of the words that the training captions have and of ends alone.

    Whatever stands before such a word counts, known or not. All other words are left out, since n-grams take them for
    one word, which is too easy, and a language model spells them.

    Attributes:
        share: Of all words and ends that are such ones.
        ngrams: Of the n-gram model of the training captions of the style.
        lm: Of the language model.
    """

    share: float
    ngrams: float
    lm: float


def add_lm_perplexity(
    results: dict[str, Any],
    folder: Path,
    examples: Sequence[CaptionExample],
    hypotheses: dict[str, str],
    device: torch.device,
    train_examples: Sequence[CaptionExample] | None,
) -> None:
    """Add ``lm_perplexity`` and ``lm_bits_per_byte`` of hypotheses and of people's captions to a style's results.

    They stand beside the n-gram models' under each style. Captions are read as the judge reads them, as words. Where
    n-grams foretell people's captions of a style as well, the hypotheses get no number, and the reason is told.

    Args:
        results: Of ``pipeline.results.score_examples``; changed in place.
        folder: Of the language model.
        examples: With references.
        hypotheses: Caption by example id.
        device: Where the model reads.
        train_examples: Whose n-grams it is compared with; None if they are not there, and then it is not.
    """
    try:
        lm = StyleLM.load_from_dir(folder)
        lm.network.to(device)
        learnt = captions_by_style(train_examples or ())
        per_style = (results["style"] or {}).get("per_style") or {}
        for style, scores in per_style.items():
            rows = [example for example in examples if example.style == style]
            texts = tokenize_many([text for row in rows for text in row.captions])
            nats = word_nats(lm, texts, style)
            people = _summed_up(texts, nats)
            scores |= {"reference_lm_perplexity": people.perplexity, "reference_lm_bits_per_byte": people.bits_per_byte}
            scores |= {"lm_perplexity": None, "lm_bits_per_byte": None}
            if style in learnt:
                duel = against_ngrams(texts, nats, tokenize_many(learnt[style]))
                scores["known_words"] = duel._asdict()
                if duel.lm >= duel.ngrams:
                    results["unavailable"][f"style/{style}/lm_perplexity"] = (
                        f"{folder} foretells people's captions no better than n-grams do: of known words perplexity "
                        f"{duel.lm:.1f}, of an n-gram model {duel.ngrams:.1f}"
                    )
                    continue
            written = foretell(lm, [hypotheses[row.example_id] for row in rows], style)
            scores |= {"lm_perplexity": written.perplexity, "lm_bits_per_byte": written.bits_per_byte}
    except (FileNotFoundError, ValueError) as error:  # what cannot be measured stops no evaluation
        results["unavailable"]["style/lm_perplexity"] = str(error)


def foretell(lm: StyleLM, captions: Sequence[str], style: str) -> Foretold:
    """What a language model says of captions.

    Raises:
        ValueError: If it does not know the style, or a caption is longer than its positions.
    """
    texts = tokenize_many(captions)
    return _summed_up(texts, word_nats(lm, texts, style))


def _summed_up(texts: Sequence[str], nats: FloatArray) -> Foretold:
    sizes = sum(len(text.encode()) for text in texts)
    return Foretold(perplexity(float(nats.mean())), float(nats.sum()) / math.log(2) / max(sizes, 1))


def against_ngrams(texts: Sequence[str], nats: FloatArray, train_texts: Sequence[str]) -> Duel:
    """Who foretells captions better, a language model or trigrams.

    Args:
        texts: Captions of people, held out, tokenised.
        nats: Of :func:`word_nats`, what they cost the language model.
        train_texts: What the n-grams are counted in, tokenised.
    """
    ngrams = NgramLanguageModel.fit(train_texts)
    known = np.array([end or ngrams.knows(word) for text in texts for word, end in _words_and_end(text)])
    log_probs = ngrams.word_log_probabilities(texts)[known]
    return Duel(float(known.mean()), perplexity(-float(log_probs.mean())), perplexity(float(nats[known].mean())))


def _words_and_end(text: str) -> Iterator[tuple[str, bool]]:
    """Each word of a caption, then its end, and whether it is the end."""
    yield from ((word, False) for word in text.split())
    yield "", True


@torch.no_grad()
def word_nats(lm: StyleLM, texts: Sequence[str], style: str) -> FloatArray:
    """What every word of tokenised captions, and every end, costs a language model that reads them, in their order.

    Args:
        lm: In evaluation mode.
        texts: Words with white space between.
        style: Of all of them.

    Returns:
        Nats. Shape (words and captions together,).

    Raises:
        ValueError: If it does not know the style, or a caption is longer than its positions.
    """
    starts, eos = Entries(lm.tokenizer).starts, lm.tokenizer.eos_id
    found: list[float] = []
    for start in range(0, len(texts), AT_ONCE):
        # Joined anew, for a word is what stands between white space of any kind, and a token begins one by a space.
        ids = lm.encode([" ".join(text.split()) for text in texts[start : start + AT_ONCE]])
        for row, log_probs in zip(ids, lm.log_probs(ids, [style] * len(ids)).double().cpu(), strict=True):
            kept = row[row >= 0]
            begins = starts[kept] | (kept == eos)
            begins[0] = True  # the first word has no space before it
            words = begins.cumsum(0).numpy() - 1
            found += np.bincount(words, -log_probs[: len(kept)].numpy()).tolist()
    return np.array(found)
