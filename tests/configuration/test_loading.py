from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from configuration.keys import GROUPS, KNOWN_KEYS, nearest_keys
from configuration.loading import load_config

REPOSITORY = Path(__file__).resolve().parents[2]
SMALLEST = {"model": {"preset": "nano"}, "data": {"format": "drawn_scenes"}}


def test_load_config_smallest_file_gives_the_documented_defaults(load):
    config = load()
    assert (config.train.lr, config.train.lr_end, config.train.warmup, config.train.label_smoothing) == (
        5e-5,
        1e-7,
        0.06,
        0.1,
    )
    assert (config.model.vision, config.image.size, config.image.mean_std) == (None, None, None)
    assert (config.image.feature_views, config.decode.num_beams, config.decode.max_length, config.model.bpe_size) == (
        1,
        5,
        None,
        2000,
    )
    assert config.style.prompt == " what does the image describe? write a {} reply."
    assert config.work_dir == Path("work_dir/conf")


def test_load_config_resolved_dict_loads_back_equal(load):
    config = load(train={"lr": 1e-3, "freeze": ["resnet"]}, work_dir="~/runs/a")
    again = load(json.dumps(config.to_json_dict()))
    assert again == config
    assert again.work_dir == Path.home() / "runs/a"


def test_load_config_integer_for_a_number_is_taken(load):
    assert load(train={"clip": 2}).train.clip == 2.0


def test_run_config_assignment_is_refused(load):
    with pytest.raises(ValueError, match="frozen"):
        load().train.lr = 1.0


# --- The file itself


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"train": {\n"lr": 1,}}', r"conf\.json, line 2, column \d+: not valid JSON"),
        ("", r"conf\.json, line 1, column 1: not valid JSON"),
        ("[1]", r"conf\.json: the top level must be an object \{\.\.\.\}, not \[1\]"),
        ('"train"', r"the top level must be an object"),
    ],
)
def test_load_config_broken_file_is_refused_with_its_place(load, text, message):
    with pytest.raises(ValueError, match=message):
        load(text)


def test_load_config_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.json: no such file"):
        load_config(tmp_path / "gone.json")


# --- Unknown keys


@pytest.mark.parametrize(
    ("document", "line"),
    [
        ({"train": {"lrr": 1}}, "conf.json: train.lrr: unknown key; did you mean train.lr?"),
        ({"lr": 1}, "conf.json: lr: unknown key; did you mean train.lr?"),
        ({"decode": {"lr": 1}}, "conf.json: decode.lr: unknown key; did you mean train.lr?"),
        ({"trian": {"lr": 1}}, "conf.json: trian: unknown key; did you mean train?"),
        ({"train": {"LR": 1}}, "conf.json: train.LR: unknown key; did you mean train.lr?"),
        ({"batch_size": 1}, "conf.json: batch_size: unknown key; did you mean train.batch_size or eval.batch_size?"),
        ({"eval": {"batchsize": 1}}, "conf.json: eval.batchsize: unknown key; did you mean eval.batch_size?"),
        ({"train": {"warm_up": 1}}, "conf.json: train.warm_up: unknown key; did you mean train.warmup?"),
        ({"dataset_pth": "x"}, "conf.json: dataset_pth: unknown key; did you mean data.annotations?"),
        ({"train.lr": 1}, 'conf.json: train.lr: unknown key; write it as {"train": {"lr": ...}}'),
        ({"xqzj": 1}, f"conf.json: xqzj: unknown key; known: {', '.join(GROUPS)}, work_dir"),
        (
            {"checkpoint": {"xqzj": 1}},
            "conf.json: checkpoint.xqzj: unknown key; "
            "known: checkpoint.every_epochs, checkpoint.every_minutes, checkpoint.keep_last, checkpoint.keep_best, "
            "checkpoint.select, checkpoint.on_lost_best",
        ),
    ],
)
def test_load_config_unknown_key_names_the_nearest(faults, document, line):
    assert faults(SMALLEST | document) == [line]


def test_nearest_keys_every_single_deletion_leads_back_to_its_key():
    typos = [(key, key[:-2] + key[-1]) for key in KNOWN_KEYS if len(key.rpartition(".")[2]) > 3]
    lost = [(key, typo) for key, typo in typos if key not in nearest_keys(typo)]
    assert lost == []
    assert len(typos) > 35


# --- Wrong values


@pytest.mark.parametrize(
    ("group", "values", "fault"),
    [
        ("train", {"lr": "fast"}, 'train.lr="fast": must be a valid number'),
        ("train", {"lr": "1e-3"}, 'train.lr="1e-3": must be a valid number'),
        ("train", {"lr": 0}, "train.lr=0: must be greater than 0"),
        ("train", {"lr": None}, "train.lr=null: must be a valid number"),
        ("train", {"batch_size": 0}, 'train.batch_size=0: must be a whole number of at least 1, or "auto"'),
        ("train", {"batch_size": True}, 'train.batch_size=true: must be a whole number of at least 1, or "auto"'),
        ("train", {"batch_size": "8"}, 'train.batch_size="8": must be a whole number of at least 1, or "auto"'),
        ("train", {"batch_size": None}, 'train.batch_size=null: must be a whole number of at least 1, or "auto"'),
        ("train", {"epochs": 1.5}, "train.epochs=1.5: must be a valid integer"),
        ("train", {"epochs": True}, "train.epochs=true: must be a valid integer"),
        ("train", {"warmup": 1.0}, "train.warmup=1.0: must be less than 1"),
        ("train", {"label_smoothing": -0.1}, "train.label_smoothing=-0.1: must be greater than or equal to 0"),
        ("train", {"precision": "bf17"}, "train.precision=\"bf17\": must be 'auto', 'bf16', 'fp16' or 'fp32'"),
        (
            "train",
            {"freeze": ["resnet", "head"]},
            "train.freeze=[\"resnet\",\"head\"]: item 2: must be 'vision', 'resnet', 'embeddings' or 'batch_norm'",
        ),
        ("train", {"freeze": "resnet"}, 'train.freeze="resnet": must be a valid array'),
        ("style", {"prompt": "write a reply"}, 'style.prompt="write a reply": must contain {} exactly once'),
        ("style", {"prompt": "{} {}"}, 'style.prompt="{} {}": must contain {} exactly once'),
        ("style", {"prompt": "{} {style}"}, 'style.prompt="{} {style}": must contain {} exactly once'),
        ("style", {"neutral": " "}, 'style.neutral=" ": must not be empty'),
        ("model", {"name": "a", "vision": "efficientnet_lite0"}, 'model.vision="efficientnet_lite0": only a new model'),
        ("model", {"preset": "nano", "vision_weights": "named"}, 'model.vision_weights="named": only a pretrained'),
        ("train", {"vision_stages": 1, "freeze": ["resnet"]}, "train.vision_stages=1: train.freeze names the vision"),
        ("train", {"captions_per_row": 0}, "train.captions_per_row=0: "),
        ("image", {"feature_views": 3}, "image.feature_views=3: more than 2 views are crops and need image.max_size"),
        (
            "image",
            {"feature_views": 2, "random_crop": True, "max_size": 500},
            "image.feature_views=2: crops are drawn anew for every row",
        ),
        ("decode", {"guidance": -1}, "decode.guidance=-1: must be greater than or equal to 0"),
        ("data", {"format": "jsonl", "annotations": "a", "images": "b", "split": "held_out"}, 'data.split="held_out"'),
        ("image", {"size": 16}, "image.size=16: must be greater than or equal to 32"),
        ("image", {"size": 64, "max_size": 48}, "image.max_size=48: must be at least image.size"),
        ("image", {"random_crop": True}, "image.random_crop=true: needs image.max_size"),
        ("decode", {"min_length": 17, "max_length": 16}, "decode.min_length=17: must be at most decode.max_length"),
        ("eval", {"styles": []}, "eval.styles=[]: "),
        ("checkpoint", {"every_epochs": 0}, "checkpoint.every_epochs=0: must be greater than 0"),
        ("model", {}, "model.name: give exactly one of model.name (folder or hub id) and model.preset"),
        ("model", {"name": "x", "preset": "nano"}, 'model.name="x": give exactly one of model.name'),
        ("model", {"name": "x", "overrides": {"d": 1}}, 'model.overrides={"d":1}: only a new model can be changed'),
        ("model", {"preset": "nano", "bpe_size": 299}, "model.bpe_size=299: must be greater than or equal to 300"),
        ("data", {}, "data.format: missing; must be one of flickrstyle, flickrstyle_release, personality_captions, "),
        ("data", {"format": "jsonl", "images": "a"}, "data.annotations: required with every data.format but drawn"),
        ("data", {"format": "jsonl", "annotations": "a"}, "data.images: required with every data.format but drawn"),
        ("data", {"format": "drawn_scenes", "train": "a"}, 'data.train="a": only used with data.format personality'),
        (
            "data",
            {"format": "drawn_scenes", "split": "flickr8k"},
            'data.split="flickr8k": flickr8k divides data.format',
        ),
        (
            "data",
            {"format": "jsonl", "annotations": "a", "images": "b", "num_images": 3},
            "data.num_images=3: only used with data.format drawn_scenes",
        ),
        (
            "data",
            {"format": "jsonl", "annotations": 5, "images": ""},
            ["data.annotations=5: must be a string with a path", 'data.images="": must not be empty'],
        ),
    ],
)
def test_load_config_wrong_value_names_key_value_and_rule(faults, group, values, fault):
    expected = fault if isinstance(fault, list) else [fault]
    lines = faults(SMALLEST | {group: values})
    assert len(lines) == len(expected)
    for line, start in zip(lines, expected, strict=True):
        assert line.startswith(f"conf.json: {start}")


def test_load_config_group_that_is_no_object_is_refused(faults):
    assert faults(SMALLEST | {"train": 3, "eval": None}) == [
        "conf.json: train=3: must be an object {...}",
        "conf.json: eval=null: must be an object {...}",
    ]


def test_load_config_many_faults_are_reported_at_once_each_with_its_source(faults):
    document = {
        "lr": 1,
        "tokenize_style": "yes",
        "model": {"name": "a", "preset": "nano", "bpe_size": 2},
        "data": {"format": "jsonl", "images": "${STYLECAP_UNSET}/x"},
        "image": {"size": 10, "random_crop": True},
        "train": {"epochs": "x"},
    }
    lines = faults(document, ["train.warmpu=1", "oops", "decode.num_beams=0"], {"lr": "abc"})
    keys = [re.split(r"[=:] ?", line.removeprefix("conf.json: "))[0] for line in lines]
    assert keys == [
        "lr",
        "tokenize_style",
        "--set train.warmpu",
        "--set oops",
        # Fields, in the order of the groups, then the rules between fields, then those between groups.
        "model.bpe_size",
        "data.images",
        "image.size",
        "train.epochs",
        "--lr",
        "--set decode.num_beams",
        "data.annotations",
        "image.random_crop",
        "model.name",
    ]


def test_load_config_long_value_is_cut_in_the_message(faults):
    (line,) = faults(SMALLEST | {"train": "x" * 5000})
    assert len(line) < 200


def test_load_config_lr_end_above_lr_is_refused_with_both_values(faults, load):
    assert faults(SMALLEST | {"train": {"lr": 1e-5, "lr_end": 1e-4}}) == [
        "conf.json: train.lr_end=0.0001: the learning rate would rise from train.lr=1e-05 to train.lr_end=0.0001; "
        "lower train.lr_end or raise train.lr"
    ]
    # The default of lr_end counts as well.
    (line,) = faults(SMALLEST, (), {"lr": "1e-8"})
    assert line.startswith(
        "conf.json: train.lr_end: the learning rate would rise from train.lr=1e-08 to train.lr_end=1e-07;"
    )
    assert load(train={"lr": 1e-4, "lr_end": 1e-4}).train.lr_end == 1e-4


# --- Paths


def test_load_config_paths_expand_variables_defaults_and_home(load, monkeypatch):
    monkeypatch.setenv("STYLECAP_TEST_ROOT", "/big")
    monkeypatch.setenv("STYLECAP_TEST_EMPTY", "")
    monkeypatch.delenv("STYLECAP_TEST_UNSET", raising=False)
    config = load(
        model={"name": "${STYLECAP_TEST_UNSET:-~}/model"},
        data={
            "format": "jsonl",
            "annotations": "${STYLECAP_TEST_UNSET:-../shared}/data",
            "images": "${STYLECAP_TEST_ROOT}/${STYLECAP_TEST_EMPTY:-photos}",
        },
        work_dir="~/runs",
    )
    assert config.data.annotations == Path("../shared/data")
    assert config.data.images == Path("/big/photos")
    assert config.model.name == f"{Path.home()}/model"
    assert config.work_dir == Path.home() / "runs"


@pytest.mark.parametrize("value", [None, ""])
def test_load_config_unset_variable_without_default_is_named(faults, monkeypatch, value):
    monkeypatch.delenv("STYLECAP_TEST_ROOT", raising=False)
    if value is not None:
        monkeypatch.setenv("STYLECAP_TEST_ROOT", value)
    (line,) = faults(SMALLEST | {"work_dir": "${STYLECAP_TEST_ROOT}/runs"})
    assert line == (
        'conf.json: work_dir="${STYLECAP_TEST_ROOT}/runs": the environment variable STYLECAP_TEST_ROOT is not set; '
        "set it or write ${STYLECAP_TEST_ROOT:-default}"
    )


@pytest.mark.parametrize("data_format", ["flickrstyle", "flickrstyle_release"])
def test_load_config_flickrstyle_split_defaults_to_flickr8k(load, data_format):
    data = {"format": data_format, "annotations": "a", "images": "b"}
    assert load(data=data).data.split == "flickr8k"
    assert load(data=data | {"split": "hash"}).data.split == "hash"


# --- What loading costs


def test_import_config_loads_no_heavy_package():
    heavy = {"torch", "transformers", "numpy", "modelscope", "pycocoevalcap", "PIL", "fastapi", "sklearn", "scipy"}
    code = f"import sys; import configuration.loading; print(*sorted({heavy!r} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert result.stdout.split() == []
