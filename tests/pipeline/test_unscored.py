import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from configuration.loading import load_config
from metrics.clip import Clip, Sight
from metrics.compare import read_results
from metrics.results import evaluate_captions
from metrics.scores.clip import NO_CLIP
from pipeline.evaluate import evaluate
from pipeline.unscored import REASON, unscored_results, write_server_files
from preprocessors.examples import CaptionExample, make_example_id


def example(image: str, style: str = "plain") -> CaptionExample:
    return CaptionExample(make_example_id(image, style), Path("photos") / image, style, ())


def test_unscored_results_have_the_keys_of_scored_ones_and_a_reason_for_every_null():
    examples = [example("a.jpg"), example("b.jpg"), example("b.jpg", "wry")]
    hypotheses = {"a.jpg#plain": "A dog runs.", "b.jpg#plain": "A dog runs!", "b.jpg#wry": ""}
    metrics = ("Bleu_4", "CIDEr")
    found = unscored_results(examples, hypotheses, metrics=metrics, provenance={"split": "test"})
    references = {key: ["a dog"] for key in hypotheses}
    styles = {item.example_id: item.style for item in examples}
    scored = evaluate_captions(
        references, hypotheses, styles, metrics=metrics, train_captions={"plain": ["x"]}, neighbours="", provenance={}
    )
    assert found.keys() == scored.keys()
    assert found["confidence"].keys() == scored["confidence"].keys()
    assert found["overall"] == {"Bleu_4": None, "CIDEr": None}
    assert found["per_style"]["plain"] == {"Bleu_4": None, "CIDEr": None, "n": 2}
    assert found["n"] == 3
    # Two different captions of three; "a dog runs" twice and nothing: two words a caption in the mean.
    assert found["diversity"]["unique_captions"] == pytest.approx(2 / 3)
    assert found["diversity"]["mean_length"] == 2
    for name in (*metrics, "style", "confidence", "baseline_constant", "diversity/copied_share"):
        assert found["unavailable"][name] == REASON


def test_clip_score_needs_no_captions_to_compare_with(tiny_clip):
    draw = np.random.default_rng(1)
    pictures = {f"{name}.jpg": Image.fromarray(draw.integers(0, 256, (9, 9, 3), dtype=np.uint8)) for name in "ab"}
    sight = Sight(Clip.open(tiny_clip), pictures.__getitem__)
    examples = [example("a.jpg"), example("b.jpg"), example("b.jpg", "wry")]
    hypotheses = {"a.jpg#plain": "A dog", "b.jpg#plain": "two cats", "b.jpg#wry": "Oh, cats"}
    metrics = ("CIDEr", "CLIPScore", "RefCLIPScore")
    found = unscored_results(examples, hypotheses, metrics=metrics, provenance={}, sight=sight)
    images = {item.example_id: item.image_name for item in examples}
    alone = sight.clip.score(dict.fromkeys(hypotheses, ()), hypotheses, sight.open_picture, images)["CLIPScore"]
    assert found["overall"] == {"CIDEr": None, "CLIPScore": pytest.approx(alone.mean()), "RefCLIPScore": None}
    assert found["per_style"]["plain"]["CLIPScore"] == pytest.approx(alone[:2].mean())
    low, high = found["confidence"]["overall"]["CLIPScore"]
    assert low < found["overall"]["CLIPScore"] < high
    assert found["unavailable"]["RefCLIPScore"] == REASON
    assert {"CLIPScore", "confidence"}.isdisjoint(found["unavailable"])
    assert found["provenance"]["metrics"]["clip"] == sight.clip.describe()

    blind = unscored_results(examples, hypotheses, metrics=metrics, provenance={})
    assert blind["unavailable"]["CLIPScore"] == NO_CLIP


def read(path: Path) -> list:
    return json.loads(path.read_bytes())


def test_server_file_has_the_numbers_of_coco_s_pictures(tmp_path: Path):
    names = ["COCO_test2014_000000000016.jpg", "000000391895.jpg"]
    (path,) = write_server_files(tmp_path, "test", [example(name) for name in names], {f"{n}#plain": n for n in names})
    assert path == tmp_path / "test.coco.json"
    assert read(path) == [{"image_id": 16, "caption": names[0]}, {"image_id": 391895, "caption": names[1]}]


def test_server_file_has_the_ids_of_the_annotations(tmp_path: Path):
    images = [{"id": 7, "file_name": "val/0013ea.jpg"}, {"id": 0, "file_name": "000000000005.jpg"}]
    (tmp_path / "test.json").write_text(json.dumps({"images": images}))
    source = str(tmp_path / "test.json")
    examples = [replace(example(name), source=source) for name in ("val/0013ea.jpg", "000000000005.jpg")]
    (path,) = write_server_files(tmp_path, "test", examples, {item.example_id: "x" for item in examples})
    assert [row["image_id"] for row in read(path)] == [7, 0]


def test_server_file_has_names_where_one_is_no_number_and_a_file_a_style(tmp_path: Path):
    examples = [example("1.jpg"), example("x/b2.jpg"), example("1.jpg", "so so"), example("1.jpg", "so/so")]
    hypotheses = {item.example_id: item.style for item in examples}
    paths = write_server_files(tmp_path, "test", examples, hypotheses)
    assert [path.name for path in paths] == ["test.coco.plain.json", "test.coco.so_so.json", "test.coco.so_so.2.json"]
    assert [row["image_id"] for row in read(paths[0])] == ["1", "b2"]
    assert read(paths[2]) == [{"image_id": "1", "caption": "so/so"}]


def test_server_file_gives_two_pictures_of_one_name_two_ids(tmp_path: Path):
    names = ["0.tar/0001.png", "1.tar/0001.png", "1.tar/0002.png"]
    (path,) = write_server_files(tmp_path, "test", [example(name) for name in names], {f"{n}#plain": n for n in names})
    assert [row["image_id"] for row in read(path)] == ["0.tar/0001", "1.tar/0001", "1.tar/0002"]


@pytest.fixture
def received(start_model: Path) -> Path:
    """Somebody's model, untrained, with styles and settings."""
    return start_model


def write_conf(tmp_path: Path, document: dict, scenes: Path, rows: int, captions) -> Path:
    """A data folder of nothing but a test file, and the configuration for it."""
    folder = tmp_path / "own"
    folder.mkdir()
    lines = (scenes / "val.jsonl").read_text().splitlines()[:rows]
    tested = [json.loads(line) | ({} if captions is None else {"captions": captions}) for line in lines]
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in tested))
    data = document["data"] | {"annotations": str(folder)}
    conf = tmp_path / "own.json"
    conf.write_text(json.dumps(document | {"data": data, "eval": document["eval"] | {"split": "test"}}))
    return conf


def test_received_model_is_evaluated_without_its_training_data(
    tmp_path: Path, tiny_document: dict, scenes: Path, received: Path, caplog: pytest.LogCaptureFixture
):
    conf = write_conf(tmp_path, tiny_document, scenes, 6, None)
    with caplog.at_level(logging.WARNING):
        results = evaluate(load_config(conf), str(received))
    assert "train.jsonl: annotation file not found" in caplog.text
    assert results["n"] == 6
    assert None not in results["overall"].values()
    for name in ("baseline_constant", "baseline_neighbours"):
        assert results[name] is None
        assert results["unavailable"][name] == "the training captions are not there"
    assert results["diversity"]["copied_share"] is None
    assert results["unavailable"]["diversity/copied_share"] == "the training captions are not there"
    assert "no training captions" in results["unavailable"]["style"]
    assert results["provenance"]["train_sha256"] is None
    assert results["provenance"]["overlap_with_train"] is None


def test_model_without_settings_needs_its_training_data(
    tmp_path: Path, tiny_document: dict, scenes: Path, received: Path
):
    conf = write_conf(tmp_path, tiny_document, scenes, 2, None)
    (received / "styles.json").unlink()
    (received / "manifest.json").unlink(missing_ok=True)
    with pytest.raises((FileNotFoundError, ValueError), match=r"styles\.json") as caught:
        evaluate(load_config(conf), str(received))
    assert "Traceback" not in str(caught.value)


def test_hidden_test_split_is_captioned_and_its_metrics_are_null(
    tmp_path: Path, tiny_document: dict, scenes: Path, received: Path
):
    conf = write_conf(tmp_path, tiny_document, scenes, 4, [])
    results = evaluate(load_config(conf), str(received))
    assert results["overall"] == {"Bleu_4": None, "CIDEr": None}
    assert (results["n"], results["unavailable"]["CIDEr"]) == (4, REASON)
    (folder,) = (Path(tiny_document["work_dir"]) / "eval").iterdir()
    captions = read(folder / "test.captions.json")
    assert len(captions) == 4
    by_style = {path.name.split(".")[2]: read(path) for path in folder.glob("test.coco.*.json")}
    assert {(row["style"], row["caption"]) for row in captions} == {
        (style, row["caption"]) for style, rows in by_style.items() for row in rows
    }
    assert (folder / "report.html").is_file()
    assert read(folder / "test.json")["overall"] == results["overall"]
    with pytest.raises(ValueError, match=rf"test.json: there is nothing to compare, every metric is null \({REASON}\)"):
        read_results(folder / "test.json")
