from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from captioning.endings import cut_at_limit
from captioning.writer import CaptionWriter
from configuration.loading import load_config
from models.settings import Decoding
from pipeline.prepare import prepare
from utils.io import write_json

EOS, FILL = 2, -100


class Scored:
    """A captioner that gives every token the same chance, and counts how often it is asked."""

    tokenizer = SimpleNamespace(eos_token_id=EOS)

    def __init__(self, chances):
        self.chances, self.asked = torch.tensor(chances), 0

    def token_log_probs(self, encoded, token_ids):
        self.asked += 1
        return self.chances[:, None].expand(token_ids.shape).log().masked_fill(token_ids.eq(FILL), 0.0)


TOKEN_IDS = torch.tensor([[5, 6, 7, EOS], [5, 6, 7, EOS], [5, EOS, FILL, FILL], [5, 6, 7, 8]])


def test_cut_are_captions_that_fill_the_limit_and_whose_end_the_model_did_not_want():
    captioner = Scored([0.4, 0.6, 0.1, 0.9])  # the last one has no end at all
    assert cut_at_limit(captioner, None, TOKEN_IDS, Decoding(max_length=3)) == [True, False, False, True]
    assert captioner.asked == 1


def test_cut_is_not_asked_where_no_caption_fills_the_limit():
    captioner = Scored([0.1] * 4)
    assert cut_at_limit(captioner, None, TOKEN_IDS, Decoding(max_length=5)) == [False] * 4
    assert captioner.asked == 0


class Guided:
    """A captioner that says nothing but the end and one word; what it encoded is the chance of the end."""

    tokenizer = SimpleNamespace(eos_token_id=EOS)

    def token_log_probs(self, encoded, token_ids):
        return torch.tensor(encoded).log().expand(token_ids.shape)

    def logits(self, encoded, token_ids, *, drawable, packed):
        assert drawable
        assert packed
        scores = torch.tensor([1 - encoded, 0.0, encoded]).log()  # the middle one is never said
        return scores.expand(int(token_ids.ne(FILL).sum()), -1)


@pytest.mark.parametrize(
    ("weight", "is_cut"),
    [
        (1.0, True),  # the end has 0.4
        (0.0, False),  # 0.8
        (0.5, False),  # sqrt(0.4 * 0.8) : sqrt(0.6 * 0.2) = 0.566 : 0.346
        (3.0, True),  # 0.4 ** 3 / 0.8 ** 2 : 0.6 ** 3 / 0.2 ** 2 = 0.1 : 5.4
    ],
)
def test_cut_is_told_by_the_chances_that_guidance_gave_the_end(weight, is_cut):
    token_ids, decoding = torch.tensor([[0, 0, EOS], [EOS, FILL, FILL]]), Decoding(max_length=2, guidance=weight)
    assert cut_at_limit(Guided(), 0.4, token_ids, decoding, neutral=0.8) == [is_cut, False]
    assert cut_at_limit(Guided(), 0.4, token_ids, decoding) == [True, False]  # a batch without style is not guided


@pytest.fixture
def writer_and_examples(tiny_document, tmp_path):
    write_json(tmp_path / "conf.json", tiny_document | {"train": {"epochs": 1}})
    prepared = prepare(load_config(tmp_path / "conf.json"))
    writer = CaptionWriter(prepared.captioner.captioner, prepared.captioner.preprocessor(), Decoding(1, 5))
    return writer, prepared.data.val.examples


def test_writer_knows_what_was_cut_in_whatever_batches_and_forgets_the_last_time(writer_and_examples):
    writer, examples = writer_and_examples
    writer.caption(examples, batch_size=5)
    cut = set(writer.cut)
    assert cut == {example.example_id for example in examples}  # an untrained model ends nowhere
    writer.caption(examples, batch_size=1)
    assert writer.cut == cut
    writer.decoding = Decoding(1, 5, 0, 0)
    tokenizer = writer.captioner.tokenizer
    with torch.no_grad():  # one that ends at once
        writer.captioner.module.get_output_embeddings().weight.zero_()
    writer.captioner.beams = lambda encoded, *_, **__: torch.full(
        (len(encoded.last_hidden_state), 1), tokenizer.eos_token_id
    )
    assert set(writer.caption(examples, batch_size=5).values()) == {""}
    assert writer.cut == set()
