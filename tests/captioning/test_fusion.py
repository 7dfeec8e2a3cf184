from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from captioning.fusion import Fusion, open_fusion
from captioning.model import CaptionModel
from captioning.styled import open_styled
from captioning.writer import CaptionWriter
from captioning.writing import Writing
from models.settings import Decoding
from models.style_lm import StyleLM
from pipeline.captioner import make_writer
from preprocessors.documents.folders import open_text_tokenizer
from preprocessors.documents.training import train_tokenizer
from preprocessors.examples import CaptionExample
from preprocessors.text.styles import StyleRegistry

STYLES = ("pirate", "robot")


@pytest.fixture
def styled(start_model):
    styled = open_styled(start_model)
    torch.manual_seed(1)
    for parameter in styled.captioner.module.parameters():
        if parameter.dim() > 1:  # wide, or an untrained model says the same in every style
            torch.nn.init.normal_(parameter, std=0.3)
    return styled


@pytest.fixture
def lm(start_model) -> StyleLM:
    """In the captioner's vocabulary, with as wide weights."""
    lm = StyleLM.new(open_text_tokenizer(start_model), StyleRegistry([*STYLES, "romantic"]), positions=32, seed=5)
    for parameter in lm.network.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return lm


@pytest.fixture
def examples(scenes) -> list[CaptionExample]:
    paths = sorted((scenes / "images").glob("val_*.png"))[:2]
    return [CaptionExample(f"{path.name}#{style}", path, style, ("",)) for path in paths for style in STYLES]


def _score(lm, style, text):
    """Of the next token behind a text, over the whole text at once."""
    return lm.logits(torch.tensor([[*lm.prompt(style), *text]]))[0, -1].log_softmax(-1)


@torch.no_grad()
def test_scores_are_weight_and_difference_of_whole_passes(lm):
    token_ids = torch.tensor([[5, 6], [7, 8], [9, -100], [10, 11]])
    found = Fusion(lm, weight=0.5, guidance=2.0).of(STYLES)(token_ids)
    texts = [("pirate", [5, 6]), ("pirate", [7, 8]), ("robot", [9]), ("robot", [10, 11])]
    for row, (style, text) in enumerate(texts):
        own, neutral = _score(lm, style, text), _score(lm, None, text)
        assert torch.allclose(found[row], 0.5 * own + 2.0 * (own - neutral), atol=1e-4)


@torch.no_grad()
def test_heavy_language_model_writes_its_own_text_in_each_row_s_style(styled, lm, examples):
    rules = Decoding(num_beams=1, max_length=6, min_length=0, no_repeat_ngram_size=0)
    writer = CaptionWriter(styled.captioner, styled.preprocessor(), rules)
    alone = writer.caption_batch(examples)
    writer.fusion = Fusion(lm, weight=1e4, guidance=0.0)
    pieces = styled.captioner.tokenizer.pieces()
    never = torch.tensor([not piece for piece in pieces]).scatter(0, torch.tensor(lm.tokenizer.eos_id), value=False)
    expected = []
    for example in examples:
        text: list[int] = []
        while len(text) < 6 and lm.tokenizer.eos_id not in text:
            scores = _score(lm, example.style, text)[: len(pieces)]
            text.append(int(scores.masked_fill(never, -torch.inf).argmax()))
        expected.append(styled.preprocessor().decode([number for number in text if number != lm.tokenizer.eos_id]))
    assert writer.caption_batch(examples) == expected
    assert expected[0] != expected[1]
    assert alone != expected


def test_written_and_drawn_captions_of_a_model_listen_to_it(start_model, styled, lm, examples, tmp_path: Path):
    lm.save(tmp_path)
    model, drawing = CaptionModel(styled, start_model), Writing(sampling="multinomial", seed=3, max_length=6)
    paths = [examples[0].image_path, examples[-1].image_path]

    def write(writing):
        return [found["pirate"][0].text for found in model.caption(paths, "pirate", writing)]

    searched, drawn = write(Writing()), write(drawing)
    model.fuse(tmp_path, weight=1e4)
    assert write(Writing()) != searched
    assert drawn[0] != drawn[1]
    first, second = write(drawing)
    assert first == second  # of so heavy a model neither the picture nor chance matters


def test_style_that_the_language_model_alone_knows_is_captioned_plainly_and_styled_by_it(
    start_model, styled, examples, tmp_path: Path
):
    lm = StyleLM.new(
        open_text_tokenizer(start_model), StyleRegistry([*STYLES, "romantic", "Grim"]), positions=32, seed=5
    )
    for parameter in lm.network.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    lm.save(tmp_path)
    settings = replace(styled.settings, trained_styles=(*STYLES, "neutral"))
    model, path = CaptionModel(styled.with_settings(settings), start_model), examples[0].image_path
    with pytest.raises(ValueError, match="unknown style 'grim'"):
        model.caption([path], "grim")
    plain = model.caption([path])[0]["neutral"]
    model.fuse(tmp_path, guidance=1e-9)  # so light that it changes nothing
    assert model.caption([path], ["grim", None])[0] == {"Grim": plain, "neutral": plain}
    model.fuse(tmp_path, weight=1e4)
    found = model.caption([path], ["grim", None])[0]
    assert found["Grim"] != found["neutral"]
    assert model.write([(model.read(path), "grim")], Writing())[0] == found["Grim"]
    with pytest.raises(ValueError, match="unknown style 'grim'"):  # of a picture it says nothing
        model.score(path, "grim", ["a dog"])
    with pytest.raises(ValueError, match="unknown style 'grimm'"):
        model.caption([path], "grimm")


def test_captioner_that_never_learnt_to_caption_plainly_has_no_styles_of_the_language_model(
    start_model, styled, tmp_path: Path
):
    StyleLM.new(open_text_tokenizer(start_model), StyleRegistry([*STYLES, "grim"]), positions=32).save(tmp_path)
    settings = replace(styled.settings, trained_styles=STYLES)
    model = CaptionModel(styled.with_settings(settings), start_model)
    model.fuse(tmp_path, weight=1.0)
    with pytest.raises(ValueError, match=r"the language model alone knows it.*style\.dropout"):
        model.caption([], "grim")


def test_run_opens_the_model_that_it_names_and_records_the_weights(styled, lm, tmp_path: Path, load):
    lm.save(tmp_path / "lm")
    document = {"model": {"name": "a"}, "data": {"format": "drawn_scenes"}}
    config = load(document | {"decode": {"lm": str(tmp_path / "lm"), "lm_weight": 0.25, "max_length": 8}})
    fusion = make_writer(config, styled).fusion
    assert fusion.describe() == {"lm_weight": 0.25, "lm_guidance": 0.0}
    assert make_writer(load(document | {"decode": {"max_length": 8}}), styled).fusion is None


def test_what_does_not_fit_is_refused(styled, lm, tmp_path: Path):
    tokenizer, rules = styled.captioner.tokenizer, {"weight": 1.0, "guidance": 0.0, "max_length": 8}
    lm.save(tmp_path / "lm")
    with pytest.raises(ValueError, match="unknown style 'shakespeare'"):
        open_fusion(tmp_path / "lm", tokenizer, [*STYLES, "shakespeare"], **rules)
    with pytest.raises(ValueError, match="has positions for 32"):
        open_fusion(tmp_path / "lm", tokenizer, STYLES, **rules | {"max_length": 40})
    StyleLM.new(train_tokenizer(["a dog"], 262), StyleRegistry([*STYLES]), positions=32).save(tmp_path / "other")
    with pytest.raises(ValueError, match="another vocabulary than the captioner"):
        open_fusion(tmp_path / "other", tokenizer, STYLES, **rules)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        open_fusion(tmp_path / "none", tokenizer, STYLES, **rules)
