"""What is read of a run that somebody is writing."""

from __future__ import annotations

import json

import pytest

from runs.metrics_log import MetricsRow, append_metrics, read_metrics
from serving.watch.alarms import read_alarms
from serving.watch.pace import captions_in_step, measure_pace, seconds_of
from serving.watch.samples import read_samples
from utils.io import append_jsonl

PLAIN = {"train": {"batch_size": 8, "accumulation_steps": 2}}


def row(step: int, time: float, **numbers: float) -> MetricsRow:
    return MetricsRow(step, step / 10, {"train/loss": 1.0, "time": time} | numbers)


def test_pace_is_that_of_the_newest_start_with_validations_in_the_time_left_alone():
    """Steps 30 to 60 took 60 s, 20 of them a validation: 2 s a step; without it 20 steps took 20 s."""
    rows = [row(10, 100), row(20, 200), row(30, 5000), row(40, 5010), row(50, 5050, **{"val/loss": 1.0}), row(60, 5060)]
    pace = measure_pace(rows, started=4990.0, max_steps=100, captions_per_step=16)
    assert pace is not None
    assert pace.seconds_per_step == pytest.approx(2.0)
    assert pace.captions_per_second == pytest.approx(16.0)
    assert pace.done_at == pytest.approx(5060 + 40 * 2.0)


def test_pace_unknown_before_two_entries_of_this_start_or_without_times():
    assert measure_pace([row(10, 100), row(20, 200)], 150.0, 100, 16) is None
    assert measure_pace([MetricsRow(1, 0.1, {"train/loss": 1.0}), MetricsRow(2, 0.2, {})], 0.0, 100, 16) is None
    known = measure_pace([row(10, 100), row(20, 200)], 0.0, None, None)
    assert known is not None
    assert (known.done_at, known.captions_per_second) == (None, None)


@pytest.mark.parametrize(
    ("config", "processes", "rows", "count"),
    [
        (PLAIN, 1, [], 16),
        (PLAIN, 3, [], 48),
        (PLAIN, 1, [MetricsRow(1, 0.1, {"train/captions_per_row": 2.5})], 40),
        (PLAIN | {"scst": {"enabled": True, "num_samples": 5}}, 1, [], 80),
        (PLAIN | {"preference": {"enabled": True, "pairs": None, "num_samples": 5}}, 1, [], 80),
        (PLAIN | {"preference": {"enabled": True, "pairs": "a.jsonl", "num_samples": 5}}, 1, [], 32),
        ({"train": {"batch_size": "auto", "global_batch_size": 12, "accumulation_steps": 1}}, 4, [], 12),
        ({"train": {"batch_size": "auto"}}, 1, [], None),
        ({}, 1, [], None),
    ],
)
def test_captions_in_step_counts_what_a_step_trains_on(config, processes, rows, count):
    assert captions_in_step(config, processes, rows) == count


def test_seconds_of_reads_what_a_start_is_recorded_with():
    assert seconds_of("1970-01-01T01:00:10+01:00") == 10.0
    assert seconds_of("soon") == seconds_of(None) == 0.0


def test_samples_half_a_line_and_rows_of_old_runs_are_no_trouble(tmp_path):
    file = tmp_path / "samples.jsonl"
    for step, caption in ((5, "one"), (10, "two"), (10, "two again")):
        append_jsonl(file, {"global_step": step, "example_id": "a.png#robot", "style": "robot", "caption": caption})
    new = {"global_step": 5, "example_id": "b.png#pirate", "style": "pirate", "image": "x/b.png", "caption": "arr"}
    append_jsonl(file, new | {"references": ["ahoy", 3]})
    append_jsonl(file, {"global_step": 5, "caption": "without a style"})
    append_jsonl(file, new | {"references": 3})
    with file.open("ab") as stream:
        stream.write(json.dumps(new | {"global_step": 10}).encode()[:30])
    pirate, robot = read_samples(file)
    assert robot.captions == [(10, "two again"), (5, "one")]
    assert (robot.name, robot.image) == ("a.png", None)
    assert pirate.captions == [(5, "arr")]
    assert (str(pirate.image), pirate.references) == ("x/b.png", ["ahoy"])
    assert read_samples(tmp_path / "none.jsonl") == []


def test_alarms_are_the_warnings_newest_first_with_their_further_lines(tmp_path):
    log = tmp_path / "log.txt"
    log.write_text(
        "cut off at the beginning\n"
        "2026-01-02 03:04:05,678 rank 0 INFO trainers.callbacks: step 1/2\n"
        "2026-01-02 03:04:06,678 rank 0 WARNING trainers.numbers: a spike\nof its loss\n"
        "2026-01-02 03:04:07,678 rank 1 ERROR pipeline.train: no disk\n"
        "2026-01-02 03:04:08,678 rank 1 WARNING trainers.numbers: a spike\nof its loss\n"
        "2026-01-02 03:04:09,678 rank 0 INFO trainers.callbacks: st"
    )
    spike, disk = read_alarms(log)
    assert (spike.message, spike.count, spike.time) == ("a spike\nof its loss", 2, "2026-01-02 03:04:08")
    assert (disk.level, disk.message, disk.count) == ("ERROR", "no disk", 1)
    assert read_alarms(tmp_path / "none.txt") == []


def test_time_of_an_entry_is_kept_beside_its_numbers(tmp_path):
    file = tmp_path / "metrics.jsonl"
    append_metrics(file, 4, 0.5, {"train/loss": 2.0, "time": 1000.25})
    append_metrics(file, 4, 0.5, {"val/loss": 3.0, "time": 1010.5})
    assert read_metrics(file).rows[0].numbers == {"train/loss": 2.0, "val/loss": 3.0, "time": 1010.5}
