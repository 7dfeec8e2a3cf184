"""CLIPScore and RefCLIPScore wherever the other metrics are: results, intervals, comparisons, command line, report."""

from __future__ import annotations

import json
import shutil
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPModel

from metrics.clip import Clip, Sight
from metrics.coco import score_captions
from metrics.compare import compare
from metrics.evaluate import main
from metrics.pictures import pictures_of
from metrics.results import evaluate_captions
from metrics.scores.clip import NO_CLIP
from metrics.table import METRICS, TEXT_METRICS, with_pictures
from reports.run.tables import headline_cards, style_table
from utils.io import read_json, write_json

NAMES = ["CLIPScore", "RefCLIPScore"]
REFERENCES = {"a#x": ["a red dog"], "a#y": ["my red dog", "oh"], "b#x": ["A blue cat!"], "c#y": ["the sea"]}
HYPOTHESES = {"a#x": "the dog", "a#y": "my dog", "b#x": "a cat", "c#y": "waves"}
STYLES = {key: key[-1] for key in REFERENCES}
IMAGES = {key: f"{key[0]}.png" for key in REFERENCES}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    draw = np.random.default_rng(3)
    for name in "abc":
        Image.fromarray(draw.integers(0, 256, (40, 36, 3), dtype=np.uint8)).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def sight(tiny_clip, photos):
    return Sight(Clip.open(tiny_clip), lambda image: Image.open(photos / image).convert("RGB"))


@pytest.fixture(scope="module")
def results(sight):
    return _results(sight=sight, metrics=["Bleu_1", *NAMES])


def _results(**options):
    options = {"train_captions": None, "provenance": {}, "per_image": True, "resamples": 200} | options
    return evaluate_captions(REFERENCES, HYPOTHESES, STYLES, images=IMAGES, **options)


def test_results_have_means_overall_and_by_style_of_what_clip_gives_each_caption(results, sight):
    alone = sight.clip.score(REFERENCES, HYPOTHESES, sight.open_picture, IMAGES)
    assert len({*np.round(alone["CLIPScore"], 6)}) > 2  # random weights, but not blind ones
    for name in NAMES:
        values = dict(zip(REFERENCES, alone[name], strict=True))
        assert results["overall"][name] == pytest.approx(sum(values.values()) / 4, abs=1e-12)
        assert results["per_style"]["y"][name] == pytest.approx((values["a#y"] + values["c#y"]) / 2, abs=1e-12)
        assert {key: row[name] for key, row in results["per_image"].items()} == values
        low, high = results["confidence"]["overall"][name]
        means = [(values["a#x"] + values["a#y"]) / 2, values["b#x"], values["c#y"]]
        assert min(means) <= low <= results["overall"][name] <= high <= max(means)
    assert results["unavailable"] == {"style": results["unavailable"]["style"]}
    assert results["provenance"]["metrics"]["clip"] == sight.clip.describe()


def test_clip_metrics_without_a_clip_are_null_with_the_reason_and_not_measured_unless_asked_for(sight):
    found = _results(metrics=[*NAMES, "ROUGE_L"])
    assert found["overall"]["ROUGE_L"] is not None
    assert [found["overall"][name] for name in NAMES] == [None, None]
    assert {found["unavailable"][name] for name in NAMES} == {NO_CLIP}
    assert found["provenance"]["metrics"]["clip"] is None
    assert score_captions({"a": ["x"]}, {"a": "x"}, metrics=NAMES).unavailable == dict.fromkeys(NAMES, NO_CLIP)
    assert {*NAMES}.isdisjoint(TEXT_METRICS)


def test_picture_that_cannot_be_opened_makes_them_null_with_its_name(sight):
    found = _results(metrics=["CLIPScore", "ROUGE_L"], sight=Sight(sight.clip, lambda image: Image.open(f"no/{image}")))
    assert found["overall"]["CLIPScore"] is None
    assert "no/a.png" in found["unavailable"]["CLIPScore"]
    assert found["overall"]["ROUGE_L"] > 0
    assert "RefCLIPScore" not in found["unavailable"]  # nobody asked for it


def test_rows_that_were_measured_beside_captions_go_into_scores_and_their_parts():
    references, hypotheses = {"a": ["x"], "b": ["y"]}, {"a": "x", "b": "z"}
    rows = np.array([0.5, 1.5])
    scores = score_captions(references, hypotheses, metrics=["CLIPScore", "ROUGE_L"], beside={"CLIPScore": rows})
    assert scores.overall == {"ROUGE_L": 0.5, "CLIPScore": 1.0}
    assert scores.subset(["b"]).overall == {"ROUGE_L": 0.0, "CLIPScore": 1.5}
    with pytest.raises(AssertionError, match="1 rows for 2 captions"):
        score_captions(references, hypotheses, metrics=["CLIPScore"], beside={"CLIPScore": rows[:1]})


def test_naming_a_clip_adds_both_metrics_unless_one_is_chosen():
    assert with_pictures(["CIDEr"]) == ["CIDEr", *NAMES]
    assert with_pictures(["RefCLIPScore", "CIDEr"]) == ["RefCLIPScore", "CIDEr"]


def test_comparison_takes_them_of_one_clip_and_leaves_them_out_of_two(results, tiny_clip, sight, tmp_path, caplog):
    write_json(tmp_path / "a.json", results)
    write_json(tmp_path / "b.json", results)
    found = compare(tmp_path / "a.json", tmp_path / "b.json", None, resamples=100)
    assert found["metrics"]["CLIPScore"]["a"] == results["overall"]["CLIPScore"]
    assert found["metrics"]["RefCLIPScore"]["p"] == 1
    shutil.copytree(tiny_clip, tmp_path / "other")
    torch.manual_seed(6)
    CLIPModel(sight.clip.model.config).save_pretrained(tmp_path / "other")
    other = Sight(Clip.open(tmp_path / "other"), sight.open_picture)
    write_json(tmp_path / "b.json", _results(sight=other, metrics=["Bleu_1", *NAMES]))
    found = compare(tmp_path / "a.json", tmp_path / "b.json", None, resamples=100)
    assert [*found["metrics"]] == ["Bleu_1"]
    assert "of two CLIP models: CLIPScore, RefCLIPScore" in caplog.text
    with pytest.raises(ValueError, match="CLIPScore: of two CLIP models"):
        compare(tmp_path / "a.json", tmp_path / "b.json", ["CLIPScore"], resamples=100)


def test_report_shows_both_as_cards_and_columns_with_their_scales(results):
    notes = {card["label"]: card["notes"] for card in headline_cards(results)}
    assert notes["CLIPScore"][-1] == "scale 0–2.5"
    assert notes["RefCLIPScore"][-1] == "scale 0–1.43"
    assert style_table(results)["names"][-2:] == NAMES


def test_configuration_takes_a_clip_and_no_checkpoint_is_chosen_by_what_looks_at_pictures(load):
    assert load().eval.measured == list(TEXT_METRICS)
    assert load(eval={"clip": "my/clip", "metrics": ["CIDEr"]}).eval.measured == ["CIDEr", *NAMES]
    assert load(eval={"metrics": ["CLIPScore"]}).eval.measured == ["CLIPScore"]
    with pytest.raises(ValueError, match=r"checkpoint\.select.*unknown validation number"):
        load(checkpoint={"select": "CLIPScore"})


def _evaluate(folder, *options, metrics=("Bleu_1",)):
    write_json(folder / "r.json", {key.replace("#", "-"): texts for key, texts in REFERENCES.items() if key != "a#y"})
    write_json(folder / "h.json", {key.replace("#", "-"): text for key, text in HYPOTHESES.items() if key != "a#y"})
    inputs = ["--references", str(folder / "r.json"), "--hypotheses", str(folder / "h.json")]
    return main([*inputs, "--out", str(folder / "o.json"), *options, "--metrics", *metrics])


def test_command_line_scores_pictures_of_a_folder(tiny_clip, sight, photos, tmp_path, capsys):
    renamed = tmp_path / "photos" / "below"
    renamed.mkdir(parents=True)
    for letter, name in zip("abc", ("a-x", "b-x", "c-y"), strict=True):
        shutil.copy(photos / f"{letter}.png", renamed / f"{name}.png")
    assert _evaluate(tmp_path, "--clip", str(tiny_clip), "--images", str(tmp_path / "photos")) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == read_json(tmp_path / "o.json")
    keys = ["a#x", "b#x", "c#y"]
    some = [{key: texts[key] for key in keys} for texts in (REFERENCES, HYPOTHESES)]
    alone = sight.clip.score(*some, sight.open_picture, IMAGES)
    assert [*found["overall"]] == ["Bleu_1", *NAMES]
    for name in NAMES:
        assert found["overall"][name] == pytest.approx(alone[name].mean(), abs=1e-6)
    said = found["provenance"]
    assert said["metrics"]["clip"] == sight.clip.describe() | {"model": str(tiny_clip)}
    assert said["images"] == str(tmp_path / "photos")


def test_command_line_names_what_is_wrong_with_its_options_before_it_scores(tiny_clip, photos, tmp_path, capsys):
    def fault(*options, **other):
        assert _evaluate(tmp_path, *options, **other) == 2
        told = capsys.readouterr()
        assert told.out == ""
        return told.err

    assert "--clip and --images: give both" in fault("--clip", str(tiny_clip))
    assert "--clip and --images: give both" in fault("--images", str(photos))
    assert "lacks the pictures of 3 ids ('a-x', 'b-x', 'c-y')" in fault(
        "--clip", str(tiny_clip), "--images", str(photos)
    )
    assert "no such folder" in fault("--clip", str(tiny_clip), "--images", str(tmp_path / "none"))
    for letter, name in zip("abc", ("a-x", "b-x", "c-y"), strict=True):
        shutil.copy(photos / f"{letter}.png", tmp_path / f"{name}.png")
    assert f"model {tmp_path}/none: no such folder" in fault(
        "--clip", str(tmp_path / "none"), "--images", str(tmp_path)
    )
    assert "has no config.json" in fault("--clip", str(photos), "--images", str(tmp_path))


def test_command_line_without_a_clip_says_why_the_metric_is_null(tmp_path, capsys):
    assert _evaluate(tmp_path, metrics=("CLIPScore", "Bleu_1")) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["overall"]["CLIPScore"] is None
    assert "--clip" in found["unavailable"]["CLIPScore"]


def test_pictures_are_known_by_name_stem_or_number_and_two_of_one_name_are_refused(photos, tmp_path):
    for name in ("COCO_val2014_000000000042.png", "sub/x.png", "sub/y.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(photos / "a.png", tmp_path / name)
    images = {"42": "42", "k": "x", "l": "elsewhere/y.png"}
    open_picture = pictures_of(tmp_path, list(images), images, [])
    assert [open_picture(image).size for image in images.values()] == [(36, 40)] * 3
    shutil.copy(photos / "a.png", tmp_path / "x.png")
    with pytest.raises(ValueError, match=r"the picture 'x' could be sub/x\.png or x\.png"):
        pictures_of(tmp_path, list(images), images, [])
    open_picture = pictures_of(tmp_path, ["k"], {"k": "x.png"}, [])  # the name itself is surer
    assert open_picture("x.png").mode == "RGB"


def test_pictures_in_a_tar_are_found_and_a_broken_one_is_named(photos, tmp_path):
    (tmp_path / "b.png").write_bytes(b"no picture")
    with tarfile.open(tmp_path / "photos.tar", "w") as archive:
        archive.add(photos / "a.png", "a.png")
        archive.add(tmp_path / "b.png", "b.png")
    open_picture = pictures_of(tmp_path / "photos.tar", ["1", "2"], {"1": "a.png", "2": "b"}, [])
    assert open_picture("a.png").size == (36, 40)
    with pytest.raises(ValueError, match=r"photos\.tar/b\.png: "):
        open_picture("b")


def test_every_metric_that_needs_pictures_is_given_by_clip(sight):
    found = sight.clip.score({"a": ["x"]}, {"a": "x"}, lambda _: sight.open_picture("a.png"))
    assert {name for name, metric in METRICS.items() if metric.needs_pictures} == found.keys()
