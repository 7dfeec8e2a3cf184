"""The demo in full, as `scripts/demo.sh` runs it: minutes."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

import finetune
from configuration.loading import load_config

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_demo_reaches_its_scores_and_looks_at_the_pictures(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert finetune.main(["--conf", str(REPOSITORY / "conf/demo.json")]) == 0
    before = json.loads(capsys.readouterr().out.splitlines()[-1])["overall"]["CIDEr"]
    scst = ["--conf", str(REPOSITORY / "conf/demo_scst.json"), "--checkpoint", "work_dir/demo/output"]
    assert finetune.main(scst) == 0
    after = json.loads(capsys.readouterr().out.splitlines()[-1])["overall"]["CIDEr"]
    assert after > before
    spec = importlib.util.spec_from_file_location("picture_matters", REPOSITORY / "benchmarks/picture_matters.py")
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    measured = benchmark.measure(load_config(Path("work_dir/demo_scst/config.json")))
    assert measured["CIDEr"] > 6.0
    assert measured["right_picture_share"] >= 0.9
    assert measured["right_style_share"] >= 0.95
    assert measured["CIDEr_shuffled_pictures"] < measured["CIDEr"] / 2
