from __future__ import annotations

from pathlib import Path

import pytest
import torch

from configuration.objectives import ScstConfig
from models.style_lm import StyleLM
from pipeline.tasks import prepare_rewards
from preprocessors.documents.training import train_tokenizer
from preprocessors.examples import CaptionExample
from preprocessors.text.styles import StyleRegistry
from trainers.rewards.fluency import fluency, fluency_of
from trainers.rewards.terms import RewardData, RewardRequest

REFERENCES, STYLES = [["ahoy sea", "a b c d"], ["a sea"]], ["pirate", "plain"]


class Stub:
    """A word is a token: one of the style costs 1 nat, any other 2, each 3 without a style; the end is free."""

    def __init__(self, positions: int | None = None) -> None:
        self.positions = positions

    def prompt(self, style):
        return [0, 1] if style else [0]

    def encode(self, texts):
        rows = [torch.tensor([*(1 if word == "ahoy" else 2 for word in text.split()), 9]) for text in texts]
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-100)

    def log_probs(self, ids, styles):
        assert self.positions is None or 2 + ids.shape[1] - 1 <= self.positions
        plain = torch.tensor([style is None for style in styles])[:, None]
        costs = torch.where(plain, torch.full(ids.shape, 3.0), ids.clamp(min=0).float())
        return -costs.masked_fill(ids.eq(9) | ids.lt(0), 0.0)


def test_fluency_by_hand():
    """People have (1 + 2 + 4 * 2) / 6 = 11 / 6 nats a word as pirates, and 2 plainly; beyond that nothing is paid."""
    term = fluency_of(Stub(), RewardData(REFERENCES, STYLES))
    found = term(["ahoy ahoy", "sea sea", "ahoy sea", "", "sea"], [0, 0, 0, 0, 1], [True] * 5)
    assert found.tolist() == pytest.approx([3 - 1, 3 - 2 - 1 / 6, 3 - 1.5, 0, 3 - 2])


def test_fluency_of_a_caption_longer_than_the_model_is_that_of_its_beginning():
    term = fluency_of(Stub(positions=4), RewardData(REFERENCES, STYLES))  # three tokens beside two of a prompt
    assert term(["ahoy " * 9 + "sea"], [0], [True]).tolist() == pytest.approx([(3 - 1) * 11 / 10])


def test_fluency_without_captions_is_nothing():
    assert fluency_of(Stub(), RewardData(REFERENCES, STYLES))([], [], []).shape == (0,)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A language model that has learnt two captions in each of two styles."""
    captions = {"pirate": ["ahoy me hearty", "ahoy sea dog"], "romantic": ["my love", "my dear dog"]}
    tokenizer = train_tokenizer([text for texts in captions.values() for text in texts], 290)
    lm = StyleLM.new(tokenizer, StyleRegistry(["pirate", "romantic"]), positions=24, seed=2)
    rows = [
        [*lm.prompt(style), *ids, tokenizer.eos_id]
        for name, texts in captions.items()
        for style in (name, None)
        for ids in tokenizer.encode_batch(texts)
    ]
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=-100)
    optimizer = torch.optim.AdamW(lm.network.parameters(), lr=3e-3)
    for _ in range(80):
        lm.network(input_ids=ids.clamp(min=0), labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    saved = tmp_path_factory.mktemp("fluency")
    lm.save_to_dir(saved)
    return Path(saved)


def test_trained_model_pays_the_style_and_not_the_shuffled_or_the_other(folder):
    references, styles = [["ahoy me hearty", "ahoy sea dog"], ["my love", "my dear dog"]], ["pirate", "romantic"]
    term = fluency(RewardData(references, styles, fluency_lm=folder))
    own, other, shuffled, nothing = term(["ahoy sea dog", "my dear dog", "dog ahoy sea", ""], [0] * 4, [True] * 4)
    assert own > 0
    assert own > max(other, shuffled, nothing) + 1
    assert term(["my dear dog"], [1], [True]) > 0


def test_run_s_rewards_ask_the_model_that_the_configuration_names(folder):
    captions = {"pirate": ("Ahoy, me hearty!",), "romantic": ("My love.",)}
    examples = [CaptionExample(style, Path("x.jpg"), style, texts) for style, texts in captions.items()]
    scst = ScstConfig(rewards={"fluency": 2.0}, fluency_lm=folder)
    with prepare_rewards(scst, examples)[0] as rewards:
        rewards.submit(lambda: RewardRequest([0], ["Ahoy me hearty"], [True]))
        (value,) = rewards.result().total
    term = fluency(RewardData([["ahoy me hearty"], ["my love"]], ["pirate", "romantic"], fluency_lm=folder))
    assert value == pytest.approx(2 * term(["ahoy me hearty"], [0], [True])[0])


def test_fluency_without_a_model_or_the_styles_says_so(folder, tmp_path):
    with pytest.raises(ValueError, match=r"needs scst\.fluency_lm"):
        fluency(RewardData(REFERENCES, STYLES))
    with pytest.raises(ValueError, match="reward 'fluency': unknown style 'plain'"):
        fluency(RewardData(REFERENCES, STYLES, fluency_lm=folder))
    with pytest.raises(FileNotFoundError, match="no such folder"):
        fluency(RewardData(REFERENCES, STYLES, fluency_lm=tmp_path / "none"))
