"""Data sets as they are published: each form read, the facts of it that change results, and its broken twin."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from pathlib import Path

import pytest

from preprocessors.formats.personality_captions import read_personalities
from preprocessors.formats.recognition import OtherForm, open_rows, recognise
from preprocessors.formats.rows import Source
from preprocessors.readers import hash_split, read_examples

COCO = {
    "images": [
        {"id": 7, "file_name": "COCO_val2014_000000000007.jpg"},
        {
            "id": 8,
            "file_name": "000000000008.jpg",
            "coco_url": "http://images.cocodataset.org/val2017/000000000008.jpg",
        },
    ],
    "annotations": [
        {"id": 1, "image_id": 7, "caption": "A cat ."},
        {"id": 2, "image_id": 8, "caption": "A dog"},
        {"id": 3, "image_id": 7, "caption": "One cat"},
    ],
}
KARPATHY = {
    "dataset": "coco",
    "images": [
        {
            "filepath": "val2014",
            "filename": f"COCO_val2014_{number:012}.jpg",
            "cocoid": number,
            "split": split,
            "sentences": [{"raw": f"picture {number}", "tokens": ["picture"]}, {"raw": "again"}],
        }
        for number, split in enumerate(("train", "restval", "val", "test"), start=1)
    ],
}
SENTICAP = {
    "images": [
        {
            "imgid": 3,
            "filename": "COCO_val2014_000000000009.jpg",
            "split": "train",
            "sentences": [
                {"raw": "a lovely kite", "sentiment": 1},
                {"raw": "a torn kite", "sentiment": 0},
                {"raw": "a happy kite", "sentiment": 1},
            ],
        }
    ]
}
TEXTCAPS = {
    "dataset_name": "textcaps",
    "data": [
        {
            "image_id": "0a",
            "image_path": "train/0a.jpg",
            "set_name": "train",
            "caption_str": caption,
            "reference_strs": ["a sign", "it says OPEN"],
        }
        for caption in ("a sign", "it says OPEN")
    ],
}
NOCAPS = {
    "images": [{"id": 0, "file_name": "0.jpg", "domain": "in-domain"}],
    "annotations": [{"image_id": 0, "id": 0, "caption": "a dog"}],
}
LAVIS = [
    {"image": "val2014/COCO_val2014_000000000007.jpg", "caption": ["A cat", "One cat"]},
    {"image": "val2014/COCO_val2014_000000000008.jpg", "caption": "A dog", "image_id": "coco_8"},
]
PERSONALITY = [{"image_hash": "ab", "personality": "Sweet", "comment": "Aw", "additional_comments": ["Oh", "My"]}]
JOINED = [{"image": "a.png", "humorous": "h", "romantic": "r", "factual": ["f"], "flickr8k_split": "train"}]
RELEASE_TABLE = 'image_name| comment_number| comment\n1.jpg| 0| Two "men" walk .\n1.jpg| 1| Men , walking .\n'
FORMS = {
    "coco": COCO,
    "karpathy": KARPATHY,
    "senticap": SENTICAP,
    "textcaps": TEXTCAPS,
    "nocaps": NOCAPS,
    "lavis": LAVIS,
    "personality_captions": PERSONALITY,
    "flickrstyle": JOINED,
    "flickr30k": RELEASE_TABLE,
    "json": [{"image": "a.png", "style": "calm", "captions": ["x"]}],
    "jsonl": '{"image": "a.png", "style": "calm", "captions": ["x"]}\n{"image": "b.png", "style": "calm"}\n',
    "csv": "image,style,caption\na.png,calm,x\n",
}


@pytest.fixture
def write(tmp_path: Path):
    """Writes the content of a file, JSON unless it is text."""

    def write(name: str, content) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return path

    return write


def read(format: str, annotations: Path, split_name: str = "train", **settings):
    """Captions by (picture, style), without looking for pictures."""
    settings = {"on_bad_image": "ignore", "images": annotations.parent, **settings}
    result = read_examples(format, annotations=annotations, split_name=split_name, **settings)
    return {(example.image_name, example.style): example.captions for example in result.examples}


def test_coco_captions_of_a_picture_are_joined_and_are_neutral(write):
    write("captions_train2014.json", COCO)
    assert read("coco", write("captions_val2014.json", COCO).parent, "val") == {
        ("COCO_val2014_000000000007.jpg", "neutral"): ("A cat .", "One cat"),
        ("000000000008.jpg", "neutral"): ("A dog",),
    }


def test_neutral_style_has_the_name_that_it_is_given(write):
    found = read("coco", write("captions_train2017.json", COCO).parent, neutral="factual")
    assert {style for _, style in found} == {"factual"}


def test_coco_pictures_are_found_in_the_folders_of_its_archives(write, tmp_path):
    for folder, name in (("val2014", "COCO_val2014_000000000007.jpg"), ("val2017", "000000000008.jpg")):
        write(f"photos/{folder}/{name}", "")
    folder = write("captions_val2014.json", COCO).parent
    found = read("coco", folder, "val", images=tmp_path / "photos", on_bad_image="error")
    assert [image for image, _ in found] == ["val2014/COCO_val2014_000000000007.jpg", "val2017/000000000008.jpg"]


def test_coco_test_file_has_pictures_without_captions(write):
    folder = write("image_info_test2014.json", {"images": COCO["images"]}).parent
    assert [*read("coco", folder, "test").values()] == [(), ()]
    with pytest.raises(ValueError, match=r"image_info_test2014.json, row 1: no caption in style"):
        read("coco", folder, "val", files={"val": "image_info_test2014.json"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"annotations": [{"image_id": 9, "caption": "x"}]},
            "annotations row 1: no picture in 'images' has its image_id '9'",
        ),
        ({"annotations": [{"image_id": 7, "caption": " "}]}, "annotations row 1: 'caption' is blank"),
        ({"annotations": [{"image_id": 7.5, "caption": "a"}]}, "annotations row 1: 'image_id' must be text or a whole"),
        ({"images": [{"id": 7}]}, r"images row 1: 'file_name' is missing \(keys: id\)"),
        ({"images": 3}, "must hold a JSON object with a list 'images'"),
    ],
)
def test_coco_unreadable_row_names_its_part_and_row(write, change, message):
    folder = write("captions_train2014.json", COCO | change).parent
    with pytest.raises(ValueError, match=rf"captions_train2014\.json.*{message}"):
        read("coco", folder)


def test_karpathy_splits_are_its_own_and_restval_is_trained_on(write):
    path = write("dataset_coco.json", KARPATHY)
    counts = {split: len(read("karpathy", path, split)) for split in ("train", "val", "test")}
    assert counts == {"train": 2, "val": 1, "test": 1}
    assert read("karpathy", path.parent, "val") == {
        ("COCO_val2014_000000000003.jpg", "neutral"): ("picture 3", "again")
    }


def test_karpathy_pictures_lie_in_their_folder_or_without_it(write, tmp_path):
    path = write("dataset_coco.json", KARPATHY)
    write("flat/COCO_val2014_000000000004.jpg", "")
    write("deep/val2014/COCO_val2014_000000000004.jpg", "")
    for folder, name in (("flat", ""), ("deep", "val2014/")):
        found = read("karpathy", path, "test", images=tmp_path / folder, on_bad_image="error")
        assert [*found] == [(f"{name}COCO_val2014_000000000004.jpg", "neutral")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"split": "dev"}, "row 1: split is 'dev', must be one of train, restval, val, test"),
        ({"sentences": None}, "row 1: 'sentences' must be a list of objects, got None"),
        ({"sentences": [{"raw": ""}]}, "row 1: 'raw' is blank"),
    ],
)
def test_karpathy_unreadable_row_is_named(write, change, message):
    path = write("dataset_coco.json", {"images": [KARPATHY["images"][0] | change]})
    with pytest.raises(ValueError, match=rf"dataset_coco.json, {message}"):
        read("karpathy", path)


def test_senticap_sentiments_become_styles_in_json_and_in_a_table(write):
    name = "COCO_val2014_000000000009.jpg"
    expected = {(name, "positive"): ("a lovely kite", "a happy kite"), (name, "negative"): ("a torn kite",)}
    assert read("senticap", write("senticap_dataset.json", SENTICAP)) == expected
    lines = [f"{name},train,{s['raw']},{s['sentiment']}" for s in SENTICAP["images"][0]["sentences"]]
    table = write("senticap.csv", "\n".join(["filename,split,raw,sentiment", *lines]))
    assert read("senticap", table) == expected
    assert recognise(table) == "senticap"


@pytest.mark.parametrize("sentiment", [2, None, "good"])
def test_senticap_other_sentiment_is_refused(write, sentiment):
    image = SENTICAP["images"][0] | {"sentences": [{"raw": "a kite", "sentiment": sentiment}]}
    with pytest.raises(ValueError, match=r"row 1: 'sentiment' is .*must be 1 \(positive\) or 0 \(negative\)"):
        read("senticap", write("senticap_dataset.json", {"images": [image]}))


def test_senticap_real_file_has_the_sentences_of_its_readme(shared):
    path = shared / "data" / "senticap" / "senticap.json"
    examples = [read("senticap", path, split) for split in ("train", "val", "test")]
    sentences = Counter()
    for found in examples:
        for (_, style), captions in found.items():
            sentences[style] += len(captions)
    assert sum(sentences.values()) == 8869
    assert sentences == {"positive": 4892, "negative": 3977}  # counted from the JSON itself
    assert (
        len({image for found in examples for image, _ in found}) == 2225
    )  # 135 of the 2,360 pictures stand there twice


def test_textcaps_captions_are_counted_once_and_pictures_found_in_their_archive(write, tmp_path):
    folder = write("TextCaps_0.1_train.json", TEXTCAPS).parent
    write("photos/train_images/0a.jpg", "")
    found = read("textcaps", folder, images=tmp_path / "photos", on_bad_image="error")
    assert found == {("train_images/0a.jpg", "neutral"): ("a sign", "it says OPEN")}
    test = {"data": [{"image_id": "0b", "image_path": "test/0b.jpg", "set_name": "test"}]}
    write("TextCaps_0.1_test.json", test)
    assert read("textcaps", folder, "test") == {("0b.jpg", "neutral"): ()}


def test_textcaps_row_without_picture_is_refused(write):
    folder = write("TextCaps_0.1_train.json", {"data": [{"caption_str": "x"}]}).parent
    with pytest.raises(ValueError, match="TextCaps_0.1_train.json, row 1: 'image_id' is missing"):
        read("textcaps", folder)


def test_nocaps_and_lavis_are_read(write):
    assert read("nocaps", write("nocaps_val_4500_captions.json", NOCAPS).parent, "val") == {
        ("0.jpg", "neutral"): ("a dog",)
    }
    folder = write("coco_karpathy_train.json", LAVIS).parent
    assert [*read("lavis", folder).values()] == [("A cat", "One cat"), ("A dog",)]
    with pytest.raises(ValueError, match="row 1: 'caption' must be text, got 3"):
        read("lavis", write("train.json", [{"image": "a.jpg", "caption": [3]}]).parent, files={"train": "train.json"})


def test_flickr30k_release_table_keeps_quotes_and_commas_and_mends_its_known_row(write):
    short = "2199200615.jpg| 4   A dog runs across the grass .\n"
    rows = open_rows("flickr30k", Source(write("results.csv", RELEASE_TABLE + short), "hash", "", ""))
    assert [(row.row, row.image, row.captions["neutral"]) for row in rows] == [
        (2, "1.jpg", ('Two "men" walk .',)),
        (3, "1.jpg", ("Men , walking .",)),
        (4, "2199200615.jpg", ("A dog runs across the grass .",)),
    ]


def test_flickr30k_comma_tables_with_and_without_lists_written_as_text(write):
    table = write(
        "annotations.csv",
        'raw,sentids,split,filename,img_id\n"[""A man\'s hat"", ""Two, or three""]","[0, 1]",test,1.jpg,0\n',
    )
    assert read("flickr30k", table, "test") == {("1.jpg", "neutral"): ("A man's hat", "Two, or three")}
    plain = write("captions.txt", 'image,caption\n1.jpg,"A man, walking"\n1.jpg,A man\n')
    split = hash_split("1.jpg")
    assert read("flickr30k", plain, split, split="hash") == {("1.jpg", "neutral"): ("A man, walking", "A man")}
    with pytest.raises(ValueError, match=r"row 2: 1\.jpg is in no Karpathy split.*data\.split=hash"):
        read("flickr30k", plain)


@pytest.fixture
def release(tmp_path: Path):
    """Writes the files of a release by path: captions as text, lists of names as pickles."""

    def write(files: dict[str, str | list[str]]) -> Path:
        for name, content in files.items():
            path = tmp_path / "release" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(pickle.dumps(content, 0) if isinstance(content, list) else content.encode())
        return tmp_path / "release"

    return write


NAMES = [f"{number}.jpg" for number in range(40)]
FUNNY, ROMANTIC = ("".join(f"{word} {name}\n" for name in NAMES) for word in ("ha", "love"))
BOTH = {
    (name, style): (f"{word} {name}",) for name in NAMES for style, word in (("humorous", "ha"), ("romantic", "love"))
}
AS_ZIPPED = {
    "humor/funny_train.txt": FUNNY,
    "humor/train.p": NAMES,
    "romantic/romantic_train.txt": ROMANTIC,
    "romantic/train.p": NAMES,
}
MIRROR = {"funny_train.txt": FUNNY, "train_fu.p": NAMES, "romantic_train.txt": ROMANTIC, "train_ro.p": NAMES}


def every_split(folder: Path) -> dict:
    return {
        key: captions
        for split in ("train", "val", "test")
        for key, captions in read("flickrstyle_release", folder, split, split="hash").items()
    }


@pytest.mark.parametrize("files", [AS_ZIPPED, MIRROR, {key: MIRROR[key] for key in [*MIRROR][:3]}])
def test_flickrstyle_release_is_read_as_zipped_and_as_mirrored(release, files):
    folder = release(files)
    assert every_split(folder) == BOTH
    assert recognise(folder) == "flickrstyle_release"


def test_flickrstyle_release_lists_in_another_order_go_with_their_own_captions(release):
    turned = "".join(f"love {name}\n" for name in NAMES[::-1])
    files = AS_ZIPPED | {"romantic/romantic_train.txt": turned, "romantic/train.p": NAMES[::-1]}
    assert every_split(release(files)) == BOTH


@pytest.mark.parametrize(("style", "folder"), [("humorous", "humor"), ("romantic", "romantic")])
def test_flickrstyle_release_of_one_style_alone(release, style, folder):
    found = every_split(release(AS_ZIPPED) / folder)
    assert found == {key: captions for key, captions in BOTH.items() if key[1] == style}


def test_flickrstyle_release_damage_names_folder_and_files(release):
    folder = release(AS_ZIPPED | {"romantic/train.p": NAMES[1:]})
    with pytest.raises(ValueError, match=r"different numbers of rows \(humor/train.p 40, romantic/train.p 39"):
        read("flickrstyle_release", folder, split="hash")
    (folder / "romantic" / "train.p").unlink()
    with pytest.raises(FileNotFoundError, match=r"romantic/train\.p: annotation file not found"):
        read("flickrstyle_release", folder, split="hash")


def test_field_release_is_read(shared):
    folder = shared / "field" / "FlickrStyle_v0.9"
    if not folder.is_dir():
        pytest.skip("no field cases in the shared folder")
    found = every_split(folder)
    first = {style: found["1000000000_0000000000.jpg", style] for style in ("humorous", "romantic")}
    assert first == {
        "humorous": ("a dog digs for the treasure his owner lost .",),
        "romantic": ("a dog waits at the door for the one he loves .",),
    }


def test_personality_lists_hold_the_215_styles_and_others_are_told(shared, tmp_path, caplog):
    folder = shared / "data" / "personality_captions"
    lists = [read_personalities(folder / name) for name in ("personalities.txt", "personalities.json")]
    assert [len(names) for names in lists] == [215, 215]
    assert lists[0] == lists[1]
    read("personality_captions", folder, "test", files={"test": "pcap_test_derived.json"})
    assert "1 personalities are not in " in caplog.text
    assert "'Crude' (" in caplog.text
    (tmp_path / "personalities.json").write_text('{"positive": "Sweet"}')
    with pytest.raises(ValueError, match="must hold a list of personalities"):
        read_personalities(tmp_path / "personalities.json")


READABLE = {("coco", "nocaps")}
"""Formats that can read a file of another's, losing no caption."""


@pytest.mark.parametrize("own", FORMS)
@pytest.mark.parametrize("given", ["coco", "karpathy", "lavis", "csv", "jsonl", "personality_captions", "flickr30k"])
def test_file_of_another_form_is_named(write, own, given):
    path = write("x.csv" if own in ("csv", "flickr30k") else "x.json", FORMS[own])
    rows = open_rows(given, Source(path, None, "", ".jpg"))
    assert recognise(path) == own
    if given == own or (given, own) in READABLE or (given, own) == ("flickr30k", "csv"):
        assert [*rows]
        return
    message = rf"{path.name}: this is .*: data\.format={own}\. It cannot be read as {given} \("
    with pytest.raises(OtherForm, match=message) as caught:
        list(rows)
    assert str(caught.value).count(": data.format=") == 1


def test_file_of_another_form_under_the_name_of_a_folder_is_named(release, write):
    with pytest.raises(ValueError, match="this is FlickrStyle10K's own form: data.format=flickrstyle_release"):
        read("flickrstyle", release(AS_ZIPPED))
