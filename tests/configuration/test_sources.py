"""Where settings come from: the original's flat file and flags, and --set."""

from __future__ import annotations

from pathlib import Path

import pytest

from configuration.keys import FLAT_KEYS
from configuration.loading import FLAG_KEYS

SMALLEST = {"model": {"preset": "nano"}, "data": {"format": "drawn_scenes"}}
# The file that the original project's README describes, keys and order as there.
ORIGINAL = {
    "model_name": "damo/ofa_pretrain_tiny_en",
    "model_revision": "v1.0.1",
    "tokenize_style": True,
    "img_addr": "/data/yfcc_images/",
    "dataset_path": "/data/personality_captions/",
    "file_attr": ".jpg",
    "train_json": "train.json",
    "test_json": "test.json",
    "val_json": "val.json",
    "work_dir": "/runs/tiny/",
    "prompt": "",
}


# --- The original's flat file and flags


def test_load_config_original_flat_file_loads_unchanged(load):
    config = load(ORIGINAL)
    assert (config.model.name, config.model.revision) == ("damo/ofa_pretrain_tiny_en", "v1.0.1")
    assert config.style.inject == "code"
    assert config.style.prompt == " what does the image describe? write a {} reply."
    assert config.data.format == "personality_captions"
    assert (config.data.images, config.data.annotations) == (
        Path("/data/yfcc_images"),
        Path("/data/personality_captions"),
    )
    assert (config.data.train, config.data.val, config.data.test) == ("train.json", "val.json", "test.json")
    assert config.data.image_suffix == ".jpg"
    assert config.work_dir == Path("/runs/tiny")


def test_load_config_flat_empty_strings_mean_the_default(load):
    config = load(ORIGINAL | {"model_revision": "", "test_json": "", "work_dir": "", "file_attr": "", "prompt": None})
    assert (config.model.revision, config.data.test) == (None, None)
    assert config.work_dir == Path("work_dir/conf")
    assert config.data.image_suffix == ""
    assert config.style.prompt == " what does the image describe? write a {} reply."


def test_load_config_flat_file_without_tokenising_puts_words_in_the_prompt(load):
    assert load(ORIGINAL | {"tokenize_style": False}).style.inject == "words"


def test_load_config_flat_and_nested_keys_mix(load):
    config = load(ORIGINAL | {"train": {"lr": 1e-3}, "data": {"styles": ["Sweet"]}})
    assert (config.train.lr, config.data.styles, config.data.format) == (1e-3, ["Sweet"], "personality_captions")
    assert load(ORIGINAL | {"data": {"format": "jsonl"}}).data.format == "jsonl"


@pytest.mark.parametrize("flat", FLAT_KEYS)
def test_load_config_flat_and_nested_key_for_the_same_thing_names_both(faults, flat):
    group, name = FLAT_KEYS[flat].split(".")
    nested = {"style.inject": "code", "style.prompt": "a {}"}.get(FLAT_KEYS[flat], "same")
    lines = faults(ORIGINAL | {group: {name: nested}})
    assert lines == [f"conf.json: {flat} and {group}.{name} are the same setting; keep one of the two"]


def test_load_config_flat_value_at_fault_is_reported_under_its_flat_name(faults):
    assert faults(ORIGINAL | {"img_addr": 5, "tokenize_style": 1}) == [
        "conf.json: tokenize_style=1: must be true or false",
        "conf.json: img_addr=5: must be a string with a path",
    ]


def test_load_config_original_flags_reach_their_settings(load):
    flags = {
        "max_epoches": "4",
        "batch_size": 3,
        "num_workers": "2",
        "lr": "2e-5",
        "lr_end": "0",
        "warm_up": "0.1",
        "weight_decay": 0.5,
        "patch_image_size": "64",
        "max_image_size": "96",
        "beam_size": 2,
        "max_len": "9",
        "freeze_resnet": True,
        "cider": True,
        "checkpoint": "7",
    }
    assert flags.keys() == FLAG_KEYS.keys()
    config = load(train={"freeze": ["embeddings"]}, flags=flags)
    train, image, decode = config.train, config.image, config.decode
    assert (train.epochs, train.batch_size, train.num_workers) == (4, 3, 2)
    assert (train.lr, train.lr_end, train.warmup, train.weight_decay) == (2e-5, 0.0, 0.1, 0.5)
    assert (image.size, image.max_size, image.random_crop) == (64, 96, False)
    assert (decode.num_beams, decode.max_length) == (2, 9)
    assert train.freeze == ["embeddings", "resnet"]
    assert (config.scst.enabled, config.model.name) == (True, "7")


def test_load_config_flags_that_were_not_given_change_nothing(load):
    assert load(flags=dict.fromkeys(FLAG_KEYS) | {"freeze_resnet": False}) == load()


def test_load_config_freeze_resnet_twice_is_listed_once(load):
    assert load(train={"freeze": ["resnet"]}, flags={"freeze_resnet": True}).train.freeze == ["resnet"]


def test_load_config_checkpoint_flag_replaces_the_model_of_the_file(load):
    new_model = {"preset": "nano", "overrides": {"d_model": 8}}
    assert load(model=new_model, flags={"checkpoint": "123"}).model.name == "123"
    replaced = load(ORIGINAL, flags={"checkpoint": "work_dir/a/output"}).model
    assert (replaced.name, replaced.preset, replaced.revision) == ("work_dir/a/output", None, None)


def test_load_config_flag_at_fault_is_reported_as_typed(faults):
    assert faults(SMALLEST, (), {"lr": "abc", "max_epoches": "0", "freeze_resnet": "maybe"}) == [
        '--freeze_resnet="maybe": must be true or false',
        "--max_epoches=0: must be greater than or equal to 1",
        '--lr="abc": must be a valid number',
    ]
    assert faults(SMALLEST, (), {"cider": "maybe"}) == ['--cider="maybe": must be a valid boolean']


# --- --set


@pytest.mark.parametrize(
    ("text", "group", "name", "value"),
    [
        ("train.lr=2e-5", "train", "lr", 2e-5),
        ('train.freeze=["resnet"]', "train", "freeze", ["resnet"]),
        ("data.styles=null", "data", "styles", None),
        ("image.mean_std=imagenet", "image", "mean_std", "imagenet"),
        ('style.neutral="7"', "style", "neutral", "7"),
        ("style.prompt= a = {}", "style", "prompt", " a = {}"),
        ("style.prompt=", "style", "prompt", " what does the image describe? write a {} reply."),
        ("model.overrides.d_model=8", "model", "overrides", {"layers": 2, "d_model": 8}),
        ('model.overrides={"d_model": 8}', "model", "overrides", {"d_model": 8}),
    ],
)
def test_load_config_set_parses_json_or_takes_the_string(load, text, group, name, value):
    config = load(model={"preset": "nano", "overrides": {"layers": 2}}, overrides=[text])
    assert getattr(getattr(config, group), name) == value


def test_load_config_set_work_dir_wins_over_the_file(load):
    assert load(work_dir="a", overrides=["work_dir=b"]).work_dir == Path("b")


def test_load_config_later_sources_win(load):
    document = SMALLEST | {"train": {"lr": 1e-1, "epochs": 1, "batch_size": 1}}
    config = load(document, ["train.lr=1e-4", "train.lr=1e-5"], {"lr": 1e-2, "max_epoches": 2})
    assert (config.train.lr, config.train.epochs, config.train.batch_size) == (1e-5, 2, 1)


def test_load_config_set_repairs_a_wrong_value_of_the_file(load):
    assert load(train={"lr": "fast"}, overrides=["train.lr=0.1"]).train.lr == 0.1


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("train.lrr=1", "--set train.lrr: unknown key; did you mean train.lr?"),
        ("lr=1", "--set lr: unknown key; did you mean train.lr?"),
        ("img_addr=a", "--set img_addr: unknown key; did you mean data.images?"),
        ("train.lr", "--set train.lr: must be key=value, for example train.lr=2e-5"),
        ("=1", "--set =1: must be key=value, for example train.lr=2e-5"),
        ("train={}", "--set train: is a group; set one of its keys, for example train.epochs=..."),
        ("train.lr=", '--set train.lr="": must be a valid number'),
        ("train.lr=NaN", '--set train.lr="NaN": must be a valid number'),
        (
            "model.revision=1.0",
            "--set model.revision=1.0: must be a valid string; in quotes for the shell: --set 'model.revision=\"1.0\"'",
        ),
    ],
)
def test_load_config_set_fault_is_reported_as_typed(faults, text, line):
    assert faults(SMALLEST, [text]) == [line]
