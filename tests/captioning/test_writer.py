from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from captioning.writer import Captioner, Decoding
from configuration.loading import load_config
from pipeline.data import read_split
from pipeline.model_setup import build_preprocessor, model_settings, set_up_model
from utils.io import write_json


@pytest.fixture
def captioner_and_examples(tiny_document, tmp_path):
    tiny_document["model"]["overrides"]["init_std"] = 0.5  # so that captions of an untrained model differ
    write_json(tmp_path / "conf.json", tiny_document)
    config = load_config(tmp_path / "conf.json")
    examples = read_split(config, "val").examples
    styled = set_up_model(config, examples)
    styled = styled._replace(settings=model_settings(config, styled.registry, examples))
    decoding = Decoding(num_beams=2, max_length=6)
    return Captioner(styled.model, styled.tokenizer, build_preprocessor(styled), decoding), examples


def test_captions_do_not_depend_on_batch_size_or_order_and_keep_the_given_order(captioner_and_examples):
    captioner, examples = captioner_and_examples
    alone = captioner.caption(examples, batch_size=1)
    assert list(alone) == [example.example_id for example in examples]
    assert captioner.caption(examples, batch_size=5) == alone
    assert captioner.caption(examples[::-1], batch_size=12) == alone
    assert len(set(alone.values())) > 1


def test_captions_of_one_picture_in_two_styles_are_kept_apart(captioner_and_examples):
    captioner, examples = captioner_and_examples
    pictures = {example.image_name for example in examples}
    assert len(captioner.caption(examples, batch_size=12)) == len(examples) == 4 * len(pictures)


def test_captioning_leaves_the_model_in_the_mode_it_was_in(captioner_and_examples):
    captioner, examples = captioner_and_examples
    for training in (True, False):
        captioner.model.train(training)
        captioner.caption(examples[:1], batch_size=1)
        assert captioner.model.training == training


def test_decoding_lengths_count_caption_tokens(captioner_and_examples):
    captioner, _ = captioner_and_examples
    prompt = torch.tensor([captioner.preprocessor.prompt_ids("pirate")])
    decoding = Decoding(num_beams=1, max_length=3, min_length=3)
    (token_ids,) = captioner.model.generate(input_ids=prompt, **decoding.generate_arguments()).tolist()
    assert len(token_ids) == 5
    assert (token_ids[0], token_ids[-1]) == (captioner.tokenizer.bos_token_id, captioner.tokenizer.eos_token_id)
    arguments = Decoding(num_beams=1, max_length=3, min_length=3).generate_arguments()
    assert (arguments["max_length"], arguments["min_length"]) == (5, 4)
    assert "length_penalty" not in arguments


def test_caption_of_an_unknown_style_is_refused(captioner_and_examples):
    captioner, examples = captioner_and_examples
    with pytest.raises(ValueError, match="unknown style 'pyrate'; nearest: pirate"):
        captioner.caption([replace(examples[0], style="pyrate")], batch_size=1)
