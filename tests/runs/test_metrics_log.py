from __future__ import annotations

import logging

import pytest

from runs.metrics_log import append_metrics, has_reached, read_curves, read_metrics


def test_written_numbers_are_read_by_step_and_the_epoch_has_four_decimals(tmp_path):
    file = tmp_path / "run/metrics.jsonl"
    append_metrics(file, 20, 1 / 3, {"train/loss": 2.0, "train/lr": 1e-3})
    append_metrics(file, 10, 0.1, {"train/loss": 3.0})
    append_metrics(file, 20, 1 / 3, {"val/loss": 2.5})
    first, second = read_metrics(file).rows
    assert (first.step, first.epoch, first.numbers) == (10, 0.1, {"train/loss": 3.0})
    assert (second.step, second.epoch) == (20, 0.3333)
    assert second.numbers == {"train/loss": 2.0, "train/lr": 1e-3, "val/loss": 2.5}


def test_step_that_was_trained_again_has_its_newest_numbers(tmp_path):
    file = tmp_path / "metrics.jsonl"
    append_metrics(file, 5, 0.5, {"train/loss": 2.0, "train/kl": 1.0})
    append_metrics(file, 5, 0.5, {"train/loss": 1.5})
    (row,) = read_metrics(file).rows
    assert row.numbers == {"train/loss": 1.5, "train/kl": 1.0}


def test_lines_that_cannot_be_read_are_counted_and_hide_no_other(tmp_path, caplog):
    file = tmp_path / "metrics.jsonl"
    append_metrics(file, 1, 0.1, {"train/loss": 2.0})
    with file.open("ab") as stream:
        stream.write(b'\xff\n[1]\n{"global_step": "x"}\n{"global_step": 2, "tra')
    append_metrics(file, 3, 0.3, {"train/loss": float("nan"), "val/loss": 1.0})
    log = read_metrics(file)
    assert [row.step for row in log.rows] == [1, 3]
    assert log.damaged == 4
    with caplog.at_level(logging.WARNING):
        assert read_curves(file) == {"train/loss": [(1, 2.0)], "val/loss": [(3, 1.0)]}  # NaN is written as null
    assert "4 lines could not be read" in caplog.text


def test_no_file_has_no_rows_and_no_warning(tmp_path, caplog):
    assert read_metrics(tmp_path / "metrics.jsonl") == ([], 0)
    assert read_curves(tmp_path / "metrics.jsonl") == {}
    assert not caplog.records


def test_has_reached_allows_for_the_decimals_that_are_logged():
    assert has_reached(0.3333, 1 / 3)
    assert not has_reached(0.3331, 1 / 3)


@pytest.mark.parametrize(
    "line",
    [
        '{"global_step": true}',
        '{"global_step": 1.5}',
        '{"global_step": 1, "epoch": "x"}',
        '{"global_step": 1, "epoch": null}',
        '{"global_step": 1, "train/loss": "x"}',
        '{"global_step": 1, "train/loss": [1]}',
        '{"global_step": 1, "train/loss": {}}',
        '{"global_step": 1, "train/loss": true}',
        "null",
        '"text"',
        "\0\0",
    ],
)
def test_lines_with_other_than_numbers_are_damaged(tmp_path, line):
    file = tmp_path / "metrics.jsonl"
    file.write_text(line + '\n{"global_step": 2, "epoch": 1, "train/loss": 3}\n')
    assert read_metrics(file) == ([(2, 1, {"train/loss": 3})], 1)
    assert read_curves(file) == {"train/loss": [(2, 3)]}
