from __future__ import annotations

import platform
import re
from pathlib import Path

import pytest

from configuration.loading import load_config
from pipeline.record import open_run
from runs import source
from runs.folder import Run
from utils.io import read_json, write_json

REPOSITORY = Path(__file__).resolve().parents[2]
COMMAND = ["python", "finetune.py", "--conf", "my conf.json"]


@pytest.fixture(autouse=True)
def _keep_source_small(monkeypatch):
    monkeypatch.setattr(source, "PACKAGES", ("utils",))


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_open_run_new_folder_records_what_is_run(load, tmp_path):
    config = load(train={"lr": 1e-3}, work_dir=str(tmp_path / "run"))
    run = open_run(config.work_dir, config, COMMAND, {"data_hash": "abc"}, conf_file=tmp_path / "conf.json")
    assert run == Run(tmp_path / "run")
    assert load_config(run.config_file) == config
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT[\d:]{8}[+-][\d:]+ python finetune\.py --conf 'my conf\.json'\n",
        (run.root / "command.txt").read_text(),
    )
    environment = read_json(run.root / "environment.json")
    assert (environment["python"], environment["data_hash"]) == (platform.python_version(), "abc")
    source = run.root / "source"
    assert (source / "conf.json").read_bytes() == (tmp_path / "conf.json").read_bytes()
    assert (source / "utils" / "io.py").read_bytes() == (REPOSITORY / "utils" / "io.py").read_bytes()
    assert not list(source.rglob("*.pyc"))
    # Nothing that was written aside is left over.
    assert not [name for name in tree(run.root) if ".tmp" in name]


def test_open_run_same_settings_again_appends_the_command_and_keeps_what_is_there(load, tmp_path):
    root = tmp_path / "run"
    open_run(root, load(), COMMAND, {})
    (root / "checkpoints").mkdir()
    (root / "checkpoints" / "kept").touch()
    run = open_run(root, load(), [*COMMAND, "--set", "decode.num_beams=1"], {})
    commands = (root / "command.txt").read_text().splitlines()
    assert [line.endswith("num_beams=1") for line in commands] == [False, True]
    assert (run.checkpoints / "kept").exists()


def test_open_run_decoding_evaluation_and_what_only_costs_time_may_change(load, tmp_path):
    open_run(tmp_path / "run", load(), COMMAND, {})
    changed = load(
        image={"feature_cache": "elsewhere"},
        scst={"reward_workers": 1},
        decode={"num_beams": 1},
        eval={"split": "test"},
        checkpoint={"keep": 5},
        work_dir=str(tmp_path / "run"),
    )
    run = open_run(tmp_path / "run", changed, COMMAND, {})
    assert load_config(run.config_file) == changed


def test_open_run_other_settings_are_refused_with_old_and_new_and_nothing_is_written(load, tmp_path):
    root = tmp_path / "run"
    open_run(root, load(train={"lr": 0.5}), COMMAND, {})
    before = tree(root)
    other = load(train={"lr": 0.25}, model={"preset": "nano", "overrides": {"d_model": 8}}, decode={"num_beams": 1})
    with pytest.raises(ValueError, match="holds a run with other settings") as caught:
        open_run(root, other, COMMAND, {})
    assert str(caught.value).splitlines()[1:] == [
        "  train.lr: 0.5 -> 0.25",
        "  model.overrides.d_model: None -> 8",
        "give another work_dir, or the old values to go on with that run",
    ]
    assert tree(root) == before


def test_open_run_setting_unknown_when_the_run_began_counts_as_its_default(load, tmp_path):
    root = tmp_path / "run"
    open_run(root, load(), COMMAND, {})
    stored = read_json(root / "config.json")
    del stored["train"]["rdrop"]
    write_json(root / "config.json", stored)
    open_run(root, load(), COMMAND, {})
    with pytest.raises(ValueError, match=r"train\.rdrop: 0\.0 -> 0\.5"):
        open_run(root, load(train={"rdrop": 0.5}), COMMAND, {})


@pytest.mark.parametrize("content", ['{"d_model": 256}', '{"train": '])
def test_open_run_folder_of_something_else_is_refused_unchanged(load, tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    before = tree(tmp_path)
    config = load()
    with pytest.raises(ValueError, match=r"config\.json: is not the configuration of a run; give another work_dir"):
        open_run(tmp_path, config, COMMAND, {})
    assert tree(tmp_path).keys() == before.keys() | {"conf.json"}


def test_open_run_work_dir_that_cannot_be_made_is_named(load, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"work_dir=.*file/run: cannot be written \(.+\); give another folder"):
        open_run(tmp_path / "file" / "run", load(), COMMAND, {})


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "not valid JSON"),
        (b'{"data": {"train_sha', "not valid JSON"),
        (b"\0" * 64, "not valid JSON"),
        (b"\xff\xfe", "is not UTF-8"),
        (b"[1, 2]", "it holds a list, where an object belongs"),
        (b'"text"', "it holds a text"),
        (b"3", "it holds a number"),
        (b"null", "it holds null"),
        (b'{"data": []}', "data is a list, where an object belongs"),
        (b'{"data": "abc"}', "data is a text"),
        (b'{"data": {"train_sha256": 5}}', "data.train_sha256 is a number, where a text belongs"),
        (b'{"data": {"train_sha256": {}}}', "data.train_sha256 is an object"),
        (b'{"packages": 3}', "packages is a number"),
    ],
)
def test_open_run_damaged_environment_is_refused_by_name_and_nothing_is_written(load, tmp_path, content, fault):
    root = tmp_path / "run"
    made_from = {"data": {"train_sha256": "a"}}
    open_run(root, load(), COMMAND, made_from)
    (root / "environment.json").write_bytes(content)
    before = tree(root)
    with pytest.raises(ValueError, match=r"environment\.json.*(restore it, or remove it)") as caught:
        open_run(root, load(), COMMAND, made_from)
    assert fault in str(caught.value)
    assert tree(root) == before
    (root / "environment.json").unlink()
    open_run(root, load(), COMMAND, made_from)
    with pytest.raises(ValueError, match="holds a run on other training captions"):
        open_run(root, load(), COMMAND, {"data": {"train_sha256": "b"}})


def test_open_run_other_documents_are_called_documents(load, tmp_path):
    """Their ids are a text run's training data, which the list of runs shows."""
    made_from = {"train_sha256": "a", "documents_sha256": "b"}
    open_run(tmp_path / "run", load(), COMMAND, {"data": made_from})
    with pytest.raises(ValueError, match="holds a run on other training documents"):
        open_run(tmp_path / "run", load(), COMMAND, {"data": dict.fromkeys(made_from, "c")})


def test_open_run_environment_that_is_a_folder_is_refused(load, tmp_path):
    open_run(tmp_path / "run", load(), COMMAND, {})
    (tmp_path / "run/environment.json").unlink()
    (tmp_path / "run/environment.json").mkdir()
    with pytest.raises(ValueError, match=r"environment\.json: is a folder"):
        open_run(tmp_path / "run", load(), COMMAND, {})
