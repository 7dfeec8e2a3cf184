"""What a trial's files say about it, whole or cut short."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runs.folder import Run
from sweeps.trials.progress import Progress, Validation, has_weights, read_progress, read_results
from utils.trees import get_number

WriteRun = Callable[..., Run]
TRAINING = '{"global_step": 10, "epoch": 0.1, "train/loss": 5.0, "train/lr": 0.001}\n'
VALIDATION = '{"global_step": 50, "epoch": 0.5, "val/loss": 4.5, "val/nll": 4.0}\n'


@pytest.fixture
def read(tmp_path: Path) -> Callable[[str | bytes], Progress]:
    """What a ``metrics.jsonl`` with this content says."""

    def progress_of(content: str | bytes) -> Progress:
        (tmp_path / "metrics.jsonl").write_bytes(content.encode() if isinstance(content, str) else content)
        return read_progress(Run(tmp_path))

    return progress_of


def test_read_progress_rows_of_training_and_validation(read: Callable[..., Progress]):
    progress = read(TRAINING + VALIDATION + '{"global_step": 60, "epoch": 0.6, "train/loss": 4.25}\n')
    assert progress == Progress(60, 0.6, 4.25, (Validation(50, 0.5, 4.0, None),))


def test_read_progress_validation_and_training_of_one_step_are_joined(read: Callable[..., Progress]):
    both = '{"global_step": 50, "epoch": 0.5, "train/loss": 4.75}\n' + VALIDATION.replace(
        "4.0}", '4.0, "val/CIDEr": 2}'
    )
    assert read(both) == Progress(50, 0.5, 4.75, (Validation(50, 0.5, 4.0, 2),))


def test_read_progress_half_written_last_line_counts_for_nothing(read: Callable[..., Progress]):
    whole = VALIDATION.rstrip("\n")
    for cut in range(1, len(whole)):
        assert read(TRAINING + whole[:cut]) == read(TRAINING), whole[:cut]
    assert read(TRAINING + whole) == read(TRAINING + VALIDATION)  # only the end of the line is missing


def test_read_progress_row_after_a_torn_one_counts(read: Callable[..., Progress]):
    assert read(TRAINING + '{"global_st\n' + VALIDATION) == read(TRAINING + VALIDATION)


@pytest.mark.parametrize("row", ["3", "[]", "null", '"text"', "{}", '{"global_step": "7"}', '{"epoch": 2}', "\x00\x00"])
def test_read_progress_line_that_is_no_row_counts_for_nothing(read: Callable[..., Progress], row: str):
    assert read(TRAINING + row + "\n" + VALIDATION) == read(TRAINING + VALIDATION)


def test_read_progress_bytes_that_are_no_text_and_byte_order_mark(read: Callable[..., Progress]):
    assert read(b"\xef\xbb\xbf" + TRAINING.encode() + b"\xff\xfe{\n" + VALIDATION.encode()) == read(
        TRAINING + VALIDATION
    )


def test_read_progress_steps_that_were_trained_again_count_once_and_the_newer_wins(read: Callable[..., Progress]):
    """Killed at step 30 after a checkpoint at 10: steps 20 and 30 come again."""
    steps = [(10, 5.0), (20, 4.5), (30, 4.0), (20, 4.4), (30, 3.9)]
    rows = [
        {"global_step": step, "epoch": step / 100, "train/loss": loss, "val/loss": 1, "val/nll": loss}
        for step, loss in steps
    ]
    progress = read("".join(json.dumps(row) + "\n" for row in rows))
    assert progress.loss == 3.9
    assert [(found.step, found.nll) for found in progress.validations] == [(10, 5.0), (20, 4.4), (30, 3.9)]


def test_read_progress_missing_file_or_folder_is_the_beginning(tmp_path: Path, read: Callable[..., Progress]):
    nothing = Progress(0, 0.0, None, ())
    assert read_progress(Run(tmp_path / "absent")) == nothing
    assert read("") == nothing
    assert read("\n\n") == nothing


def test_read_progress_loss_that_was_no_number_is_passed_over(read: Callable[..., Progress]):
    """JSON has no NaN: it is written as null."""
    progress = read(TRAINING + '{"global_step": 20, "epoch": 0.2, "train/loss": null}\n')
    assert (progress.step, progress.loss) == (20, 5.0)
    broken = read(VALIDATION.replace("4.0", "null"))
    assert broken.value_at(0.5, "loss") is None


def test_validation_at_is_the_first_at_or_after(tmp_path: Path, write_run: WriteRun):
    progress = read_progress(write_run(tmp_path, {0.5: 5.0, 1.0: 4.0, 1.5: 3.0}))
    steps = {
        place: found.step if (found := progress.validation_at(place)) else None for place in (0.2, 0.5, 0.51, 1.0, 1.6)
    }
    assert steps == {0.2: 50, 0.5: 50, 0.51: 100, 1.0: 100, 1.6: None}


def test_value_at_is_the_best_up_to_there_whatever_comes_later(tmp_path: Path, write_run: WriteRun):
    nll = {0.5: 4.0, 1.0: 4.5, 1.5: 3.0}
    progress = read_progress(write_run(tmp_path, nll, cider={0.5: 0.3, 1.0: 0.2, 1.5: 0.9}))
    assert [progress.value_at(place, "loss") for place in nll] == [-4.0, -4.0, -3.0]
    assert [progress.value_at(place, "CIDEr") for place in nll] == [0.3, 0.3, 0.9]
    assert progress.value_at(2.0, "loss") is None
    assert (progress.best_value("loss"), progress.best_value("CIDEr")) == (-3.0, 0.9)


def test_value_at_cider_without_scored_validations_is_none(tmp_path: Path, write_run: WriteRun):
    progress = read_progress(write_run(tmp_path, {0.5: 4.0}))
    assert progress.value_at(0.5, "CIDEr") is None
    assert Progress().best_value("CIDEr") is None


def test_read_results_before_and_after_evaluation(tmp_path: Path, write_run: WriteRun):
    run = write_run(tmp_path, {0.5: 4.0})
    assert read_results(run, "val") is None
    write_run(tmp_path, overall={"CIDEr": 0.25}, split="test")
    assert read_results(run, "val") is None
    found = read_results(run, "test")
    assert found is not None
    assert found["overall"] == {"CIDEr": 0.25}


@pytest.mark.parametrize("content", ["", '{"overall": {"CIDEr": 0.2', '{"overall": 3}', "[]", "null", "\xff"])
def test_read_results_cut_short_names_the_file_and_the_remedy(tmp_path: Path, write_run: WriteRun, content: str):
    run = write_run(tmp_path, overall={"CIDEr": 0.25})
    (run.eval / "val.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(ValueError, match=r"val\.json.*cut short or changed. Remove it and start the sweep again"):
        read_results(run, "val")


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("overall.CIDEr", 0.25),
        ("overall.n", 3.0),
        ("style.by.x", 0.5),
        ("overall.SPICE", None),
        ("overall.Cider", None),
        ("overall", None),
        ("overall.CIDEr.x", None),
        ("overall.good", None),
        ("overall.name", None),
        ("", None),
    ],
)
def test_get_number_by_place(place: str, expected: float | None):
    overall: dict[str, Any] = {"CIDEr": 0.25, "n": 3, "SPICE": None, "good": True, "name": "7"}
    assert get_number({"overall": overall, "style": {"by": {"x": 0.5}}}, place) == expected


def test_value_at_a_comparison_whose_loss_is_no_number_is_none(read: Callable[..., Progress]):
    """NaN is written as null. That it was better before must not carry a diverged run over the comparison."""
    diverged = '{"global_step": 100, "epoch": 1.0, "val/loss": null, "val/nll": null}\n'
    progress = read(VALIDATION + diverged)
    assert progress.value_at(0.5, "loss") == -4.0
    assert progress.value_at(1.0, "loss") is None


def test_has_weights_is_false_once_they_were_deleted(tmp_path: Path):
    (tmp_path / "config.json").write_text("{}")
    assert not has_weights(tmp_path)
    assert not has_weights(tmp_path / "nowhere")
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert has_weights(tmp_path)
