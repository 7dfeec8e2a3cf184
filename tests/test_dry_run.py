"""``--dry-run`` and ``--print-config``: what a run will be, and no trace of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from configuration.loading import load_config
from finetune import main
from models import open_captioner
from runs.folder import Run
from runs.metrics_log import read_curves


def _files(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.fixture
def conf(tiny_document, tmp_path, monkeypatch) -> str:
    file = tmp_path / "conf.json"
    file.write_text(json.dumps(tiny_document))
    monkeypatch.chdir(tmp_path)
    return str(file)


def test_dry_run_tells_what_the_run_then_is_and_leaves_nothing(conf, tmp_path, capsys):
    before = _files(tmp_path)
    assert main(["--conf", conf, "--dry-run"]) == 0
    found = json.loads(capsys.readouterr().out)["dry_run"]
    assert _files(tmp_path) == before
    assert found["rows"] == {"train": 48, "val": 12, "eval": 12, "dropped": 0}
    assert found["rows_per_step"] == 8
    assert found["training_hours"] == pytest.approx(found["steps"] * found["seconds_per_step"] / 3600, abs=1e-3)
    assert main(["--conf", conf]) == 0
    run = Run(load_config(conf).work_dir)
    last_step, _ = read_curves(run.metrics)["train/loss"][-1]
    assert found["steps"] == last_step == 12
    trained = open_captioner(run.output).module
    assert found["parameters"] == sum(parameter.numel() for parameter in trained.parameters())
    after = _files(tmp_path)
    assert main(["--conf", conf, "--dry-run"]) == 0
    assert _files(tmp_path) == after


@pytest.mark.parametrize("draws", [["scst.enabled=true"], ["preference.enabled=true", "preference.pairs=pairs.jsonl"]])
def test_dry_run_of_rewards_and_of_pairs_counts_their_rows(draws, conf, scenes, tmp_path, capsys):
    rows = [json.loads(line) for line in (scenes / "train.jsonl").read_text().splitlines()][:20]
    pairs = [
        {"image": row["image"], "style": row["style"], "chosen": row["captions"][0], "rejected": row["captions"][1]}
        for row in rows
    ]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    assert main(["--conf", conf]) == 0
    document = json.loads(Path(conf).read_text()) | {"model": {"name": str(load_config(conf).work_dir / "output")}}
    Path(conf).write_text(json.dumps(document | {"work_dir": str(tmp_path / "second")}))
    before = _files(tmp_path)
    capsys.readouterr()
    settings = ["train.epochs=4", "checkpoint.select=loss", *draws]
    assert main(["--conf", conf, "--dry-run", *[f"--set={one}" for one in settings]]) == 0
    found = json.loads(capsys.readouterr().out)["dry_run"]
    assert _files(tmp_path) == before
    learnt = 20 if "pairs" in draws[-1] else 48
    assert found["rows"]["train"] == learnt
    assert found["steps"] == 4 * -(-learnt // 8)


def test_dry_run_of_a_text_run_counts_packs(conf, tiny_document, tmp_path, capsys):
    document = {key: tiny_document[key] for key in ("data", "train")} | {"task": "text"}
    document["model"] = {"preset": "nano", "bpe_size": 300}
    Path(conf).write_text(json.dumps(document))
    before = _files(tmp_path)
    assert main(["lm", "--conf", conf, "--dry-run", "--set", "lm.positions=64"]) == 0
    found = json.loads(capsys.readouterr().out)["dry_run"]
    assert _files(tmp_path) == before
    assert found["rows"]["documents"] == 144  # 12 pictures, 4 styles, 3 captions each
    assert found["steps"] == 2 * -(-found["rows"]["train"] // 8)


def test_dry_run_tells_of_a_disk_that_is_too_small(conf, monkeypatch, caplog):
    monkeypatch.setattr("pipeline.rehearsal.shutil.disk_usage", lambda folder: type("Usage", (), {"free": 2**20}))
    assert main(["--conf", conf, "--dry-run", "--set", "checkpoint.keep_last=50"]) == 0
    assert "not enough room for this run" in caplog.text


def test_dry_run_of_several_processes_is_refused(conf, monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["--conf", conf, "--dry-run"]) == 2
    assert "start it without torchrun" in capsys.readouterr().err


def test_dry_run_refuses_what_training_refuses(conf, capsys):
    assert main(["--conf", conf, "--dry-run", "--set", "image.size=48"]) == 2
    assert "48" in capsys.readouterr().err


def test_printed_configuration_is_complete_and_loads_again(conf, tmp_path, capsys):
    before = _files(tmp_path)
    assert main(["--conf", conf, "--print-config", "--set", "train.lr=0.004"]) == 0
    printed = capsys.readouterr().out
    assert _files(tmp_path) == before
    again = tmp_path / "again.json"
    again.write_text(printed)
    assert load_config(again) == load_config(conf, ["train.lr=0.004"])
    assert json.loads(printed)["train"]["lr"] == 0.004
