"""Guided captions of a folder: what is computed for them, and what is said of them."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import finetune
from captioning.model import CaptionModel
from captioning.styled import open_styled
from captioning.writer import CaptionWriter
from models.settings import Decoding
from preprocessors.examples import CaptionExample
from preprocessors.pictures import images


@pytest.fixture
def pictures(scenes) -> list[Path]:
    return sorted((scenes / "images").glob("val_*.png"))


@pytest.fixture
def examples(pictures) -> list[CaptionExample]:
    """Two pictures in two styles each, and one in the neutral style."""
    named = [(path, style) for path in pictures[:2] for style in ("pirate", "robot")] + [(pictures[2], "neutral")]
    return [CaptionExample(f"{path.name}#{style}", path, style, ("",)) for path, style in named]


@pytest.fixture
def writer(start_model) -> CaptionWriter:
    styled = open_styled(start_model)
    torch.manual_seed(1)
    for parameter in styled.captioner.module.parameters():
        if parameter.dim() > 1:  # wide, or an untrained model says the same in every style
            torch.nn.init.normal_(parameter, std=0.3)
    return CaptionWriter(styled.captioner, styled.preprocessor(), Decoding(num_beams=2, max_length=8))


def _guided(writer: CaptionWriter, examples: list[CaptionExample], weight: float) -> list[str]:
    writer.decoding = replace(writer.decoding, guidance=weight)
    return writer.caption_batch(examples)


@pytest.mark.parametrize(("weight", "prompts"), [(1.0, 1), (2.0, 2), (0.5, 2)])
def test_pictures_are_opened_and_looked_at_once_and_read_once_a_prompt(writer, examples, weight, prompts, monkeypatch):
    passes, opened = Counter(), []
    encoder, load = writer.captioner.module.encoder, images.load_image
    encoder.embed_images.register_forward_hook(lambda module, given, out: passes.update(vision=len(given[0])))
    encoder.register_forward_hook(lambda *_: passes.update(encoder=1))
    monkeypatch.setattr(images, "load_image", lambda path, at_least: opened.append(path) or load(path, at_least))
    _guided(writer, examples, weight)
    assert passes == {"vision": 3, "encoder": prompts}
    assert len(opened) == 3


def test_zero_says_what_the_neutral_prompt_says_and_neutral_rows_are_not_guided(writer, examples):
    plain = _guided(writer, examples, 1.0)
    neutral = _guided(writer, [replace(example, style="neutral") for example in examples], 1.0)
    assert plain != neutral
    assert _guided(writer, examples, 0.0) == neutral
    assert _guided(writer, examples[-1:], 3.0) == plain[-1:]
    assert _guided(writer, examples, 3.0)[-1] == plain[-1]
    assert _guided(writer, examples, 3.0)[:-1] != plain[:-1]


def test_batch_of_neutral_rows_takes_no_second_pass(writer, examples):
    passes = []
    writer.captioner.module.encoder.register_forward_hook(lambda *_: passes.append(1))
    _guided(writer, examples[-1:], 3.0)
    assert len(passes) == 1


def test_caption_guides_as_it_is_told_and_warns_of_a_neutral_style_never_learnt(start_model, pictures, capsys, caplog):
    arguments = ["caption", "--model", str(start_model), "--image", str(pictures[0]), "--style", "pirate"]
    path = start_model / "configuration.json"
    assert finetune.main([*arguments, "--guidance", "2.5"]) == 0
    assert "never trained on" not in caplog.text  # the scenes have plain captions too
    document = json.loads(path.read_text())
    document["model"]["trained_styles"].remove("neutral")
    path.write_text(json.dumps(document))
    (start_model / "MANIFEST.json").unlink()
    assert finetune.main([*arguments, "--guidance", "2.5"]) == 0
    assert "decode.guidance=2.5: compares with the neutral style 'neutral', which is never trained on" in caplog.text
    capsys.readouterr()


@pytest.mark.parametrize("given", ["-1", "x", "inf", "nan"])
def test_guidance_that_is_no_weight_is_refused(given, capsys):
    with pytest.raises(SystemExit) as ended:
        finetune.main(["caption", "--model", "a", "--image", "b", f"--guidance={given}"])
    assert ended.value.code == 2
    assert "must be a number of at least 0" in capsys.readouterr().err


def test_several_styles_are_combined_in_any_order(start_model, pictures):
    model = CaptionModel.open(start_model)
    rows = [model.caption(pictures[:1], style) for style in ("robot+pirate", "pirate+robot", [" PIRATE + Robot"])]
    assert rows[0] == rows[1] == rows[2]
    assert [*rows[0][0]] == ["pirate+robot"]


@pytest.mark.parametrize(
    ("style", "message"),
    [
        ("robot+pirat", r"unknown style 'pirat' in 'robot\+pirat'; nearest: pirate"),
        ("robot+neutral", "'neutral' stands for no style"),
        ("robot+knight", "style 'knight' was never trained; give a style, one of"),
    ],
)
def test_part_of_a_combination_that_cannot_be_had_is_named(start_model, style, message, tmp_path):
    open_styled(start_model).with_styles(["knight"]).save_to_dir(tmp_path / "more")
    with pytest.raises(ValueError, match=message):
        CaptionModel.open(tmp_path / "more").style(style)


def test_combination_longer_than_a_prompt_can_be_is_refused(start_model, tmp_path):
    names = [f"style number {number} with a long name" for number in range(60)]
    styled = open_styled(start_model).with_styles(names)
    trained = replace(styled.settings, trained_styles=styled.registry.names)
    styled.with_settings(trained).save_to_dir(tmp_path / "more")
    with pytest.raises(ValueError, match="its prompt has .* tokens, and .* fit; combine fewer styles"):
        CaptionModel.open(tmp_path / "more").style("+".join(names))
