"""``docs/models.md`` says of every family what its adapter says, and of every size what its shape says."""

from __future__ import annotations

import importlib.util
import re
import sys

import pytest

from models import LEFT_OUT
from tests.conftest import REPOSITORY

PAGE = REPOSITORY / "docs/models.md"
PAPER = {"OFA tiny": 33, "OFA medium": 93, "OFA base": 182, "OFA large": 472}
"""Millions of parameters, Wang et al. 2022, arXiv:2202.03052, table 1."""
PUBLISHED = {
    "Florence-2 base": "0.23",
    "Florence-2 large": "0.77",
    "SmolVLM 256M": "0.256",
    "SmolVLM 500M": "0.507",
    "SmolVLM2 2.2B": "2.2",
}
"""Billions of parameters as their makers give them: arXiv:2311.06242, and the names of the models."""
KERAS_PALIGEMMA = 2_923_335_408
"""Parameters that KerasHub's presets name for PaliGemma 3B of 224 pixels, whose vocabulary has 257,152 entries there
and not 257,216."""


@pytest.fixture(scope="module")
def benchmark():
    path, place = REPOSITORY / "benchmarks/model_sizes.py", [*sys.path]
    spec = importlib.util.spec_from_file_location("benchmark_model_sizes", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    sys.path[:] = place
    return module


def _shape(benchmark, name):
    (found,) = [shape for shape in benchmark.shapes() if shape.name == name]
    return found


def test_page_has_what_the_adapters_say(benchmark):
    assert benchmark.family_table() in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", LEFT_OUT)
def test_page_says_why_a_family_is_left_out(kind):
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    (row,) = [line for line in lines if line.startswith("|") and f"`{kind}`" in line]
    assert row.endswith(f"| {LEFT_OUT[kind]} |")


@pytest.mark.parametrize("name", ["OFA tiny", pytest.param("BLIP base", marks=pytest.mark.slow)])
def test_page_has_the_row_of_a_size(name, benchmark):
    row = benchmark.size_table([benchmark.work_out(_shape(benchmark, name))]).splitlines()[-1]
    assert row in PAGE.read_text(encoding="utf-8")


def test_memory_and_operations_of_a_size_are_those_of_its_layers(benchmark):
    """OFA tiny by hand: two bytes and sixteen a parameter, four of a frozen one; its projection onto the vocabulary
    alone is 20 tokens times 59,457 entries of 256."""
    one = benchmark.work_out(_shape(benchmark, "OFA tiny"))
    count, seen = one["parameters"], one["vision_parameters"]
    assert one["bf16_bytes"] == 2 * count
    assert one["training_bytes"] == 16 * count
    assert one["training_bytes_frozen_vision"] == 16 * (count - seen) + 4 * seen
    projection = 2 * 20 * 59_457 * 256
    assert projection < one["caption_operations"] < 4 * projection


@pytest.mark.slow
def test_page_has_all_sizes_with_the_parameters_that_were_published(benchmark, tmp_path):
    found = {shape.name: benchmark.work_out(shape) for shape in benchmark.shapes()}
    page = tmp_path / "models.md"
    page.write_text(re.sub("(?s)(<!-- sizes: .*?-->\n).*?<!-- end", r"\1<!-- end", PAGE.read_text(encoding="utf-8")))
    assert page.read_text() != PAGE.read_text(encoding="utf-8")
    benchmark.write_page(page, {"sizes": benchmark.size_table([*found.values()])})
    assert page.read_text() == PAGE.read_text(encoding="utf-8")
    millions = {name: one["parameters"] / 1e6 for name, one in found.items()}
    assert all(abs(millions[name] - size) < 1 for name, size in PAPER.items())
    for name, size in PUBLISHED.items():
        digits = len(size.partition(".")[2])
        assert abs(millions[name] / 1e3 - float(size)) < 10**-digits, name
    assert found["PaliGemma 3B 224"]["parameters"] == KERAS_PALIGEMMA + 64 * 2048
    assert found["PaliGemma 3B 448"]["parameters"] == KERAS_PALIGEMMA + 64 * 2048 + (32**2 - 16**2) * 1152


def test_page_without_a_table_s_place_is_refused(benchmark, tmp_path):
    (tmp_path / "page.md").write_text("nothing")
    with pytest.raises(ValueError, match="has no <!-- sizes: ... --> with an <!-- end --> behind it"):
        benchmark.write_page(tmp_path / "page.md", {"sizes": "x"})
