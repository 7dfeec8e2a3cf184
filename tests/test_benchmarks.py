"""Benchmarks stand beside the packages: what they call must be there."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from configuration.loading import load_config
from pipeline.prepare import prepare

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
SHARED = {"hostile_pictures", "service_process", "training_steps"}
"""What benchmarks share; no programs."""


def load_benchmark(name):
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", FOLDER / f"{name}.py")
    benchmark = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = benchmark  # where dataclasses look their module up
    spec.loader.exec_module(benchmark)
    return benchmark


@pytest.mark.parametrize("name", sorted({file.stem for file in FOLDER.glob("*.py")} - SHARED))
def test_benchmark_finds_what_it_imports(name, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert callable(load_benchmark(name).main)


def test_kept_features_trains_steps_of_both_kinds(tiny_document, tmp_path, monkeypatch, capsys):
    conf = tmp_path / "conf.json"
    conf.write_text(json.dumps(tiny_document | {"train": tiny_document["train"] | {"freeze": ["vision"]}}))
    benchmark = load_benchmark("kept_features")
    monkeypatch.setattr(benchmark, "STEPS", 1)
    monkeypatch.setattr(benchmark, "TURNS", 1)
    monkeypatch.setattr(sys, "argv", ["kept_features.py", "--conf", str(conf)])
    benchmark.main()
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["opened_rows_per_second"] > 0
    assert found["kept_rows_per_second"] > 0


def test_picture_matters_scores_right_and_shuffled_pictures(tiny_document, tmp_path):
    conf = tmp_path / "conf.json"
    conf.write_text(json.dumps(tiny_document))
    config = load_config(conf)
    prepare(config).captioner.save_to_dir(config.work_dir / "output")
    found = load_benchmark("picture_matters").measure(config)
    assert found["n"] == 12
    assert {*found} == {"n", "CIDEr", "CIDEr_shuffled_pictures"}


def test_scaling_table_counts_what_a_step_computes_and_keeps():
    """Twice as many rows compute and keep twice as much; the formula is that of its docstring."""
    benchmark = load_benchmark("scaling_table")
    one, two = (benchmark.measure("nano", 64, batch, 0, "cpu", 1) for batch in (1, 2))
    assert one["parameters"] == two["parameters"]
    assert two["flops_per_row"] == pytest.approx(one["flops_per_row"], rel=0.02)
    assert two["kept_bytes_per_row"] == pytest.approx(one["kept_bytes_per_row"], rel=0.1)
    found = {"parameters": 2**26, "kept_bytes_per_row": 2**20, "flops_per_row": 6 * 10**9}
    assert benchmark.compute(found, 1024, memory=3.0, peak=20.0, share=0.3) == {
        "computed_gib": 2.0,  # 16 bytes of 2**26 parameters are 1 GiB, 1,024 rows of 1 MiB another
        "computed_rows_that_fit": 2048,
        "computed_seconds_per_100_rows": 0.1,
    }


def test_over_seeds_pairs_photos_and_seeds():
    """What photos and seeds have in common leaves the difference exactly, and widens the means' intervals."""
    benchmark = load_benchmark("over_seeds")
    first = np.add.outer([0.0, 3.0, 6.0], np.arange(50.0))
    found = benchmark.compare(first, first + 2.0)
    assert found["difference"] == {"mean": 2.0, "interval": [2.0, 2.0]}
    assert found["first"]["seeds"] == [24.5, 27.5, 30.5]
    assert (found["first"]["mean"], found["second"]["mean"]) == (27.5, 29.5)
    low, high = found["first"]["interval"]
    both = (6.0 + (50**2 - 1) / 12 / 50 * 3) / 3  # variances of the means of 3 seeds and of 50 photos
    assert high - low == pytest.approx(2 * 1.96 * both**0.5, rel=0.1)
    assert benchmark._by_photo(["b", "a", "b"], [1.0, 5.0, 2.0]).tolist() == [5.0, 1.5]
