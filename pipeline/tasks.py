"""What the training tasks need beside pictures and captions: masks, other styles' words, rewards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from configuration.groups import RunConfig
from configuration.objectives import MaskedLmConfig, ScstConfig
from models.captioner import Captioner
from pipeline.objective import term_weights
from pipeline.pairs import prepare_pairs
from pipeline.results import captions_by_style
from preprocessors.examples import CaptionExample
from preprocessors.interface import CaptionPreprocessor
from preprocessors.pairs import CaptionPair
from preprocessors.text.captions import Punctuation
from preprocessors.text.corpora import StyledText
from preprocessors.text.masking import CaptionMasker, MaskedSource
from preprocessors.text.style_words import foreign_token_ids, style_word_scores, typical_words
from preprocessors.text.styles import StyleRegistry
from trainers.losses.table import LOSS_TERMS
from trainers.objective import ForeignTokens
from trainers.rewards.calculator import RewardCalculator
from trainers.rewards.setup import (
    DocumentFrequencySource,
    build_rewards,
    tokenize_references,
    training_document_frequency,
)

DOCUMENT_FREQUENCIES = Path("work_dir/.document_frequency")
"""Counts of earlier runs, by hash of the captions that were counted."""


class TrainingTasks(NamedTuple):
    """The parts of a run's tasks; None where a task is off."""

    masking: MaskedSource | None = None
    foreign: ForeignTokens | None = None
    rewards: RewardCalculator | None = None
    document_frequency: DocumentFrequencySource | None = None
    pairs: Sequence[CaptionPair] | None = None
    """What is learnt in place of the training rows."""


def prepare_tasks(
    config: RunConfig,
    captioner: Captioner,
    preprocessor: CaptionPreprocessor,
    examples: Sequence[CaptionExample],
    corpus: Sequence[StyledText] = (),
) -> TrainingTasks:
    """Build what the configuration asks for; everything that can be wrong with it is found, and nothing is written.

    Args:
        config: Of the run.
        captioner: To be trained.
        preprocessor: Its preprocessor.
        examples: Training examples, styles as its registry writes them.
        corpus: Texts without pictures, for the masked-LM task.
    """
    masking = foreign = None
    pairs = prepare_pairs(config, captioner, preprocessor)
    learnt = examples if pairs is None else [pair.example for pair in pairs]
    with_foreign = any(LOSS_TERMS[name].needs_foreign for name in term_weights(config))
    if config.masked_lm.weight or with_foreign:
        written = examples if pairs is None else [*examples, *learnt]
        typical = find_typical_words(preprocessor.registry, written, corpus, preprocessor.punctuation)
        if config.masked_lm.weight:
            masking = MaskedSource(make_masker(config.masked_lm, captioner, preprocessor, typical), corpus)
        if with_foreign:
            foreign = find_foreign_tokens(captioner, typical, learnt)
    if not config.draws:
        return TrainingTasks(masking, foreign, pairs=pairs)
    return TrainingTasks(masking, foreign, *prepare_rewards(config.scst, examples))


def find_typical_words(
    registry: StyleRegistry,
    examples: Sequence[CaptionExample],
    corpus: Sequence[StyledText],
    punctuation: Punctuation = "strip",
) -> dict[str, frozenset[str]]:
    """The words that tell each style from the others."""
    captions = captions_by_style(examples)
    for text in corpus:
        captions.setdefault(registry.resolve(text.style, where=text.where), []).append(text.body)
    return typical_words(style_word_scores(captions, punctuation))


def make_masker(
    masked_lm: MaskedLmConfig,
    captioner: Captioner,
    preprocessor: CaptionPreprocessor,
    typical: dict[str, frozenset[str]],
) -> CaptionMasker:
    """The masker of a run."""
    return CaptionMasker(
        captioner.tokenizer,
        preprocessor.registry,
        typical,
        mask_rate=masked_lm.mask_rate,
        style_word_rate=masked_lm.style_word_rate,
        mask_style_rate=masked_lm.mask_style_rate,
        max_source_length=preprocessor.max_source_length,
        punctuation=preprocessor.punctuation,
    )


def find_foreign_tokens(
    captioner: Captioner, typical: dict[str, frozenset[str]], examples: Sequence[CaptionExample]
) -> ForeignTokens:
    """For every training row the tokens typical of other styles than its own."""
    token_ids = foreign_token_ids(typical, captioner.tokenizer.encode_text)
    numbers = {style: number for number, style in enumerate(token_ids)}
    by_style = torch.zeros(len(numbers), len(captioner.tokenizer), dtype=torch.bool)
    for style, number in numbers.items():
        by_style[number, token_ids[style]] = True
    return ForeignTokens(by_style, torch.tensor([numbers[example.style] for example in examples]))


def prepare_rewards(
    scst: ScstConfig, examples: Sequence[CaptionExample]
) -> tuple[RewardCalculator, DocumentFrequencySource | None]:
    """Rewards over the training rows, and the document frequencies that ``cider_d`` weighs with."""
    references = tokenize_references(examples)
    source = None
    if "cider_d" in scst.rewards:
        source = training_document_frequency(
            references, DOCUMENT_FREQUENCIES, scst.document_frequency, counts_eos=scst.document_frequency_eos
        )
    rewards = build_rewards(
        references,
        scst.rewards,
        styles=[example.style for example in examples],
        document_frequency=source and source.document_frequency,
        fluency_lm=scst.fluency_lm,
        workers=scst.reward_workers,
    )
    return rewards, source
