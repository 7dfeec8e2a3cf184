from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from starlette.testclient import TestClient

import finetune
from captioning.fusion import Fusion, open_fusion
from captioning.model import CaptionModel
from captioning.pictures import read_picture
from captioning.requests import RequestWriter
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
from serving.limits import Limits
from serving.server import Beside, open_service

STYLES = ("pirate", "robot")
DRAWN = Writing(sampling="multinomial", num=3, seed=4)


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


@pytest.mark.parametrize("weights", [{"weight": 0.7, "guidance": 0.0}, {"weight": 0.2, "guidance": 0.4}])
@pytest.mark.parametrize(
    "writing", [Writing(num=3, num_beams=4), Writing(num_beams=1), DRAWN], ids=["beam", "greedy", "drawn"]
)
@pytest.mark.parametrize("prefix", ["", "a red"])
def test_captions_are_those_of_a_language_model_that_rereads_them(
    styled, lm, examples, monkeypatch, weights, writing, prefix
):
    """Search, greedy search and draws, which listen to it at every step; the last bits of sums do not matter."""
    lm.network.double()  # or the wide weights' rounding is all that is seen
    preprocessor = styled.preprocessor()
    writer = RequestWriter(styled.captioner, preprocessor, Decoding(max_length=7))
    writer.fusion = Fusion(lm, **weights)
    pixels = [read_picture(example.image_path, preprocessor.image_transform) for example in examples]
    requests = writer.look([(shown, example.style) for shown, example in zip(pixels, examples, strict=True)])
    ids = styled.captioner.tokenizer.encode_text(f" {prefix}") if prefix else []
    found = writer.write(requests, writing, ids)
    asked = []

    def rereading(fusion, styles):
        followed = fusion_of(fusion, styles)

        def score(token_ids):
            scores = _reread(fusion, styles, token_ids)
            counted = ~(token_ids.lt(0) | token_ids.eq(lm.tokenizer.eos_id)).any(1)
            asked.append((followed(token_ids) - scores)[counted].abs().max().item() if counted.any() else 0.0)
            return scores

        return score

    fusion_of = Fusion.of
    monkeypatch.setattr(Fusion, "of", rereading)
    again = writer.write(requests, writing, ids)
    assert [[one.text for one in captions] for captions in again] == [[one.text for one in ones] for ones in found]
    assert len(asked) > 3
    assert max(asked) < 1e-5


def _reread(fusion, styles, token_ids):
    """Every text from its beginning, alone."""
    rows = []
    for number, row in enumerate(token_ids.tolist()):
        text = [token for token in row if token >= 0]
        style = styles[number * len(styles) // len(token_ids)]
        own, neutral = _score(fusion.lm, style, text), _score(fusion.lm, None, text)
        rows.append(fusion.weight * own + fusion.guidance * (own - neutral))
    return torch.stack(rows).float()


def test_weights_are_asked_for_one_by_one(start_model, styled, lm, examples, tmp_path: Path):
    """Of a model that waits with weights of 0, none is that without it; one alone leaves the other as it is."""
    lm.save_to_dir(tmp_path)
    model, paths = CaptionModel(styled, start_model), [examples[0].image_path]

    def write(**asked):
        (found,) = model.caption(paths, "pirate", Writing(num=2, max_length=6, **asked))
        return [caption.text for caption in found["pirate"]]

    alone = write()
    with pytest.raises(ValueError, match="lm_weight=0.5: there is no language model beside the captioner"):
        write(lm_weight=0.5)
    model.fuse(tmp_path)
    assert model.lm_weights() == {}
    assert write() == write(lm_weight=0.0) == alone
    heavy = write(lm_weight=50.0)
    model.fuse(tmp_path, weight=50.0)
    assert write() == heavy
    assert heavy != alone
    assert write(lm_weight=0.0, lm_guidance=0.0) == alone
    assert model.lm_weights(Writing(lm_guidance=2.0)) == {"lm_weight": 50.0, "lm_guidance": 2.0}
    with pytest.raises(ValueError, match="lm_guidance=-1: must be a number from 0"):
        write(lm_guidance=-1)


def test_captions_longer_than_the_language_model_reads_are_refused(start_model, styled, lm, tmp_path: Path):
    lm.save_to_dir(tmp_path)
    model = CaptionModel(styled, start_model)
    model.fuse(tmp_path)
    longest = 32 - len(lm.prompt("pirate")) - 1
    model.check(Writing(max_length=longest + 1, min_length=0))
    model.check(Writing(max_length=longest, lm_weight=0.1), ["pirate"])
    with pytest.raises(ValueError, match="the language model has positions for 32"):
        model.check(Writing(max_length=longest + 1, lm_weight=0.1), ["pirate"])


def test_written_and_drawn_captions_of_a_model_listen_to_it(start_model, styled, lm, examples, tmp_path: Path):
    lm.save_to_dir(tmp_path)
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
    lm.save_to_dir(tmp_path)
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
    with pytest.raises(ValueError, match="style 'Grim': the language model alone knows it, which these"):
        model.caption([path], "grim", Writing(lm_weight=0.0))
    with pytest.raises(ValueError, match="unknown style 'grim'"):  # of a picture it says nothing
        model.score(path, "grim", ["a dog"])
    with pytest.raises(ValueError, match="unknown style 'grimm'"):
        model.caption([path], "grimm")


def test_captioner_that_never_learnt_to_caption_plainly_has_no_styles_of_the_language_model(
    start_model, styled, tmp_path: Path
):
    StyleLM.new(open_text_tokenizer(start_model), StyleRegistry([*STYLES, "grim"]), positions=32).save_to_dir(tmp_path)
    settings = replace(styled.settings, trained_styles=STYLES)
    model = CaptionModel(styled.with_settings(settings), start_model)
    model.fuse(tmp_path, weight=1.0)
    with pytest.raises(ValueError, match=r"the language model alone knows it.*style\.dropout"):
        model.caption([], "grim")


def test_run_opens_the_model_that_it_names_and_records_the_weights(styled, lm, tmp_path: Path, load):
    lm.save_to_dir(tmp_path / "lm")
    document = {"model": {"name": "a"}, "data": {"format": "drawn_scenes"}}
    config = load(document | {"decode": {"lm": str(tmp_path / "lm"), "lm_weight": 0.25, "max_length": 8}})
    fusion = make_writer(config, styled).fusion
    assert fusion.describe() == {"lm_weight": 0.25, "lm_guidance": 0.0}
    assert make_writer(load(document | {"decode": {"max_length": 8}}), styled).fusion is None


def test_what_does_not_fit_is_refused(styled, lm, tmp_path: Path):
    tokenizer, rules = styled.captioner.tokenizer, {"weight": 1.0, "guidance": 0.0, "max_length": 8}
    lm.save_to_dir(tmp_path / "lm")
    with pytest.raises(ValueError, match="unknown style 'shakespeare'"):
        open_fusion(tmp_path / "lm", tokenizer, [*STYLES, "shakespeare"], **rules)
    with pytest.raises(ValueError, match="has positions for 32"):
        open_fusion(tmp_path / "lm", tokenizer, STYLES, **rules | {"max_length": 40})
    StyleLM.new(train_tokenizer(["a dog"], 262), StyleRegistry([*STYLES]), positions=32).save_to_dir(tmp_path / "other")
    with pytest.raises(ValueError, match="another vocabulary than the captioner"):
        open_fusion(tmp_path / "other", tokenizer, STYLES, **rules)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        open_fusion(tmp_path / "none", tokenizer, STYLES, **rules)


@pytest.fixture
def folders(styled, lm, tmp_path: Path) -> tuple[Path, Path]:
    """Of the captioner and the language model."""
    styled.save_to_dir(tmp_path / "demo/output")
    lm.save_to_dir(tmp_path / "lm")
    return tmp_path / "demo/output", tmp_path / "lm"


def _texts(model, path, style, **asked):
    return [caption.text for caption in model.caption([path], style, Writing(num=2, **asked))[0][style]]


def test_command_writes_with_it_and_the_page_says_so(folders, examples, tmp_path: Path, capsys):
    folder, beside = folders
    model, path = CaptionModel.open(folder), examples[0].image_path
    alone = _texts(model, path, "pirate")
    model.fuse(beside, weight=20.0, guidance=1.5)
    asked = ["caption", "--model", str(folder), "--image", str(path), "--style", "pirate", "--num", "2"]
    asked += ["--lm", str(beside), "--lm-weight", "20", "--lm-guidance", "1.5"]
    assert finetune.main([*asked, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["captions"] == _texts(model, path, "pirate")
    assert _texts(model, path, "pirate") != alone
    assert finetune.main([*asked, "--out", str(tmp_path / "page.html")]) == 0
    assert " beams, lm_weight 20, lm_guidance 1.5." in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--lm-weight", "0.2"], "--lm-weight: weighs a language model; name its folder with --lm"),
        (["--lm", "LM"], "changes nothing by itself; give --lm-weight or --lm-guidance above 0"),
        (["--lm", "LM", "--lm-weight", "0"], "changes nothing by itself"),
        (["--lm", "LM", "--lm-guidance", "-1"], "-1: must be a number of at least 0"),
        (["--lm", "nowhere", "--lm-weight", "1"], "no such folder"),
        (["--lm", "LM", "--lm-weight", "1", "--max-length", "30"], "the language model has positions for 32"),
    ],
)
def test_command_that_cannot_be_done_is_told_and_writes_nothing(folders, examples, tmp_path: Path, capsys, given, told):
    folder, beside = folders
    asked = [
        "caption",
        "--model",
        str(folder),
        "--image",
        str(examples[0].image_path),
        "--out",
        str(tmp_path / "a.jsonl"),
    ]
    try:
        code = finetune.main([*asked, *(str(beside) if one == "LM" else one for one in given)])
    except SystemExit as ended:  # of options that argparse refuses
        code = ended.code
    assert code == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "a.jsonl").exists()


def test_service_writes_with_it_as_it_was_started_or_as_a_request_says(folders, examples):
    folder, beside = folders
    model, path = CaptionModel.open(folder), examples[0].image_path
    picture = base64.b64encode(path.read_bytes()).decode()
    alone = _texts(model, path, "pirate")
    with TestClient(open_service([folder], Limits(), None, "cpu")) as client:
        asked = {"image": picture, "style": "pirate", "lm_guidance": 0.5}
        answer = client.post("/v1/captions", json=asked)
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid")
        assert "lm_guidance=0.5: there is no language model" in answer.json()["error"]["message"]
    model.fuse(beside, weight=20.0)
    with TestClient(open_service([folder], Limits(), None, "cpu", beside=Beside(beside, weight=20.0))) as client:

        def ask(**more):
            answer = client.post("/v1/captions", json={"image": picture, "style": "pirate", "num": 2, **more})
            return [one["text"] for one in answer.json()["captions"][0]["captions"]]

        assert ask() == _texts(model, path, "pirate") != alone
        assert ask(lm_weight=0) == alone
        assert ask(lm_weight=0, lm_guidance=9) == _texts(model, path, "pirate", lm_weight=0.0, lm_guidance=9.0) != alone
        (told,) = client.get("/v1/models").json()["models"]
        assert (told["decoding"]["lm_weight"], told["decoding"]["lm_guidance"]) == (20.0, 0.0)
        answer = client.post("/v1/captions", json={"image": picture, "style": "pirate", "max_length": 30})
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid")
        assert "positions for 32" in answer.json()["error"]["message"]


def test_serve_is_told_of_weights_without_a_model(capsys):
    assert finetune.main(["serve", "--model", "any", "--lm-guidance", "1"]) == 2
    assert "--lm-guidance: weighs a language model; name its folder with --lm" in capsys.readouterr().err
