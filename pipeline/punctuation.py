"""The rule for punctuation in a run's training captions, and what it costs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import chain, islice

from configuration.data import DataConfig
from models.settings import CaptionerSettings
from preprocessors.examples import CaptionExample, texts_of
from preprocessors.text.captions import Punctuation, strip_costs
from preprocessors.text.lengths import MOST_COUNTED

logger = logging.getLogger(__name__)


def punctuation_of(data: DataConfig, before: CaptionerSettings | None) -> Punctuation:
    """The rule for training captions: what is asked for, else that of the model the run starts from, else OFA's."""
    return data.punctuation or ("strip" if before is None else before.punctuation)


def tell_punctuation(punctuation: Punctuation, examples: Sequence[CaptionExample]) -> None:
    """Log what ``strip`` takes from the training captions; nothing where it takes nothing, and of ``keep``."""
    if punctuation == "keep":
        return
    count = sum(len(texts) for _, _, texts in texts_of(examples))
    captions = chain.from_iterable(texts for _, _, texts in texts_of(examples))
    costs = strip_costs(islice(captions, 0, None, max(1, -(-count // MOST_COUNTED))))
    if costs.marked:
        logger.info(
            "data.punctuation=strip: the captioner learns to write no punctuation; %d of %d training captions have "
            "words that it changes (don't to dont), and references do not. data.punctuation=keep trains on what people "
            "wrote",
            *(costs.joined, costs.captions),
        )
