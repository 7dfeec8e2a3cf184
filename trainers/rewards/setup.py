"""From training examples and plain values to a reward calculator; everything that can be wrong is found here.

Nothing is written until ``DocumentFrequencySource.save`` is called:

    references = tokenize_references(examples)
    source = training_document_frequency(references, cache_folder, chosen=None)
    rewards = build_rewards(references, {"cider_d": 1.0}, styles=styles, document_frequency=source.document_frequency)
    source.save()
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from metrics.scores.document_frequency import EOS, FORMAT, DocumentFrequency
from metrics.tokenizers.ptb import TOKENIZER_NAME, tokenize_many
from preprocessors.examples import CaptionExample
from trainers.rewards.calculator import RewardCalculator
from trainers.rewards.table import prepare_of
from trainers.rewards.terms import RewardData, Term, count_document_frequency

logger = logging.getLogger(__name__)

PICKLE_SUFFIXES = {".p", ".pkl", ".pickle"}


class DocumentFrequencySource(NamedTuple):
    """Document frequencies, and where they are to be kept."""

    document_frequency: DocumentFrequency
    cache_file: Path | None
    """Where the next run will look for them; None if they come from a file."""

    def save(self) -> None:
        """Keep what was counted, or log why that cannot be; does nothing about what came from a file."""
        if self.cache_file is None:
            return
        try:
            self.document_frequency.save(self.cache_file)
        except OSError as error:
            logger.warning("%s: cannot be written (%s); the next run counts again.", self.cache_file, error.strerror)


def tokenize_references(examples: Sequence[CaptionExample]) -> list[list[str]]:
    """The captions of each example as words; those without a word are left out.

    Args:
        examples: Of the training split, in the order of its rows.

    Raises:
        ValueError: As ``check_references``.
    """
    words = iter(tokenize_many(text for example in examples for text in example.captions))
    tokenized = [[next(words) for _ in example.captions] for example in examples]
    check_references(tokenized, [example.where for example in examples])
    return [[text for text in texts if text] for texts in tokenized]


def check_references(references: Sequence[Sequence[str]], wheres: Sequence[str]) -> None:
    """Refuse rows without a reference that has a word: no caption can be right there.

    Args:
        references: Human captions of each row, tokenised.
        wheres: What to call each row.

    Raises:
        ValueError: Counting these rows and naming the first five; or if there are no rows.
    """
    if not references:
        raise ValueError("no training captions to reward against.")
    faults = [
        f"{where}: {'captions without a word' if texts else 'no captions'}"
        for texts, where in zip(references, wheres, strict=True)
        if not any(texts)
    ]
    if faults:
        listed = "; ".join(faults[:5]) + ("; ..." if len(faults) > 5 else "")
        raise ValueError(
            f"{len(faults):,} of {len(references):,} training rows have no reference to reward against ({listed}); "
            "correct their captions or leave the rows out."
        )


def training_document_frequency(
    references: Sequence[Sequence[str]], cache_folder: Path, chosen: Path | None, *, counts_eos: bool = True
) -> DocumentFrequencySource:
    """The document frequencies for ``cider_d``; writes nothing.

    Args:
        references: What ``tokenize_references`` gives. One row, an image in one style, is one document.
        cache_folder: Where earlier runs kept what they had counted, named by hash of captions, tokenizer and EOS.
        chosen: A file of ``python -m metrics.cider build-df``, or a pickle (``.p``) of self-critical.pytorch, taken to
            be of our tokenizer, which it does not tell. None counts over the references.
        counts_eos: Whether that file has the end of a caption as a word.

    Raises:
        FileNotFoundError: If there is no file ``chosen``.
        ValueError: If it is damaged, or of another tokenizer or another end of caption.
    """
    if chosen is not None:
        return DocumentFrequencySource(_read_chosen(chosen, counts_eos), None)
    cached = cache_folder / f"{_hash_references(references)}.npz"
    if cached.is_file():
        try:
            return DocumentFrequencySource(DocumentFrequency.load(cached, tokenizer=TOKENIZER_NAME, eos=EOS), None)
        except ValueError as error:
            logger.warning("%s Counting it again.", error)
    return DocumentFrequencySource(count_document_frequency(references), cached)


def _read_chosen(chosen: Path, counts_eos: bool) -> DocumentFrequency:
    read = DocumentFrequency.read_pickle if chosen.suffix in PICKLE_SUFFIXES else DocumentFrequency.load
    if not counts_eos:
        logger.warning(
            "%s counts no end of caption: captions that are not ended as people end theirs lose nothing by "
            "cider_d; look at the samples, and at unended_share",
            chosen,
        )
        return read(chosen, tokenizer=TOKENIZER_NAME, eos=None)
    try:
        return read(chosen, tokenizer=TOKENIZER_NAME, eos=EOS)
    except ValueError as error:
        raise ValueError(
            f"{error} If it counts no end of caption, set scst.document_frequency_eos to false."
        ) from error


def build_rewards(
    references: Sequence[Sequence[str]],
    weights: Mapping[str, float],
    *,
    styles: Sequence[str],
    document_frequency: DocumentFrequency | None = None,
    fluency_lm: Path | None = None,
    workers: int = 2,
) -> RewardCalculator:
    """A calculator of the terms that have a weight, with all references prepared.

    Args:
        references: What ``tokenize_references`` gives; the terms share it.
        weights: Of names for ``trainers.rewards.table.prepare_of``; 0 only reports a term.
        styles: Style wanted of each row; the references of a style teach the classifier of ``style``.
        document_frequency: For ``cider_d``; None counts over the references.
        fluency_lm: For ``fluency``: folder of a language model that knows the styles.
        workers: Threads of the calculator.

    Raises:
        FileNotFoundError: If files of ``fluency_lm`` are missing.
        ValueError: If ``style`` has fewer than two styles to tell apart, or ``fluency_lm`` cannot be used.
    """
    data = RewardData(references, styles, document_frequency, fluency_lm)
    terms: dict[str, Term] = {name: prepare_of(name)(data) for name in weights}
    # A step is shared out among the threads before its first share is collected.
    return RewardCalculator(terms, weights, workers=workers, max_pending=max(workers, 4))


def _hash_references(references: Sequence[Sequence[str]]) -> str:
    """SHA-256 (hex) of the words counted and of how they are."""
    digest = hashlib.sha256("\x1f".join([FORMAT, TOKENIZER_NAME, EOS, "\x1e"]).encode())
    for texts in references:
        digest.update("\x1f".join([*texts, "\x1e"]).encode())
    return digest.hexdigest()
