"""The JSON Schema lets pass what loading does, and refuses what an editor can know to be wrong."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema_rs
import pytest

from configuration.document import SCHEMA
from configuration.keys import KNOWN_KEYS
from configuration.loading import load_config
from configuration.schema import write_schema

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIGURATIONS = [path for path in sorted(REPOSITORY.glob("conf/*.json")) if not path.name.startswith(("sweep", "sch"))]
VALIDATOR = jsonschema_rs.validator_for(write_schema())


def test_shipped_schema_is_what_the_types_say():
    assert json.loads(SCHEMA.read_text("utf-8")) == write_schema()
    jsonschema_rs.meta.validate(write_schema())


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.stem)
def test_our_configurations_name_it_and_keep_to_it(path):
    held = json.loads(path.read_text("utf-8"))
    assert (path.parent / held["$schema"]).resolve() == SCHEMA
    assert [error.message for error in VALIDATOR.iter_errors(held)] == []


def test_every_key_has_a_text():
    schema = write_schema()
    groups = {name: held["$ref"].rpartition("/")[2] for name, held in schema["properties"].items() if "$ref" in held}
    texts = {
        f"{name}.{key}": field["description"]
        for name, group in groups.items()
        for key, field in schema["$defs"][group]["properties"].items()
    }
    assert all(len(texts.get(key) or schema["properties"][key]["description"]) > 9 for key in KNOWN_KEYS)


GOOD = {"model": {"preset": "nano"}, "data": {"format": "drawn_scenes"}}


@pytest.mark.parametrize(
    "held",
    [
        {},
        {"$schema": "elsewhere.json"},
        {"style": {"prompt": None}, "train": {"batch_size": "auto", "global_batch_size": 64}},
        {"scst": {"rewards": {"cider_d": 1, "style": 0.5}}, "unlikelihood_alpha": 0.5},
        {"checkpoint": {"keep": 3}, "img_addr": "photos", "work_dir": "${RUNS:-work_dir}/x"},
    ],
)
def test_what_loads_passes(held, tmp_path):
    file = tmp_path / "conf.json"
    file.write_text(json.dumps(GOOD | held))
    load_config(file)
    assert VALIDATOR.is_valid(GOOD | held)


@pytest.mark.parametrize(
    ("held", "where"),
    [
        ({"trian": {}}, []),
        ({"train": {"warm_up": 0.1}}, ["train"]),
        ({"train": {"lr": 0}}, ["train", "lr"]),
        ({"train": {"epochs": "3"}}, ["train", "epochs"]),
        ({"train": {"batch_size": "all"}}, ["train", "batch_size"]),
        ({"data": {"format": "flickr"}}, ["data", "format"]),
        ({"eval": {"metrics": ["CIDER"]}}, ["eval", "metrics", 0]),
        ({"style": "words"}, ["style"]),
    ],
)
def test_what_does_not_load_is_marked_at_its_place(held, where, tmp_path):
    file = tmp_path / "conf.json"
    file.write_text(json.dumps(GOOD | held))
    with pytest.raises(ValueError, match=f"{file}"):
        load_config(file)
    assert [list(error.instance_path) for error in VALIDATOR.iter_errors(GOOD | held)] == [where]
