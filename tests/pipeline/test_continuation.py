"""An interrupted run goes on as it would have gone, or says what has changed."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace

import pytest
from PIL import Image

from configuration.changes import describe_changes, hash_settings
from configuration.loading import load_config
from pipeline import continuation
from pipeline.continuation import Start, check_continues, hash_pictures
from pipeline.prepare import prepare
from pipeline.record import read_record_of_start
from pipeline.train import train
from preprocessors.examples import CaptionExample
from runs.folder import Run
from utils.io import read_json, write_json


@pytest.fixture
def run(tmp_path, seal_checkpoint) -> Run:
    """Interrupted at step 4 in two processes, 16 rows a step."""
    seal_checkpoint(Run(tmp_path).checkpoint(4), processes=2, rows_per_step=16)
    return Run(tmp_path)


def test_same_start_goes_on(run):
    check_continues(run, {}, Start(rows_per_step=16, processes=2))
    check_continues(Run(run.root / "new"), {}, Start(rows_per_step=1, processes=1))


def test_other_number_of_processes_is_refused_though_the_rows_are_as_many(run, caplog):
    with pytest.raises(ValueError, match=r"begun with other processes: 2 -> 1; the weights .*--allow-change"):
        check_continues(run, {}, Start(rows_per_step=16, processes=1))
    check_continues(run, {}, Start(rows_per_step=16, processes=1, allow_change=True))
    assert "begun with other processes: 2 -> 1; going on as --allow-change asks" in caplog.text


@pytest.mark.parametrize("allow_change", [False, True])
def test_step_of_other_rows_is_refused_whatever_is_allowed(run, allow_change):
    """21 steps would become 39, and the learning rate that of another run."""
    with pytest.raises(ValueError, match=r"has 16 rows, and would have 8 now .*2 processes then, 1 now"):
        check_continues(run, {}, Start(rows_per_step=8, processes=1, allow_change=allow_change))


@pytest.mark.parametrize("package", ["torch", "transformers"])
def test_other_version_is_refused(run, package):
    versions = {"torch": None, "transformers": None} | {package: "0.1"}
    write_json(run.root / "environment.json", {"packages": {k: v for k, v in versions.items() if v}})
    packages = read_record_of_start(run)["packages"]
    with pytest.raises(ValueError, match=rf"begun with other {package}: 0\.1 -> \d.*--allow-change"):
        check_continues(run, packages, Start(16, 2))
    check_continues(run, packages, Start(16, 2, allow_change=True))
    run.output.mkdir()  # trained already: nothing can change
    check_continues(run, packages, Start(16, 2))


@pytest.fixture
def pictures(tmp_path) -> list[CaptionExample]:
    """Three pictures of one size in bytes."""
    examples = []
    for number in range(3):
        path = tmp_path / f"{number}.bmp"
        Image.new("RGB", (4, 4), (number, 0, 0)).save(path)
        examples.append(CaptionExample(f"{path.name}#s", path, "s", ("a",), tmp_path, number))
    return examples


def test_pictures_are_hashed_by_name_size_and_content_and_times_apart(pictures):
    before = hash_pictures(pictures)
    os.utime(pictures[1].image_path, (1, 1))
    later = hash_pictures(pictures)
    assert later["pictures_sha256"] == before["pictures_sha256"]
    assert later["picture_times_sha256"] != before["picture_times_sha256"]
    Image.new("RGB", (4, 4), (9, 9, 9)).save(pictures[1].image_path)
    assert hash_pictures(pictures)["pictures_sha256"] != before["pictures_sha256"]


def test_of_many_pictures_a_sample_is_read_and_all_sizes_count(pictures, monkeypatch):
    monkeypatch.setattr(continuation, "MOST_READ", 2)  # the first and the last
    before = hash_pictures(pictures)["pictures_sha256"]
    Image.new("RGB", (4, 4), (9, 9, 9)).save(pictures[1].image_path)
    assert hash_pictures(pictures)["pictures_sha256"] == before
    Image.new("RGB", (4, 5), (9, 9, 9)).save(pictures[1].image_path)
    assert hash_pictures(pictures)["pictures_sha256"] != before


def test_settings_hash_is_that_of_what_decides_over_the_weights(tiny_document, tmp_path):
    def load(**changes):
        path = tmp_path / "conf.json"
        path.write_text(json.dumps(tiny_document | changes))
        return load_config(path)

    usual = hash_settings(load())
    assert hash_settings(load(data=tiny_document["data"] | {"picture_record": None})) == usual
    others = load(work_dir="elsewhere", eval=tiny_document["eval"] | {"samples": 1}, checkpoint={"keep_last": 5})
    assert hash_settings(others) == usual
    assert hash_settings(load(train=tiny_document["train"] | {"lr": 0.5})) != usual
    old, new = load(), load(train=tiny_document["train"] | {"batch_size": 4, "accumulation_steps": 2})
    assert describe_changes(old, new) == ["train.batch_size: 8 -> 4", "train.accumulation_steps: 1 -> 2"]
    assert describe_changes(old, new, allow_shares=True) == []
    sorted_rows = load(train=tiny_document["train"] | {"batch_size": 4, "group_lengths": True})
    assert "train.batch_size: 8 -> 4" in describe_changes(old, sorted_rows, allow_shares=True)


def test_rows_of_a_streamed_step_depend_on_the_batch_size_and_the_limit_of_pixels(tiny_document, tmp_path):
    def load(most_pixels=900, **shares):
        path, data = tmp_path / "conf.json", {"format": "webdataset", "annotations": "shards", "streaming": True}
        groups = {"data": data, "train": {"steps": 3} | shares, "image": {"size": 32, "max_pixels": most_pixels}}
        path.write_text(json.dumps(tiny_document | groups))
        return load_config(path)

    whole, halves = load(batch_size=8), load(batch_size=4, accumulation_steps=2)
    assert describe_changes(whole, halves, allow_shares=True) == ["train.batch_size: 8 -> 4"]
    # With on_bad_image=skip larger pictures teach nothing, and no list of rows would tell.
    assert describe_changes(whole, load(800, batch_size=8)) == ["image.max_pixels: 900 -> 800"]


def test_run_of_an_earlier_version_goes_on_with_the_pixels_it_began_with(tiny_document, tmp_path, seal_checkpoint):
    """Which nothing but its checkpoints tells: no setting named Pillow then."""
    path, checkpoint = tmp_path / "conf.json", tmp_path / "run/checkpoints/checkpoint-3"
    path.write_text(json.dumps(tiny_document))
    prepared = prepare(load_config(path))
    assert prepared.writer.preprocessor.image_transform.resizer == "torch"
    section = replace(prepared.captioner.settings, resizer="pillow").to_model_section()
    assert "resizer" not in section
    write_json(checkpoint / "configuration.json", {"model": section})
    seal_checkpoint(checkpoint)
    assert prepare(load_config(path)).writer.preprocessor.image_transform.resizer == "pillow"
    (checkpoint / "configuration.json").write_text("cut sho")
    assert prepare(load_config(path)).writer.preprocessor.image_transform.resizer == "torch"


@pytest.fixture
def paused(tiny_document, scenes, tmp_path):
    """A run that waits after its first epoch, on pictures of its own; starts it again with changes."""
    own = tmp_path / "scenes"
    shutil.copytree(scenes, own)
    tiny_document["data"] |= {"annotations": str(own), "images": str(own / "images"), "on_bad_image": "skip"}

    def start(pause=None, allow_change=False, **train_settings):
        path = tmp_path / "conf.json"
        path.write_text(json.dumps(tiny_document | {"train": tiny_document["train"] | train_settings}))
        return train(load_config(path), ["finetune.py"], path, pause, allow_change=allow_change)

    assert "paused" in start(pause=1)
    return start


def used_picture(tmp_path):
    rows = [json.loads(line) for line in next((tmp_path / "scenes").glob("*train*")).read_text().splitlines()]
    return tmp_path / "scenes/images" / rows[0]["image"]


def test_replaced_picture_is_refused_and_allowed_where_asked(paused, tmp_path):
    picture = used_picture(tmp_path)
    with Image.open(picture) as image:
        Image.new("RGB", image.size, (1, 2, 3)).save(picture)
    written = read_json(tmp_path / "run/environment.json")
    with pytest.raises(ValueError, match=r"the training pictures: other files or other content.*--allow-change"):
        paused()
    assert read_json(tmp_path / "run/environment.json") == written
    assert "overall" in paused(allow_change=True)


def test_picture_that_got_lost_on_the_way_is_named(paused, tmp_path):
    picture = used_picture(tmp_path)
    picture.write_bytes(b"")
    with pytest.raises(
        ValueError, match=rf"other training captions; these pictures cannot be used any more: .*{picture.name}"
    ):
        paused()


def test_step_divided_otherwise_goes_on_where_asked(paused):
    with pytest.raises(ValueError, match=r"train\.batch_size: 8 -> 4"):
        paused(batch_size=4, accumulation_steps=2)
    with pytest.raises(ValueError, match="step of this run has 8 rows, and would have 4 now"):
        paused(batch_size=4, allow_change=True)
    assert "overall" in paused(batch_size=4, accumulation_steps=2, allow_change=True)


def test_more_epochs_are_refused_and_the_command_for_a_new_run_is_told(paused):
    with pytest.raises(
        ValueError, match=r"(?s)train\.epochs: 2 -> 3.*new run from its weights: .*--checkpoint .*checkpoint-6"
    ):
        paused(epochs=3)
