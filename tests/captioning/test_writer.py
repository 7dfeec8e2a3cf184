from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from captioning.writer import CaptionWriter
from configuration.loading import load_config
from models.rules import generate_arguments
from models.settings import Decoding
from pipeline.prepare import prepare
from utils.io import write_json


@pytest.fixture
def writer_and_examples(tiny_document, tmp_path):
    tiny_document["model"]["overrides"]["init_std"] = 0.5  # so that captions of an untrained model differ
    write_json(tmp_path / "conf.json", tiny_document)
    config = load_config(tmp_path / "conf.json")
    prepared = prepare(config)
    decoding = Decoding(num_beams=2, max_length=6)
    writer = CaptionWriter(prepared.captioner.captioner, prepared.captioner.preprocessor(), decoding)
    return writer, prepared.data.val.examples


def test_captions_do_not_depend_on_batch_size_or_order_and_keep_the_given_order(writer_and_examples):
    writer, examples = writer_and_examples
    alone = writer.caption(examples, batch_size=1)
    assert list(alone) == [example.example_id for example in examples]
    assert writer.caption(examples, batch_size=5) == alone
    assert writer.caption(examples[::-1], batch_size=12) == alone
    assert len(set(alone.values())) > 1


def test_captions_of_one_picture_in_two_styles_are_kept_apart(writer_and_examples):
    writer, examples = writer_and_examples
    pictures = {example.image_name for example in examples}
    assert len(writer.caption(examples, batch_size=12)) == len(examples) == 4 * len(pictures)


def test_captioning_leaves_the_model_in_the_mode_it_was_in(writer_and_examples):
    writer, examples = writer_and_examples
    for training in (True, False):
        writer.captioner.module.train(training)
        writer.caption(examples[:1], batch_size=1)
        assert writer.captioner.module.training == training


def test_decoding_lengths_count_caption_tokens(writer_and_examples):
    writer, _ = writer_and_examples
    prompt = torch.tensor([writer.preprocessor.prompt_ids("pirate")])
    decoding = Decoding(num_beams=1, max_length=3, min_length=3)
    (token_ids,) = writer.captioner.module.generate(input_ids=prompt, **generate_arguments(decoding)).tolist()
    assert len(token_ids) == 5
    assert (token_ids[0], token_ids[-1]) == (
        writer.captioner.tokenizer.bos_token_id,
        writer.captioner.tokenizer.eos_token_id,
    )
    arguments = generate_arguments(decoding)
    assert (arguments["max_length"], arguments["min_length"]) == (5, 4)
    assert "length_penalty" not in arguments


def test_caption_of_an_unknown_style_is_refused(writer_and_examples):
    writer, examples = writer_and_examples
    with pytest.raises(ValueError, match="unknown style 'pyrate'; nearest: pirate"):
        writer.caption([replace(examples[0], style="pyrate")], batch_size=1)


def test_styles_of_a_picture_are_captioned_together_and_pass_the_vision_network_once(writer_and_examples):
    writer, examples = writer_and_examples
    passed = []
    vision = writer.captioner.module.encoder.embed_images
    vision.register_forward_hook(lambda module, given, out: passed.append(len(out)))
    by_style = sorted(examples, key=lambda example: example.style)
    together = writer.caption(by_style, batch_size=8)
    assert passed == [2, 1]  # three pictures of four styles
    assert list(together) == [example.example_id for example in by_style]
    assert together == writer.caption(by_style, batch_size=1)
