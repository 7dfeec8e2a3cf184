import json
import os
import pickle
from collections import Counter
from pathlib import Path

import pytest

from preprocessors.readers import ReadResult, SplitName, count_reasons, hash_split, held_out_split, read_examples

RELEASE_FILES = ("funny_train.txt", "romantic_train.txt", "train_fu.p")


def read_flickrstyle(shared: Path, format: str = "flickrstyle", **settings) -> ReadResult:
    folder = shared / "data" / "flickrstyle"
    return read_examples(format, annotations=folder, images=folder / "photos_160", **settings)


@pytest.fixture(scope="module")
def joined_rows(shared: Path) -> list[dict]:
    return json.loads((shared / "data" / "flickrstyle" / "captions.json").read_text(encoding="utf-8"))


@pytest.fixture
def write_rows(tmp_path: Path):
    """Writes rows as <name>.json or <name>.jsonl into one folder."""

    def write(name: str, rows: list) -> Path:
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        text = "\n".join(lines) if name.endswith("l") else f"[{','.join(lines)}]"
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path

    return write


@pytest.fixture
def release(tmp_path: Path):
    """A release folder of four rows whose files can be replaced."""
    folder = tmp_path / "release"
    folder.mkdir()
    (folder / "funny_train.txt").write_bytes(b"f0\r\nf1\r\nf2\r\nf3")
    (folder / "romantic_train.txt").write_bytes(b"r0\r\nr1 \xa3\xac ok\r\n r2 \r\nr3\r\n")
    (folder / "train_fu.p").write_bytes(pickle.dumps(["a.png", "b.png", "c.png", "d.png"], protocol=0))
    for name, images in (("train", "a.png b.png"), ("dev", "c.png"), ("test", "d.png")):
        (folder / f"Flickr_8k.{name}Images.txt").write_text(images.replace(" ", "\n"))
    (folder / "d.png").touch()
    for name in ("a.png", "b.png", "c.png"):
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(("split_name", "images"), [("train", 6000), ("val", 1000)])
def test_flickrstyle_flickr8k_split_has_its_published_size(shared: Path, split_name: str, images: int):
    result = read_flickrstyle(shared, split_name=split_name)
    assert Counter(example.style for example in result.examples) == dict.fromkeys(
        ("humorous", "romantic", "factual"), images
    )
    assert {len(example.captions) for example in result.examples if example.style == "factual"} == {5}
    assert len({example.example_id for example in result.examples}) == 3 * images
    assert result.split_id == "flickrstyle/flickr8k"
    assert result.dropped == []


def test_flickrstyle_examples_stand_in_the_order_of_the_file(shared: Path, joined_rows: list[dict]):
    examples = read_flickrstyle(shared, split_name="val").examples
    assert [example.image_name for example in examples[::3]] == [row["image"] for row in joined_rows[6000:]]
    first = examples[0]
    assert first.example_id == f"{joined_rows[6000]['image']}#humorous"
    assert first.captions == (joined_rows[6000]["humorous"],)
    assert first.where.endswith("captions.json, row 6001")


def test_flickrstyle_hash_split_covers_all_rows_once(shared: Path, joined_rows: list[dict]):
    results = {name: read_flickrstyle(shared, split_name=name, split="hash") for name in ("train", "val", "test")}
    sizes = {name: len(result.examples) // 3 for name, result in results.items()}
    assert sizes == {"train": 5607, "val": 728, "test": 665}  # as counted with sha256sum and awk
    images = [example.image_name for result in results.values() for example in result.examples[::3]]
    assert sorted(images) == sorted(row["image"] for row in joined_rows)
    assert {result.split_id for result in results.values()} == {"flickrstyle/hash-sha256-80-10-10"}


@pytest.mark.parametrize(
    ("image", "split"),
    [("abc", "train"), ("8", "train"), ("9", "val"), ("23", "val"), ("24", "test"), ("27", "test")],
)
def test_hash_split_by_hand(image: str, split: str):
    # First 8 digits of sha256sum, modulo 100:
    # ba7816bf 19, 2c624232 78, 19581e27 87, 535fa30d 89, c2356069 93, 670671cd 97.
    assert hash_split(image) == split


def test_flickrstyle_held_out_split_chooses_on_training_photos_and_reports_on_dev(shared, joined_rows):
    results = {name: read_flickrstyle(shared, split_name=name, split="held_out") for name in ("train", "val", "test")}
    names = {name: [example.image_name for example in result.examples[::3]] for name, result in results.items()}
    train = [row["image"] for row in joined_rows[:6000]]
    assert names["val"] == [image for image in train if hash_split(image) == "val"]
    assert sorted(names["train"] + names["val"]) == sorted(train)
    assert names["test"] == [row["image"] for row in joined_rows[6000:]]
    assert {name: len(images) for name, images in names.items()} == {"train": 5370, "val": 630, "test": 1000}
    assert {result.split_id for result in results.values()} == {"flickrstyle/flickr8k-train-held-out-sha256-10"}


@pytest.mark.parametrize(
    ("image", "own", "split"),
    [("abc", "train", "train"), ("9", "train", "val"), ("24", "train", "train"), ("9", "val", "test")],
)
def test_held_out_split_by_hand(image: str, own: SplitName, split: SplitName):
    assert held_out_split(image, own) == split


def test_flickrstyle_flickr8k_test_is_refused_with_counts(shared: Path):
    with pytest.raises(
        ValueError, match=r"flickr8k has no rows for 'test' \(rows: train 6000, val 1000\).*data\.split=hash"
    ):
        read_flickrstyle(shared, split_name="test")


def test_flickrstyle_release_has_the_captions_of_the_joined_file(shared: Path, joined_rows: list[dict]):
    examples = [
        example
        for name in ("train", "val")
        for example in read_flickrstyle(shared, "flickrstyle_release", split_name=name).examples
    ]
    captions = [(example.image_name, example.style, example.captions) for example in examples]
    assert captions == [
        (row["image"], style, (row[style],)) for row in joined_rows for style in ("humorous", "romantic")
    ]


def test_flickrstyle_release_gb18030_line_is_decoded(shared: Path):
    examples = read_flickrstyle(shared, "flickrstyle_release", split_name="train", styles=["romantic"]).examples
    # The line with index 2530; its two bytes A3 AC are a full-width comma in GB18030 and no UTF-8.
    assert examples[2530].captions == (
        "a man drives an old-fashioned red race car on the track\uff0cspeed to finish the line .",
    )
    assert examples[2530].row == 2531
    assert not any("\ufffd" in example.captions[0] for example in examples)


@pytest.mark.parametrize("format", ["flickrstyle", "flickrstyle_release"])
def test_flickrstyle_both_forms_agree_on_the_hash_split(shared: Path, format: str):
    result = read_flickrstyle(shared, format, split_name="test", split="hash", styles=["Humorous"])
    assert len(result.examples) == 665
    assert {example.style for example in result.examples} == {"humorous"}
    assert result.split_id == "flickrstyle/hash-sha256-80-10-10"


def test_flickrstyle_release_small_folder_is_read_line_by_line(release: Path):
    result = read_examples("flickrstyle_release", annotations=release, images=release, split_name="train")
    assert [(example.example_id, example.captions) for example in result.examples] == [
        ("a.png#humorous", ("f0",)),
        ("a.png#romantic", ("r0",)),
        ("b.png#humorous", ("f1",)),
        ("b.png#romantic", ("r1 \uff0c ok",)),
    ]
    tested = read_examples("flickrstyle_release", annotations=release, images=release, split_name="test")
    assert [example.captions for example in tested.examples] == [("f3",), ("r3",)]


@pytest.mark.parametrize("protocol", range(6))
def test_flickrstyle_release_names_are_read_from_every_pickle_protocol(release: Path, protocol: int):
    (release / "train_fu.p").write_bytes(pickle.dumps(["a.png", "b.png", "c.png", "d.png"], protocol=protocol))
    result = read_examples("flickrstyle_release", annotations=release, images=release, split_name="val")
    assert [example.image_name for example in result.examples] == ["c.png", "c.png"]


class _Payload:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_flickrstyle_release_pickle_with_code_is_refused_and_not_run(release: Path, protocol: int):
    names = ["a.png", "b.png", "c.png", _Payload(f"touch '{release}/ran'")]
    (release / "train_fu.p").write_bytes(pickle.dumps(names, protocol=protocol))
    with pytest.raises(ValueError, match=r"train_fu\.p: not a pickled list .*opcode \w+ at byte \d+"):
        read_examples("flickrstyle_release", annotations=release, images=release, split_name="train")
    assert not (release / "ran").exists()


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("train_fu.p", b"not a pickle", r"train_fu\.p: not a pickled list of picture names"),
        ("train_fu.p", b"(lp1\nVa.png\n", r"train_fu\.p: not a pickled list"),
        ("funny_train.txt", b"f0\nf1\nf2", r"train_fu\.p 4, funny_train\.txt 3, romantic_train\.txt 4"),
        ("funny_train.txt", b"f0\n\nf2\nf3", r"funny_train\.txt, row 2: blank line"),
        ("funny_train.txt", b"f0\nf1\n\xff\xff\nf3", r"funny_train\.txt, row 3: neither UTF-8 nor GB18030"),
        ("Flickr_8k.trainImages.txt", b"a.png", r"row 2: b\.png is in no Flickr8k split.*data\.split=hash"),
    ],
)
def test_flickrstyle_release_damaged_file_names_file_and_row(release: Path, file: str, content: bytes, message: str):
    (release / file).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_examples("flickrstyle_release", annotations=release, images=release, split_name="train")


@pytest.mark.parametrize("file", [*RELEASE_FILES, "Flickr_8k.devImages.txt"])
def test_flickrstyle_release_missing_file_is_named(release: Path, file: str):
    (release / file).unlink()
    with pytest.raises(FileNotFoundError, match=rf"{file}: annotation file not found"):
        read_examples("flickrstyle_release", annotations=release, images=release, split_name="train")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("3", "row 2: must be a JSON object, got 3"),
        (
            {"flickr8k_split": "dev"},
            r"row 2: 'humorous' is missing \(keys: flickr8k_split\).*Correct or remove the row",
        ),
        ({"image": 5, "humorous": "h", "romantic": "r", "factual": ["f"]}, "row 2: 'image' must be text, got 5"),
        ({"image": "b.png", "humorous": " ", "romantic": "r", "factual": ["f"]}, "row 2: 'humorous' is blank"),
        ({"image": "b.png", "humorous": "h", "romantic": "r", "factual": []}, "row 2: 'factual' is an empty list"),
        ({"image": "b.png", "humorous": "h", "romantic": "r", "factual": [1]}, "row 2: 'factual' must be text, got 1"),
        (
            {"image": "b.png", "flickr8k_split": "valid"},
            "row 2: flickr8k_split is 'valid', must be one of train, dev, test",
        ),
        ({"image": "b.png", "flickr8k_split": ["dev"]}, "row 2: flickr8k_split is"),
        (
            {"image": "b.png", "humorous": "h", "romantic": "r", "factual": ["f"]},
            r"row 2: b\.png is in no Flickr8k split",
        ),
    ],
)
def test_flickrstyle_unreadable_row_names_file_row_and_remedy(write_rows, pictures: Path, row, message: str):
    good = {"image": "a.png", "flickr8k_split": "train", "humorous": "h", "romantic": "r", "factual": ["f"]}
    folder = write_rows("captions.json", [good, row])
    with pytest.raises(ValueError, match=rf"captions\.json, {message}"):
        read_examples("flickrstyle", annotations=folder, images=pictures, split_name="train")


def test_flickrstyle_broken_json_names_file(tmp_path: Path, pictures: Path):
    (tmp_path / "captions.json").write_text('[{"image": ')
    with pytest.raises(ValueError, match=r"captions\.json, line 1, column \d+: not valid JSON"):
        read_examples("flickrstyle", annotations=tmp_path, images=pictures, split_name="train")
    (tmp_path / "captions.json").write_text('{"images": []}')
    with pytest.raises(ValueError, match=r"captions\.json: must hold a JSON list of rows, got dict"):
        read_examples("flickrstyle", annotations=tmp_path / "captions.json", images=pictures, split_name="train")


@pytest.mark.parametrize(
    ("split_name", "file", "rows", "dropped"),
    [("test", "pcap_test_derived.json", 9997, [9986, 9988, 9994]), ("val", "pcap_valid_derived.json", 5000, [2239])],
)
def test_personality_captions_drops_timeouts_and_counts_them(
    shared: Path, tmp_path: Path, split_name: str, file: str, rows: int, dropped: list[int]
):
    folder = shared / "data" / "personality_captions"
    for record in json.loads((folder / file).read_text(encoding="utf-8")):
        (tmp_path / f"{record['image_hash']}.jpg").touch()
    result = read_examples(
        "personality_captions", annotations=folder, images=tmp_path, split_name=split_name, files={split_name: file}
    )
    assert len(result.examples) == rows - len(dropped)
    assert [row.row for row in result.dropped] == dropped
    assert count_reasons(result.dropped) == {"[TIMEOUT] comment": len(dropped)}
    assert result.split_id == f"personality_captions/{file}"
    # In the derived test file every row but the last 18 has four more captions; 3 of those 18 are timeouts.
    lengths = Counter(len(example.captions) for example in result.examples)
    assert lengths == ({5: 9979, 1: 15} if split_name == "test" else {1: 4999})


def test_personality_captions_released_rows_and_bad_comments(write_rows, pictures: Path):
    rows = [
        {
            "personality": "Sweet",
            "comment": "Lovely! ",
            "image_hash": "a",
            "additional_comments": ["x", " ", "[TIMEOUT]"],
        },
        {"personality": "Sweet", "comment": " ", "image_hash": "b", "additional_comments": ["y"]},
        {"personality": "Crude", "comment": "[TIMEOUT]", "image_hash": "gone"},
        {"personality": "Calm", "comment": "The clock says [TIMEOUT]", "image_hash": "b"},
    ]
    folder = write_rows("test.json", rows)
    result = read_examples(
        "personality_captions", annotations=folder, images=pictures, split_name="test", image_suffix=".png"
    )
    assert [(example.example_id, example.captions) for example in result.examples] == [
        ("a.png#Sweet", ("Lovely!", "x")),
        ("b.png#Calm", ("The clock says [TIMEOUT]",)),
    ]
    assert [(row.row, row.reason) for row in result.dropped] == [(2, "blank comment"), (3, "[TIMEOUT] comment")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"comment": None}, "row 1: 'comment' must be text, got None"),
        ({"image_hash": ""}, "row 1: 'image_hash' is blank"),
        ({"personality": 4}, "row 1: 'personality' must be text"),
        ({"additional_comments": "x"}, "row 1: 'additional_comments' must be a list of texts"),
        ({"additional_comments": [None]}, "row 1: 'additional_comments' must be a list of texts"),
    ],
)
def test_personality_captions_unreadable_row_names_file_and_row(write_rows, pictures: Path, change: dict, message: str):
    folder = write_rows("train.json", [{"personality": "Sweet", "comment": "Hi", "image_hash": "a", **change}])
    with pytest.raises(ValueError, match=rf"train\.json, {message}.*Correct or remove the row"):
        read_examples("personality_captions", annotations=folder, images=pictures, split_name="train")


def test_jsonl_merges_rows_of_one_picture_and_style(write_rows, pictures: Path):
    rows = [
        {"image": "a.png", "style": "calm", "captions": ["one", " two "]},
        {"image": "b.png", "style": "calm", "captions": "three"},
        "",
        {"image": "a.png", "style": "calm", "captions": "four"},
        {"image": "a.png", "style": "wry", "captions": ["five"]},
    ]
    result = read_examples("jsonl", annotations=write_rows("val.jsonl", rows), images=pictures, split_name="val")
    assert [(example.example_id, example.captions, example.row) for example in result.examples] == [
        ("a.png#calm", ("one", "two", "four"), 1),
        ("b.png#calm", ("three",), 2),
        ("a.png#wry", ("five",), 5),
    ]
    assert result.examples[0].image_path == pictures / "a.png"
    assert result.split_id == "jsonl/val.jsonl"


def test_jsonl_pictures_in_subfolders_keep_their_own_keys(write_rows, tmp_path: Path):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "1.png").touch()
    rows = [{"image": f"{folder}/1.png", "style": "calm", "captions": folder} for folder in ("x", "y")]
    folder = write_rows("own.jsonl", rows)
    result = read_examples(
        "jsonl", annotations=folder, images=tmp_path, split_name="train", files={"train": "own.jsonl"}
    )
    assert [example.example_id for example in result.examples] == ["x/1.png#calm", "y/1.png#calm"]


def test_jsonl_one_file_is_divided_by_hash_or_refused(write_rows, tmp_path: Path):
    names = [f"{number}.png" for number in range(60)]
    for name in names:
        (tmp_path / name).touch()
    path = write_rows("all.jsonl", [{"image": name, "style": "calm", "captions": "x"} for name in names]) / "all.jsonl"
    found = {
        name: read_examples("jsonl", annotations=path, images=tmp_path, split_name=name, split="hash").examples
        for name in ("train", "val", "test")
    }
    for name, examples in found.items():
        assert [example.image_name for example in examples] == [image for image in names if hash_split(image) == name]
    with pytest.raises(ValueError, match=r"one file for every split\. Set data\.split=hash"):
        read_examples("jsonl", annotations=path, images=tmp_path, split_name="val")
    with pytest.raises(ValueError, match=r"has no Flickr8k split"):
        read_examples("jsonl", annotations=path, images=tmp_path, split_name="val", split="flickr8k")
    with pytest.raises(ValueError, match=r"data\.split=hash divides one file"):
        read_examples("jsonl", annotations=tmp_path, images=tmp_path, split_name="val", split="hash")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"image": "a.png", ', r"line 2, column \d+: not valid JSON .*Correct or remove the row"),
        ("[1]", r"row 2: must be a JSON object, got \[1\]"),
        ({"image": "a.png", "captions": "x"}, r"row 2: 'style' is missing \(keys: image, captions\)"),
        ({"image": "a.png", "style": " ", "captions": "x"}, "row 2: 'style' is blank"),
        (
            {"image": "a.png", "style": "calm", "captions": []},
            "row 2: no caption in style 'calm'; only a test split may be without",
        ),
        ({"image": "a.png", "style": "calm", "captions": ["x", ""]}, "row 2: 'captions' is blank"),
        ({"image": "a.png", "style": "calm", "captions": None}, "row 2: 'captions' must be text, got None"),
    ],
)
def test_jsonl_unreadable_row_names_file_row_and_remedy(write_rows, pictures: Path, row, message: str):
    folder = write_rows("train.jsonl", [{"image": "b.png", "style": "calm", "captions": "x"}, row])
    with pytest.raises(ValueError, match=rf"train\.jsonl, {message}"):
        read_examples("jsonl", annotations=folder, images=pictures, split_name="train")


def test_missing_picture_is_an_error_that_counts_and_names_the_first(write_rows, pictures: Path):
    images = ["a.png", "gone.png", "b.png", "sub/a.png"]
    folder = write_rows("train.jsonl", [{"image": image, "style": "calm", "captions": "x"} for image in images])
    message = r"train\.jsonl, row 2: no picture .*gone\.png \(2 of 4 rows have none\).*data\.on_bad_image=skip"
    with pytest.raises(FileNotFoundError, match=message):
        read_examples("jsonl", annotations=folder, images=pictures, split_name="train")


def test_missing_picture_with_skip_is_dropped_and_logged(write_rows, pictures: Path, caplog: pytest.LogCaptureFixture):
    images = ["gone.png", "a.png"]
    folder = write_rows("train.jsonl", [{"image": image, "style": "calm", "captions": "x"} for image in images])
    result = read_examples("jsonl", annotations=folder, images=pictures, split_name="train", on_bad_image="skip")
    assert [example.image_name for example in result.examples] == ["a.png"]
    assert [(row.row, row.reason, row.detail) for row in result.dropped] == [
        (1, "missing picture", str(pictures / "gone.png"))
    ]
    assert "dropped 1 rows of train: {'missing picture': 1}" in caplog.text


def test_nothing_left_to_read_is_refused(write_rows, pictures: Path, tmp_path: Path):
    folder = write_rows("train.jsonl", [{"image": "gone.png", "style": "calm", "captions": "x"}])
    with pytest.raises(ValueError, match=r"no row of 'train' is left; dropped: \{'missing picture': 1\}"):
        read_examples("jsonl", annotations=folder, images=pictures, split_name="train", on_bad_image="skip")
    write_rows("val.jsonl", [])
    with pytest.raises(ValueError, match=r"val\.jsonl: the file has no rows"):
        read_examples("jsonl", annotations=folder, images=pictures, split_name="val")
    with pytest.raises(FileNotFoundError, match=r"test\.jsonl: annotation file not found.*data\.test"):
        read_examples("jsonl", annotations=folder, images=pictures, split_name="test")
    with pytest.raises(FileNotFoundError, match=r"nowhere: folder of pictures not found\. Set data\.images"):
        read_examples("jsonl", annotations=folder, images=tmp_path / "nowhere", split_name="train")


def test_styles_filter_that_matches_nothing_names_the_styles_there_are(write_rows, pictures: Path):
    rows = [{"image": "a.png", "style": style, "captions": "x"} for style in ("calm", "wry")]
    folder = write_rows("train.jsonl", rows)
    kept = read_examples("jsonl", annotations=folder, images=pictures, split_name="train", styles=[" CALM"])
    assert [example.style for example in kept.examples] == ["calm"]
    with pytest.raises(ValueError, match=r"eval\.styles names 'clam', which no row has\. Its styles: calm, wry\."):
        read_examples("jsonl", annotations=folder, images=pictures, split_name="train", styles=["clam", "wry"])


def test_rows_in_no_split_are_told_with_a_row_and_the_way_out(tmp_path: Path):
    (tmp_path / "results.csv").write_text("image_name| comment_number| comment\n1.jpg| 0| a dog\n2.jpg| 0| a cat\n")
    settings = {"annotations": tmp_path, "images": tmp_path, "split_name": "train", "on_bad_row": "skip"}
    with pytest.raises(ValueError, match=r"'in no split': 2\}.*results.csv, row 2: .*1.jpg; data.split=hash"):
        read_examples("flickr30k", on_bad_image="ignore", **settings)  # type: ignore[arg-type]


def test_flickrstyle_release_is_held_out_of_flickr8k_train(release: Path):
    given = {"annotations": release, "images": release, "split": "held_out"}
    tested = read_examples("flickrstyle_release", split_name="test", **given)  # type: ignore[arg-type]
    assert [example.image_name for example in tested.examples[::2]] == ["c.png", "d.png"]
    (release / "Flickr_8k.devImages.txt").unlink()
    with pytest.raises(FileNotFoundError, match="Copy it from Flickr8k"):
        read_examples("flickrstyle_release", split_name="test", **given)  # type: ignore[arg-type]
