"""The limit of captions' length: chosen from the training captions, told at the start, held against what comes out."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from configuration.groups import RunConfig
from models.captioner import Captioner
from models.settings import CaptionerSettings, Decoding
from preprocessors.examples import CaptionExample, texts_of
from preprocessors.interface import CaptionPreprocessor
from preprocessors.text.captions import Punctuation
from preprocessors.text.lengths import COVERED_PERMILLE, CaptionLengths, caption_lengths

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LengthChoice:
    """The limit of a run's captions, and what it does to the training captions.

    Attributes:
        limit: Most caption tokens before EOS.
        source: Who chose it, for messages.
        lengths: Of the training captions.
        trainable: Most tokens of a caption that the model is trained on.
        no_repeat_ngram_size: Of the run's generation.
    """

    limit: int
    source: str
    lengths: CaptionLengths
    trainable: int
    no_repeat_ngram_size: int = 0

    def describe(self) -> dict[str, Any]:
        """For the record of a run: the limit, where it is from, and how many of the training captions do not fit."""
        over = self.lengths.over(self.limit)
        counts = {"train_captions": self.lengths.total, "train_captions_over": sum(over.values())}
        return {"max_length": self.limit, "max_length_from": self.source} | counts | {"longest": self.lengths.longest}

    def tell(self) -> None:
        """Log the limit and how many training captions do not fit; as a warning where more than 0.5% do not."""
        over, total = self.lengths.over(self.limit), self.lengths.total
        number, what = sum(over.values()), "training captions" + (" looked at" if self.lengths.is_sample else "")
        found = f"decode.max_length={self.limit} ({self.source}): {number} of {total} {what}"
        if 1000 * number <= (1000 - COVERED_PERMILLE) * total:
            logger.info("%s have more tokens; the longest has %d", found, self.lengths.longest)
        else:
            totals = {style: sum(counts.values()) for style, counts in self.lengths.by_style.items()}
            logger.warning(
                "%s (%.1f%%) have more tokens, and captions like them come out cut, or others in their place%s; "
                "decode.max_length=%d would cover 99.5%%",
                *(found, 100 * number / total, _shares(over, totals)),
                min(self.lengths.covering(), self.trainable),
            )
        if longer := sum(self.lengths.over(self.trainable).values()):
            logger.warning(
                "%d %s have more tokens than the %d that the model is trained on, and are cut in training too",
                *(longer, what, self.trainable),
            )
        if 1000 * self.lengths.repeating > (1000 - COVERED_PERMILLE) * total:
            logger.warning(
                "decode.no_repeat_ngram_size=%d: %d of %d %s (%.1f%%) have so many tokens in a row twice, and captions "
                "like them cannot be written; where a token is less than a word, as in most scripts but Latin, set it "
                "to 0",
                *(self.no_repeat_ngram_size, self.lengths.repeating, total, what),
                100 * self.lengths.repeating / total,
            )


def choose_length(
    config: RunConfig,
    captioner: Captioner,
    examples: Sequence[CaptionExample],
    before: CaptionerSettings | None,
    punctuation: Punctuation,
) -> LengthChoice:
    """The limit that a training run's captions have.

    Args:
        config: Its ``decode.max_length`` comes first.
        captioner: Its tokens count.
        examples: Of the training split.
        before: Of the model that the run starts from, whose limit comes next; None for a new or published model, which
            takes what covers 99.5% of the training captions.
        punctuation: Rule for the captions.

    Raises:
        ValueError: If the model's own limit is below ``decode.min_length``.
    """
    positions, asked = captioner.limits().text_length, config.decode.max_length
    ngrams = config.decode.no_repeat_ngram_size
    lengths = lengths_of(examples, captioner, punctuation, ngrams)
    if asked is not None:
        return LengthChoice(asked, "as set", lengths, positions, ngrams)
    if before is not None:
        return LengthChoice(own_limit(config, before), "of the model it starts from", lengths, positions, ngrams)
    limit = min(max(lengths.covering(), config.decode.min_length), positions)
    return LengthChoice(limit, "covers 99.5% of the training captions", lengths, positions, ngrams)


def own_limit(config: RunConfig, settings: CaptionerSettings | None) -> int:
    """The limit that a model folder names; ModelScope's where it names none.

    Raises:
        ValueError: If it is below ``decode.min_length``.
    """
    limit = (Decoding() if settings is None else settings.decoding).max_length
    if limit < config.decode.min_length:
        raise ValueError(
            f"decode.min_length={config.decode.min_length}: must be at most decode.max_length, which is {limit} in the "
            "model folder; set it"
        )
    return limit


def with_limit(config: RunConfig, limit: int) -> RunConfig:
    """The configuration with ``decode.max_length`` resolved."""
    return config.model_copy(update={"decode": config.decode.model_copy(update={"max_length": limit})})


def lengths_of(
    examples: Sequence[CaptionExample], captioner: Captioner, punctuation: Punctuation, no_repeat_ngram_size: int = 0
) -> CaptionLengths:
    """How long people's captions are, by style."""
    by_style: dict[str, list[str]] = {}
    for _, style, captions in texts_of(examples):
        by_style.setdefault(style, []).extend(captions)
    return caption_lengths(by_style, captioner.tokenizer, punctuation, no_repeat_ngram_size)


def describe_cut(
    examples: Sequence[CaptionExample],
    cut: Collection[str],
    limit: int,
    captioner: Captioner,
    preprocessor: CaptionPreprocessor,
) -> dict[str, Any]:
    """Which hypotheses were cut at the limit, for results; logged, with the styles where there are some.

    Args:
        examples: What was captioned.
        cut: Ids of the examples whose captions were cut.
        limit: Most caption tokens before EOS.
        captioner: Its tokens count.
        preprocessor: Has the rule for captions.

    Returns:
        ``max_length``; ``cut``, a number; ``cut_share`` of the hypotheses; ``references_over``, the share of people's
        captions that have more tokens, None without any; and ``per_style``, with ``n`` and the same three.
    """
    totals = Counter(example.style for example in examples)
    counts = Counter(example.style for example in examples if example.example_id in cut)
    references = lengths_of(examples, captioner, preprocessor.punctuation)
    over = references.over(limit)
    written = {style: sum(lengths.values()) for style, lengths in references.by_style.items()}
    per_style = {
        style: {"n": number, **_numbers(counts[style], number, over[style], written[style])}
        for style, number in totals.items()
    }
    number, share = counts.total(), _shares(counts, totals)
    if number:
        logger.warning(
            "%d of %d captions were cut at decode.max_length=%d%s; raise it, or train longer if captions do not end",
            *(number, totals.total(), limit, share),
        )
    else:
        logger.info("none of %d captions was cut at decode.max_length=%d", totals.total(), limit)
    whole = _numbers(number, totals.total(), sum(over.values()), sum(written.values()))
    return {"max_length": limit} | whole | {"per_style": per_style}


def _numbers(cut: int, captions: int, over: int, references: int) -> dict[str, Any]:
    shares = {"cut_share": cut / captions if captions else None}
    return {"cut": cut} | shares | {"references_over": over / references if references else None}


def _shares(counts: Mapping[str, int], totals: Mapping[str, int]) -> str:
    """The styles with the largest shares, for a message: " (romantic 21.0%, humorous 3.1%)"; "" for a single style."""
    shares = {style: counts.get(style, 0) / total for style, total in totals.items() if total and counts.get(style)}
    if len(totals) < 2 or not shares:
        return ""
    largest = sorted(shares, key=lambda style: -shares[style])
    listed = ", ".join(f"{style} {100 * shares[style]:.1f}%" for style in largest[:5])
    return f" ({listed}{', ...' if len(largest) > 5 else ''})"
