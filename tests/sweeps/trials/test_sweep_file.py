"""What a sweep file may say, and what it is told if it says something else."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweeps.trials.sweep_file import Range, read_sweep_file

Write = Callable[..., Path]
RANGE = {"low": 1e-5, "high": 1e-3}
RANDOM = {"search": "random", "points": 2}


def faults_of(path: Path) -> list[str]:
    """Lines of the message that a sweep file is refused with, without the path."""
    with pytest.raises(ValueError, match="grid.json: ") as caught:
        read_sweep_file(path, {}, None)
    return [line.removeprefix(f"{path}: ") for line in str(caught.value).splitlines()]


def test_read_sweep_file_smallest_has_defaults(write_sweep: Write):
    file = read_sweep_file(write_sweep(), {}, None)
    assert file.axes == {"train.lr": [1e-3, 2e-3, 3e-3]}
    assert (file.search, file.seeds, file.metric, file.retries) == ("grid", [7], "overall.CIDEr", 1)
    assert (file.halving, file.points, file.checkpoint, file.set, file.include) == (None, None, None, {}, [])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"axess": {}}, "axess: unknown key; did you mean axes?"),
        ({"halving": {"first": 1, "facter": 2}}, "halving.facter: unknown key; did you mean factor?"),
        ({"axes": {"train.lrr": [1]}}, "axes.train.lrr: unknown key; did you mean train.lr?"),
        ({"axes": {"warm_up": [0.1]}}, "axes.warm_up: unknown key; did you mean train.warmup?"),
        ({"set": {"decode.num_beam": 1}}, "set.decode.num_beam: unknown key; did you mean decode.num_beams?"),
        ({"axes": {"model.overides.dropout": [1]}}, "axes.model.overides.dropout: unknown key; did you mean model.ov"),
    ],
)
def test_read_sweep_file_misspelt_name_tells_the_nearest(write_sweep: Write, fields: dict[str, Any], message: str):
    assert len(faults := faults_of(write_sweep(**fields))) == 1
    assert faults[0].startswith(message)


@pytest.mark.parametrize(("place", "value"), [("axes", [{"lr": 1}]), ("set", {"epochs": 2})])
def test_read_sweep_file_group_for_a_key_tells_that_it_is_a_group(write_sweep: Write, place: str, value: Any):
    (fault,) = faults_of(write_sweep(**{place: {"train": value}}))
    assert "did you mean train?" not in fault
    assert fault.startswith(f"{place}.train: ")
    assert "group" in fault


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"axes": {}}, "axes: is empty; name a setting and its values"),
        ({"axes": {"train.lr": []}}, "axes.train.lr: is empty; list at least one value"),
        ({"axes": {"train.lr": [1e-3, 0.001]}}, "axes.train.lr: the same value stands there twice"),
        ({"axes": {"train.weight_decay": [0, 0.0]}}, "axes.train.weight_decay: the same value stands there twice"),
        ({"axes": {"train.lr": RANGE}}, "axes.train.lr: a grid needs a list of values; a range is for search random"),
        ({"axes": [1]}, "axes: must be an object"),
        ({"search": "gird"}, "search: must be 'grid' or 'random'"),
        ({"points": 3}, "points: is the number of random points: needed with search random"),
        ({"search": "random"}, "points: is the number of random points: needed with search random"),
        ({"search": "random", "points": 0}, "points: must be greater than or equal to 1"),
        ({"include": [{}]}, "include, item 1: has no value for train.lr"),
        ({"include": [{"train.lr": 1, "train.warmup": 0}]}, "include, item 1: train.warmup: is not one of the axes"),
        ({"set": {"train.lr": 1}}, "train.lr: is an axis and in set; keep one of the two"),
        ({"set": [1]}, "set: must be an object"),
        ({"seeds": []}, "seeds: is empty; name at least one, as in [7]"),
        ({"seeds": [7, 8, 7]}, "seeds: a seed stands there twice"),
        ({"seeds": [7.5]}, "seeds.0: must be a valid integer"),
        ({"retries": -1}, "retries: must be greater than or equal to 0"),
        ({"halving": {"first": 0}}, "halving.first: must be greater than 0"),
        ({"halving": {"first": 1, "factor": 1}}, "halving.factor: must be greater than or equal to 2"),
        ({"halving": {}}, "halving.first: missing"),
        ({"base": 3}, "base: "),
        ({"checkpoint": " "}, "checkpoint: "),
    ],
)
def test_read_sweep_file_fault_is_named(write_sweep: Write, fields: dict[str, Any], message: str):
    assert len(faults := faults_of(write_sweep(**fields))) == 1
    assert faults[0].startswith(message)


@pytest.mark.parametrize(
    ("axis", "message"),
    [
        ({"low": 0, "high": 1}, "axes.train.lr.low: must be above 0 on a log scale; use scale linear"),
        ({"low": -1, "high": 1}, "axes.train.lr.low: must be above 0 on a log scale; use scale linear"),
        ({"low": 0.01, "high": 0.001}, "axes.train.lr.high: must be above low=0.01"),
        ({"low": 0.01, "high": 0.01}, "axes.train.lr.high: must be above low=0.01"),
        ({"low": "1e-5", "high": 1}, "axes.train.lr.low: must be a valid number"),
        (RANGE | {"scale": "logg"}, "axes.train.lr.scale: must be 'log' or 'linear'"),
        (RANGE | {"step": 1}, "axes.train.lr.step: unknown key; known: low, high, scale"),
        (5, "axes.train.lr: must be a list of values, or a range such as"),
    ],
)
def test_read_sweep_file_faulty_range_is_one_fault_that_names_the_field(write_sweep: Write, axis: Any, message: str):
    faults = faults_of(write_sweep(axes={"train.lr": axis}, **RANDOM))
    assert len(faults) == 1, faults
    assert faults[0].startswith(message)


@pytest.mark.parametrize("key", ["work_dir", "train.seed", "checkpoint.select", "eval.split"])
def test_read_sweep_file_key_that_cannot_be_an_axis_is_refused_with_the_reason(write_sweep: Write, key: str):
    (fault,) = faults_of(write_sweep(axes={key: ["val"]}))
    reason = {"work_dir": "a folder of its own", "train.seed": "list the seeds in seeds"}
    assert fault.startswith(f"axes.{key}: ")
    assert reason.get(key, "it can stand in set") in fault


@pytest.mark.parametrize("key", ["work_dir", "train.seed"])
def test_read_sweep_file_key_that_trials_differ_in_is_refused_in_set(write_sweep: Write, key: str):
    (fault,) = faults_of(write_sweep(set={key: 3}))
    assert fault.startswith(f"set.{key}: ")


def test_read_sweep_file_key_that_all_trials_share_is_taken_in_set(write_sweep: Write):
    shared = {"checkpoint.select": "CIDEr", "eval.split": "test"}
    assert read_sweep_file(write_sweep(set=shared), {}, None).set == shared


def test_read_sweep_file_several_faults_are_told_at_once(write_sweep: Write):
    head, *faults = faults_of(write_sweep(serch="grid", seeds=[], retries=-1))
    assert head == "3 faults in the sweep file:"
    # Their order is pydantic's, which has changed between its releases.
    assert sorted(faults) == [
        "retries: must be greater than or equal to 0",
        "seeds: is empty; name at least one, as in [7]",
        "serch: unknown key; did you mean search?",
    ]


def test_read_sweep_file_several_faulty_axes_are_told_at_once(write_sweep: Write):
    faults = faults_of(write_sweep(axes={"train.lrr": [], "train.seed": [1]}, set={"foo.bar": 1}))
    for start in ("axes.train.lrr: is empty", "axes.train.lrr: unknown", "axes.train.seed: ", "set.foo.bar: unknown"):
        assert any(fault.startswith(start) for fault in faults), start


def test_read_sweep_file_faulty_field_does_not_hide_an_unknown_axis(write_sweep: Write):
    message = "\n".join(faults_of(write_sweep(retries=-1, axes={"train.lrr": [1]})))
    assert "retries: must be" in message
    assert "axes.train.lrr: unknown key; did you mean train.lr?" in message


def test_read_sweep_file_overrides_win_over_set(write_sweep: Write):
    file = read_sweep_file(write_sweep(set={"train.epochs": 1, "train.warmup": 0}), {"train.epochs": 5}, None)
    assert file.set == {"train.epochs": 5, "train.warmup": 0}


def test_read_sweep_file_override_of_an_axis_is_refused(write_sweep: Write):
    with pytest.raises(ValueError, match="train.lr: is an axis and in set"):
        read_sweep_file(write_sweep(), {"train.lr": 0.1}, None)


def test_read_sweep_file_override_does_not_hide_a_faulty_set(write_sweep: Write):
    with pytest.raises(ValueError, match="set: must be an object"):
        read_sweep_file(write_sweep(set=[1]), {"train.epochs": 5}, None)


@pytest.mark.parametrize(("given", "expected"), [("new", "new"), (None, "old")])
def test_read_sweep_file_checkpoint_replaces_the_files(write_sweep: Write, given: str | None, expected: str):
    assert read_sweep_file(write_sweep(checkpoint="old"), {}, given).checkpoint == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "grid.json: the top level must be an object"),
        ('{"base": "conf', "grid.json, line 1, column 1.*: not valid JSON"),
        ('{"axes": {"train.lr": [1]}}', "grid.json: base: missing"),
    ],
)
def test_read_sweep_file_no_sweep_in_it_is_refused(tmp_path: Path, text: str, message: str):
    (tmp_path / "grid.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_sweep_file(tmp_path / "grid.json", {}, None)


def test_read_sweep_file_missing_names_the_path(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="grid.json: no such file"):
        read_sweep_file(tmp_path / "grid.json", {}, None)


@pytest.mark.parametrize("scale", ["log", "linear"])
def test_range_draws_are_uniform_on_the_scale(scale: str):
    """Kolmogorov's D of 2,000 draws stays below 0.0436 with probability 0.999 (1.95 / sqrt(2000)).

    Rounding to three digits moves a draw by at most half a percent, so the share below any number by less than
    log(1.005) / log(1e4) = 0.0006 on the log scale, and less than 0.005 on the linear one.
    """
    drawn_from, generator = Range(low=1e-5, high=1e-1, scale=scale), random.Random(3)
    draws = sorted(drawn_from.draw(generator) for _ in range(2000))
    if scale == "log":
        expected = [math.log(draw / 1e-5) / math.log(1e4) for draw in draws]
    else:
        expected = [(draw - 1e-5) / (1e-1 - 1e-5) for draw in draws]
    distance = max(max(abs(share - rank / 2000), abs(share - (rank + 1) / 2000)) for rank, share in enumerate(expected))
    assert distance < 0.0436 + 0.005


def test_range_log_and_linear_draws_have_other_medians():
    medians = []
    for scale in ("log", "linear"):
        generator, drawn_from = random.Random(3), Range(low=1e-4, high=1.0, scale=scale)
        medians.append(sorted(drawn_from.draw(generator) for _ in range(501))[250])
    # sqrt(1e-4 * 1) = 0.01 and 0.5; the rank of a median of 501 has a standard deviation of 2.2% of the range.
    assert 0.01 * 10**-0.4 < medians[0] < 0.01 * 10**0.4
    assert medians[1] == pytest.approx(0.5, abs=0.1)


def test_range_draws_have_three_digits_within_the_ends():
    drawn_from, generator = Range(low=0.0012345, high=0.0098765), random.Random(0)
    draws = [drawn_from.draw(generator) for _ in range(3000)]
    assert min(draws) >= 0.0012345
    assert max(draws) <= 0.0098765
    inner = [draw for draw in draws if draw not in (0.0012345, 0.0098765)]
    assert len(inner) > 2900
    assert all(float(f"{draw:.2e}") == draw for draw in inner)


def test_range_draw_rounded_past_an_end_is_that_end():
    class End(random.Random):
        def uniform(self, a: float, b: float) -> float:
            return b

    assert Range(low=1.0, high=1.23456).draw(End()) == 1.23  # inside: rounded down
    assert Range(low=1.0, high=1.23666).draw(End()) == 1.23666  # 1.24 is outside
