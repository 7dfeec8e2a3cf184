"""The rule for punctuation in a run's training captions, and what it costs."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from configuration.data import DataConfig
from models.settings import CaptionerSettings
from preprocessors.examples import CaptionExample
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
    captions = [caption for example in examples for caption in example.captions]
    costs = strip_costs(captions[:: max(1, -(-len(captions) // MOST_COUNTED))])
    if costs.marked:
        logger.info(
            "data.punctuation=strip: the captioner learns to write no punctuation; %d of %d training captions have "
            "words that it changes (don't to dont), and references do not. data.punctuation=keep trains on what people "
            "wrote",
            *(costs.joined, costs.captions),
        )
