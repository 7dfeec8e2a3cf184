from __future__ import annotations

import pytest

from metrics.tokenizers.ptb import tokenize_many
from preprocessors.examples import CaptionExample
from preprocessors.text.captions import clean_caption
from trainers.rewards.setup import tokenize_references
from trainers.rewards.terms import RewardData, cider_d

CAPTIONS = ['"We\'re nearly there," she said.', "Well-worn boots, a good day's work.", "a dog in the snow", "a red cat"]


@pytest.mark.parametrize(("punctuation", "reached"), [("keep", [True] * 4), ("strip", [False, False, True, True])])
def test_reward_of_what_the_rule_lets_a_model_write(tmp_path, punctuation, reached):
    """References are what people wrote by either rule, as in evaluation: a stripped word is no reference's word."""
    examples = [CaptionExample(f"{row}#a", tmp_path, "a", (text,)) for row, text in enumerate(CAPTIONS)]
    term = cider_d(RewardData(tokenize_references(examples), ["a"] * 4))
    written = tokenize_many(clean_caption(text, punctuation=punctuation) for text in CAPTIONS)
    rewards = term(written, range(4), [True] * 4)
    assert [reward == pytest.approx(10.0) for reward in rewards] == reached
