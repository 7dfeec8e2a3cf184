"""The data doctor on a folder with every fault once, on a clean one, and on the real data."""

from __future__ import annotations

import io
import json
import os
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageEnhance

import finetune
from configuration.loading import load_config
from pipeline.prepare import prepare
from preprocessors.checks.findings import KINDS
from tests.container_files import write_tar

WORDS = ("red", "old", "tall", "wet", "loud", "calm", "odd", "raw", "shy", "bold", "grey", "warm", "thin", "soft")
NOUNS = ("dog", "tree", "boat", "man", "road", "hill")


class DataSet:
    """A small data set on disk, as JSON Lines, with pictures that do not resemble each other."""

    def __init__(self, root: Path) -> None:
        self.root, self.images = root, root / "images"
        self.images.mkdir(parents=True)
        self.lines: dict[str, list[bytes]] = {"train": [], "val": [], "test": []}
        self.seed = 0
        for split, count in (("train", 12), ("val", 3), ("test", 2)):
            for _ in range(count):
                name = self.picture()
                for style in ("humorous", "romantic"):
                    self.row(split, name, style)

    def photo(self) -> Image.Image:
        self.seed += 1
        grid = np.random.default_rng(self.seed).integers(0, 255, (9, 9, 3), dtype=np.uint8)
        return Image.fromarray(grid).resize((120, 90), Image.Resampling.BICUBIC)

    def picture(self, name: str = "", image: Image.Image | None = None, **options: Any) -> str:
        image = image or self.photo()
        name = name or f"{self.seed}.jpg"
        image.save(self.images / name, **options)
        return name

    def words(self) -> str:
        self.seed += 1
        place = self.seed
        return f"a {WORDS[place % 14]} {NOUNS[place % 6]} by a {WORDS[place // 14 % 14]} {NOUNS[place // 84 % 6]}"

    def row(self, split: str, image: str, style: str = "humorous", *captions: str) -> None:
        row = {"image": image, "style": style, "captions": captions or [self.words()]}
        self.lines[split].append(json.dumps(row, ensure_ascii=False).encode())

    def write(self) -> None:
        for split, lines in self.lines.items():
            (self.root / f"{split}.jsonl").write_bytes(b"\n".join(lines) + b"\n")
        for path in self.images.iterdir():
            os.utime(path, (1.7e9, 1.7e9))  # what has just been written is not taken for settled


@pytest.fixture
def data(tmp_path: Path) -> DataSet:
    return DataSet(tmp_path / "set")


@pytest.fixture
def check(tiny_document: dict[str, Any], tmp_path: Path, capsys) -> Callable[..., tuple[int, dict[str, Any], dict]]:
    """Writes a data set and runs the command: exit code, the last line of standard output, and the report."""

    def run(data: DataSet, *options: str) -> tuple[int, dict[str, Any], dict]:
        data.write()
        document = tiny_document | {
            "data": tiny_document["data"] | {"annotations": str(data.root), "images": str(data.images)},
            "decode": {"max_length": 70},
        }
        document["model"]["bpe_size"] = 700
        document["model"]["overrides"] |= {"max_position_embeddings": 128}
        conf = tmp_path / "conf.json"
        conf.write_text(json.dumps(document))
        code = finetune.main(["check", "--conf", str(conf), "--out", str(tmp_path / "out"), *options])
        summary = json.loads(capsys.readouterr().out.splitlines()[-1])
        return code, summary, json.loads((tmp_path / "out/check.json").read_text())

    return run


def test_clean_folder_has_no_findings(data: DataSet, check):
    code, summary, report = check(data)
    assert (code, summary["clean"], summary["findings"]) == (0, True, {})
    assert summary["splits"] == {"train": 24, "val": 6, "test": 4}
    assert report["splits"]["train"]["styles"]["romantic"] == {"examples": 12, "captions": 12}
    assert report["pictures"] == {"there": 17, "opened": 17, "known": 0}
    assert report["lengths"]["places"] == 126
    assert "Nothing was found" in (Path(summary["files"]["page"])).read_text()
    _, _, again = check(data)
    assert again["pictures"] == {"there": 17, "opened": 0, "known": 17}


def test_pictures_in_shards_are_there_and_are_looked_into(data: DataSet, check):
    members = {split: {} for split in data.lines}
    for split, lines in data.lines.items():
        for number, line in enumerate(lines[::2]):
            row = json.loads(line)
            members[split][f"{number}.jpg"] = (data.images / row["image"]).read_bytes()
            members[split][f"{number}.json"] = json.dumps(row).encode()
    members["val"]["0.jpg"] = members["train"]["5.jpg"]
    members["val"]["1.jpg"] = b"no picture"
    for split, content in members.items():
        write_tar(data.root / f"{split}.tar", content)
    code, summary, report = check(data, "--set", "data.format=webdataset", "--set", "data.images=null")
    assert report["pictures"]["there"] == 17
    assert summary["findings"] == {"undecodable_picture": 1, "picture_in_two_splits": 1}
    assert code == 1


def test_alias_in_a_corpus_is_no_fault_of_the_model(data: DataSet, check, tmp_path: Path):
    (tmp_path / "corpus.jsonl").write_text('{"body": "what a joke", "meta": "Funny"}\n')
    options = [f"masked_lm.corpus={tmp_path}/corpus.jsonl", "masked_lm.weight=0.1", "style.aliases.funny=humorous"]
    _, summary, _ = check(data, *(part for option in options for part in ("--set", option)))
    assert summary["findings"] == {}


def test_model_that_brings_its_rule_and_limit_is_held_to_them(data: DataSet, check, tmp_path: Path):
    for name in (data.picture() for _ in range(6)):
        data.row("train", name, "humorous", "the well-known dog's bone is here", "it's the dog's well-known bone")
    check(data)
    document = json.loads((tmp_path / "conf.json").read_text())
    document["data"]["punctuation"], document["decode"]["max_length"] = "keep", 5
    document["decode"]["min_length"] = 1
    (tmp_path / "keep.json").write_text(json.dumps(document))
    prepare(load_config(tmp_path / "keep.json")).captioner.save_to_dir(tmp_path / "model")
    own = ("--set", "model.preset=null", "--set", "model.overrides={}", "--set", f"model.name={tmp_path}/model")
    _, summary, report = check(data, *own, "--set", "decode.max_length=null")
    assert report["lengths"]["max_length"] == 5
    assert report["punctuation"] == []
    assert "longer_than_decoded" in summary["findings"]


def add_bad_pictures(data: DataSet) -> None:
    data.row("train", "gone.jpg")
    data.picture("Named.jpg")
    data.row("train", "named.jpg")
    buffer = io.BytesIO()
    data.photo().resize((300, 200)).save(buffer, "JPEG")
    whole = buffer.getvalue()
    for name, content in {
        "cut.jpg": whole[: len(whole) // 2],
        "text.jpg": b"not a picture",
        "grey.jpg": whole[: len(whole) // 2] + b"\xff\xd9",
    }.items():
        (data.images / name).write_bytes(content)
        data.row("train", name)
    exif = Image.Exif()
    exif[0x0112] = 6
    data.row("train", data.picture("phone.jpg", exif=exif))
    for form in ("NFC", "NFD"):
        data.row("train", data.picture(unicodedata.normalize(form, "é.jpg")))


def add_pictures_twice(data: DataSet) -> None:
    def bytes_of(name: str) -> bytes:
        return (data.images / name).read_bytes()

    def brighter(name: str) -> Image.Image:
        with Image.open(data.images / name) as image:
            return ImageEnhance.Brightness(image).enhance(0.9)

    first = [data.picture() for _ in range(4)]
    for name in first:
        data.row("train", name)
    (data.images / "copy.jpg").write_bytes(bytes_of(first[0]))
    data.row("train", "copy.jpg")
    data.row("train", data.picture("alike.jpg", brighter(first[1]), quality=60))
    (data.images / "val.jpg").write_bytes(bytes_of(first[2]))
    data.row("val", "val.jpg")
    data.row("test", data.picture("test.jpg", brighter(first[3]), quality=60))


def add_bad_captions(data: DataSet) -> None:
    faults = {
        "placeholder_caption": "[TIMEOUT]",
        "marks_only_caption": "?!",
        "list_as_text": "['a lone fox', 'a fox']",
        "end_token": "the fox sleeps </s>",
        "markup": "the <b>fox</b> eats",
        "mojibake": "the fox in a cafÃ©",
        "replacement_character": "the fox \N{REPLACEMENT CHARACTER} digs",
        "no_spaces_between_words": "一只狐狸",
        "longer_than_decoded": "the fox is " + "very " * 75 + "red",
    }
    for caption in faults.values():
        data.row("train", data.picture(), "humorous", caption)
    data.row("train", data.picture(), "humorous", "the fox swims", "The fox swims.")
    name = data.picture()
    for style in ("humorous", "romantic"):
        data.row("train", name, style, "the fox sings")
    for split, caption in (
        ("train", "the fox hides"),
        ("train", "the fox hides"),
        ("train", "foxes"),
        ("val", "foxes"),
    ):
        data.row(split, data.picture(), "romantic", caption)


def add_bad_rows_and_styles(data: DataSet) -> None:
    data.lines["train"].append(b'{"image": "1.jpg", "style": "humorous"}')
    data.lines["val"].append(b'{"image": "1.jpg", "style": "humorous", "captions": "caf\xe9"}')
    data.row("train", data.picture(), "Humourous")
    data.row("test", data.picture(), "sarcastic")


def test_every_fault_is_found_exactly_once(data: DataSet, check):
    add_bad_pictures(data)
    add_pictures_twice(data)
    add_bad_captions(data)
    add_bad_rows_and_styles(data)
    code, summary, report = check(data)
    elsewhere = {"unreadable_split", "dropped_row", "longer_than_positions", "punctuation_cost", "unusable_model"}
    expected = dict.fromkeys([kind for kind in KINDS if kind not in elsewhere], 1)
    if "e\u0301.jpg" not in os.listdir(data.images) or "\u00e9.jpg" not in os.listdir(data.images):
        del expected["similar_picture_names"]  # a file system with one name for both forms
    assert summary["findings"] == expected
    assert code == 1
    examples = {found["kind"]: found["examples"][0] for found in report["findings"]}
    assert examples["bad_row"]["where"].startswith(str(data.root / "train.jsonl"))
    assert examples["bad_row"]["value"] == "no caption humorous"
    assert examples["not_utf8"]["where"] == f"{data.root / 'val.jsonl'}, line {len(data.lines['val'])}"
    assert "nearest" not in examples["unknown_style"]["value"]
    assert examples["near_miss_style"]["value"].startswith("'Humourous' (1 rows) for 'humorous'")
    assert [Path(path).name for path in examples["duplicate_picture"]["pictures"]][1] == "copy.jpg"


def test_punctuation_that_the_metric_counts_is_told(data: DataSet, check):
    for place in range(12):
        data.row("val", data.picture(), "romantic", f"it's the fox's {WORDS[place]} den, isn't it")
    _, summary, report = check(data)
    assert summary["findings"] == {"punctuation_cost": 1}
    assert report["punctuation"][0]["lost"] > 0.1


def test_captions_beyond_the_positions_are_told(data: DataSet, check):
    data.row("train", data.picture(), "humorous", "zebra " * 60 + "again")
    _, summary, report = check(data, "--set", "model.overrides.max_position_embeddings=40")
    assert summary["findings"] == {"longer_than_positions": 1}
    assert report["lengths"]["places"] == 38


def test_model_that_cannot_be_used_is_told_and_the_rest_is_checked(data: DataSet, check):
    _, summary, report = check(data, "--set", "model.overrides.d_modl=8")
    assert summary["findings"] == {"unusable_model": 1}
    assert "d_modl" in report["findings"][0]["examples"][0]["value"]
    assert report["lengths"]["tokenizer"].startswith("estimated from words: model.overrides.d_modl")


def test_split_that_training_needs_and_cannot_be_read_is_told(data: DataSet, check):
    data.lines["val"] = [b"{\n"]
    code, summary, report = check(data)
    assert (code, summary["findings"]) == (1, {"unreadable_split": 1})
    assert "val" in report["absent"]


def test_test_split_that_nobody_asks_for_may_be_absent(data: DataSet, check, tmp_path: Path):
    write = data.write

    def without_test() -> None:
        write()
        (data.root / "test.jsonl").unlink()

    data.write = without_test  # type: ignore[method-assign]
    code, summary, report = check(data)
    assert (code, summary["findings"]) == (0, {})
    assert "test.jsonl: annotation file not found" in report["absent"]["test"]
    code, summary, _ = check(data, "--set", "eval.split=test")
    assert (code, summary["findings"]) == (1, {"unreadable_split": 1})


def test_limit_that_training_is_to_choose_is_shown_as_none(data: DataSet, check):
    _, summary, report = check(data, "--set", "decode.max_length=null")
    assert report["lengths"]["max_length"] is None
    assert "is not set; this leaves 99.5%" in Path(summary["files"]["page"]).read_text()


def test_limit_of_pixels_is_the_configurations(data: DataSet, check, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    _, summary, _ = check(data, "--set", "image.max_pixels=10000")
    assert summary["findings"] == {"undecodable_picture": 17}


def test_what_there_is_is_checked_without_training_rows(data: DataSet, check, start_model: Path):
    data.lines["test"].append(data.lines["test"][0])
    write = data.write

    def only_test() -> None:
        write()
        (data.root / "train.jsonl").unlink()
        (data.root / "val.jsonl").unlink()

    data.write = only_test  # type: ignore[method-assign]
    code, summary, report = check(data)
    assert (code, summary["findings"]) == (1, {"unreadable_split": 2, "repeated_caption": 1})
    assert report["lengths"] is None
    assert summary["splits"] == {"test": 4}
    # A model that is there may be evaluated, with no training rows.
    _, summary, _ = check(data, "--checkpoint", str(start_model), "--set", "eval.split=test")
    assert summary["findings"] == {"repeated_caption": 1}


def test_pictures_without_captions_are_checked(data: DataSet, check):
    data.lines = {"test": [b'{"image": "1.jpg", "style": "humorous", "captions": []}']}
    code, summary, report = check(data)
    assert (code, summary["findings"]) == (1, {"unreadable_split": 2})
    assert report["punctuation"] == []


def test_annotations_that_are_not_there_are_bad_input(tiny_document: dict[str, Any], tmp_path: Path, capsys):
    tiny_document["data"]["annotations"] = str(tmp_path / "nowhere")
    (tmp_path / "conf.json").write_text(json.dumps(tiny_document))
    assert finetune.main(["check", "--conf", str(tmp_path / "conf.json")]) == 2
    assert "annotation file not found" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_training_says_the_short_form(data: DataSet, tiny_document: dict[str, Any], caplog, monkeypatch):
    from configuration.data import DataConfig
    from pipeline.data import read_split
    from pipeline.findings import warn_of_findings
    from pipeline.prepare import RunData

    data.row("train", data.picture(), "humorous", "the fox sleeps </s>")
    data.row("train", data.picture(), "humorous", "a fox")
    data.row("train", data.picture(), "humorous", "a fox")
    data.picture("phone.jpg")
    data.row("train", "phone.jpg")
    data.row("val", "phone.jpg")
    data.write()
    config = DataConfig.model_validate(
        tiny_document["data"] | {"annotations": str(data.root), "images": str(data.images)}
    )
    train, val = read_split(config, "train"), read_split(config, "val")
    caplog.clear()
    warn_of_findings(config, RunData(train, val, val, []))
    pictures, captions, hint = [record.getMessage() for record in caplog.records]
    assert pictures.startswith("data: pictures in two splits: 1, e.g. ")
    assert captions.startswith("data: captions with special tokens of a tokenizer: 1, e.g. ")
    assert captions.endswith("the fox sleeps </s>")
    assert "finetune.py check" in hint
    caplog.clear()
    warn_of_findings(config, RunData(val, val, val, []))
    assert [record.getMessage() for record in caplog.records if "special" in record.getMessage()] == []
    monkeypatch.setattr("pipeline.findings.MOST_EXAMPLES", len(train.examples))
    caplog.clear()
    with caplog.at_level("INFO"):
        warn_of_findings(config, RunData(train, val, val, []))
    assert ["too many examples" in record.getMessage() for record in caplog.records] == [True]


# --- What ../shared/data/README.md says of the real folders


@pytest.fixture
def check_real(shared: Path, tmp_path: Path, capsys) -> Callable[..., tuple[dict[str, int], dict[str, dict]]]:
    """Runs the command on a folder of the real data: counts by kind, and the findings by kind."""

    def run(name: str, **data: str) -> tuple[dict[str, int], dict[str, dict]]:
        folder = shared / "data" / name
        if not folder.is_dir():
            pytest.skip(f"no {folder}")
        places = {"annotations": str(folder), "images": str(folder / "photos_160")}
        conf = tmp_path / "conf.json"
        document = {
            "model": {"preset": "nano", "bpe_size": 3000},
            "data": places | {"picture_record": str(tmp_path / "record")} | data,
            "decode": {"max_length": 24},
        }
        conf.write_text(json.dumps(document))
        assert finetune.main(["check", "--conf", str(conf), "--out", str(tmp_path / "out")]) == 1
        summary = json.loads(capsys.readouterr().out.splitlines()[-1])
        report = json.loads((tmp_path / "out/check.json").read_text())
        return summary["findings"], {found["kind"]: found for found in report["findings"]}

    return run


@pytest.mark.slow
def test_flickrstyle_joined_file_has_what_its_readme_says(check_real, shared: Path):
    counts, found = check_real("flickrstyle", format="flickrstyle", split="flickr8k")
    rows = json.loads((shared / "data/flickrstyle/captions.json").read_text())
    assert sum(row["humorous"] == row["romantic"] for row in rows) == 9
    assert counts["same_caption_in_two_styles"] >= 9
    # Every photo is there and whole; two of them are one photo, saved twice.
    assert not {"missing_picture", "truncated_picture", "half_grey_picture", "undecodable_picture"} & counts.keys()
    assert counts["duplicate_picture"] == 1
    assert (
        "2851198725_37b6027625.jpg is 3050606344_af711c726c.jpg" in found["duplicate_picture"]["examples"][0]["value"]
    )
    assert "unknown_style" not in counts


@pytest.mark.slow
def test_flickrstyle_release_has_one_line_in_another_encoding(check_real):
    counts, found = check_real("flickrstyle", format="flickrstyle_release", split="flickr8k")
    assert counts["not_utf8"] == 1
    where = found["not_utf8"]["examples"][0]["where"]
    assert where.endswith("romantic_train.txt, line 2531")  # the README says 2530, counted from 0
    assert "mojibake" not in counts


@pytest.mark.slow
def test_personality_captions_are_as_dirty_as_its_readme_says(check_real, shared: Path):
    files = {"train": "pcap_valid_derived.json", "val": "pcap_test_derived.json", "test": "pcap_test_derived.json"}
    counts, found = check_real("personality_captions", format="personality_captions", **files)
    texts = [json.loads((shared / "data/personality_captions" / files[name]).read_text()) for name in ("train", "val")]
    timed_out = [sum(row["comment"].strip() in ("[TIMEOUT]", "") for row in rows) for rows in texts]
    # val and test are one file here, and are counted twice.
    assert counts["dropped_row"] == timed_out[0] + 2 * timed_out[1]
    assert "[TIMEOUT]" in found["dropped_row"]["examples"][0]["value"]
    # The one row in the style "Crude", which is none of the 215, goes for another reason.
    (crude,) = [place for place, row in enumerate(texts[1], 1) if row["personality"] == "Crude"]
    assert f"row {crude}" in [case["where"].rpartition(", ")[2] for case in found["dropped_row"]["examples"]]
    assert "unknown_style" not in counts
    hashes = {row["image_hash"] for rows in texts for row in rows}
    assert 0 < len(hashes) - counts["missing_picture"] < 20  # those that stand with dropped comments alone
