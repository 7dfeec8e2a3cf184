"""Where trials run: what the user writes, what there is, and what a trial's environment says."""

from __future__ import annotations

import os
import re

import pytest

from sweeps.trials import slots
from sweeps.trials.slots import Slot, check_gpus, count_gpus, parse_slots, slot_environment


@pytest.mark.parametrize(
    ("text", "devices"),
    [
        ("0", [("0",)]),
        ("0,2,3", [("0",), ("2",), ("3",)]),
        ("0+1,2+3", [("0", "1"), ("2", "3")]),
        ("cpu,cpu", [("cpu",), ("cpu",)]),
        ("cpu+cpu", [("cpu", "cpu")]),
        ("0,cpu", [("0",), ("cpu",)]),
        (" 0 + 1 , 2+ 3 ", [("0", "1"), ("2", "3")]),
        ("00,010", [("0",), ("10",)]),
    ],
)
def test_parse_slots_forms(text: str, devices: list[tuple[str, ...]]):
    assert [slot.devices for slot in parse_slots(text)] == devices


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is no id; write GPU numbers or cpu, as in 0,2,3"),
        ("0,", "'' is no id"),
        ("0,,1", "'' is no id"),
        ("0+", "'' is no id"),
        (" ", "'' is no id"),
        ("-1", "'-1' is no id"),
        ("a", "'a' is no id"),
        ("CPU", "'CPU' is no id"),
        ("0 1", "'0 1' is no id"),
        ("0;1", "'0;1' is no id"),
        ("1.0", "'1.0' is no id"),
        ("²", "'²' is no id"),
        ("٣", "'٣' is no id"),
        ("0,0", "GPU 0 stands there twice; a GPU takes one trial at a time"),
        ("3+4,0+1,2+1", "GPU 1 stands there twice"),
        ("0,00", "GPU 0 stands there twice"),
        ("2+2", "GPU 2 stands there twice"),
        ("0+cpu", "a slot has GPUs or the CPU, not both"),
        ("1+2,cpu+0", "a slot has GPUs or the CPU, not both"),
    ],
)
def test_parse_slots_fault_is_named_with_what_was_written(text: str, message: str):
    with pytest.raises(ValueError, match=re.escape(f"GPU_IDS={text}: {message}")):
        parse_slots(text)


@pytest.mark.parametrize("text", ["0+1,2", "0,1+2+3", "cpu,cpu+cpu", "0+1,cpu"])
def test_parse_slots_of_different_sizes_is_refused(text: str):
    """Two processes take twice the rows per step: what a trial comes to would depend on the slot that was free."""
    with pytest.raises(ValueError, match=re.escape(f"GPU_IDS={text}: ")):
        parse_slots(text)


def test_slot_reads_as_it_is_written_and_tells_gpus_from_cpu():
    assert [str(slot) for slot in parse_slots("0+1,cpu+cpu")] == ["0+1", "cpu+cpu"]
    assert [slot.gpus for slot in parse_slots("0+1,cpu+cpu")] == [("0", "1"), ()]


@pytest.mark.parametrize(
    ("count", "text", "message"),
    [
        (0, "0", "there is no GPU 0: this machine has no GPU that torch can use; use cpu"),
        (0, "1+2,0+3", "there is no GPU 0, 1, 2, 3: this machine has no GPU that torch can use; use cpu"),
        (1, "0,1", "there is no GPU 1: this machine has GPU 0 only; use 0"),
        (4, "0+1,5+4,3+2", "there is no GPU 4, 5: this machine has GPUs 0 to 3; use 0 to 3"),
        (4, "10", "there is no GPU 10: this machine has GPUs 0 to 3"),
    ],
)
def test_check_gpus_absent_ones_are_named_with_what_there_is(
    monkeypatch: pytest.MonkeyPatch, count: int, text: str, message: str
):
    monkeypatch.setattr(slots, "count_gpus", lambda: count)
    with pytest.raises(ValueError, match=f"GPU_IDS: {message}"):
        check_gpus(parse_slots(text))


@pytest.mark.parametrize(("count", "text"), [(1, "0"), (4, "0,1,2,3"), (4, "3+0"), (1, "0,cpu")])
def test_check_gpus_present_ones_pass(monkeypatch: pytest.MonkeyPatch, count: int, text: str):
    monkeypatch.setattr(slots, "count_gpus", lambda: count)
    check_gpus(parse_slots(text))


def test_check_gpus_on_the_cpu_does_not_start_torch(monkeypatch: pytest.MonkeyPatch):
    def never() -> int:
        raise AssertionError("torch was started for nothing")

    monkeypatch.setattr(slots, "count_gpus", never)
    check_gpus(parse_slots("cpu+cpu,cpu+cpu"))
    with pytest.raises(AssertionError, match="for nothing"):
        check_gpus(parse_slots("cpu,0"))


def test_count_gpus_asks_a_process_that_sees_all_of_them(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.setattr(slots, "COUNT_GPUS", "import os; print(7 if 'CUDA_VISIBLE_DEVICES' not in os.environ else 1)")
    assert count_gpus() == 7
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"


def test_count_gpus_failing_torch_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(slots, "COUNT_GPUS", "raise RuntimeError('driver too old')")
    with pytest.raises(ValueError, match="torch could not count the GPUs:\n.*(.*\n)*RuntimeError: driver too old"):
        count_gpus()


@pytest.mark.parametrize(
    ("place", "text", "visible"), [(1, "0,2,3", "2"), (0, "1+0,2+3", "1,0"), (1, "0,cpu", ""), (0, "cpu+cpu", "")]
)
def test_slot_environment_shows_the_slots_gpus_only(place: int, text: str, visible: str):
    taken = parse_slots(text)
    assert slot_environment(taken[place], taken, {})["CUDA_VISIBLE_DEVICES"] == visible


@pytest.mark.parametrize(
    ("cores", "text", "threads"),
    [(8, "cpu,cpu", "4"), (8, "cpu+cpu,cpu+cpu", "2"), (8, "0,cpu", "8"), (2, "cpu,cpu,cpu", "1"), (7, "cpu,cpu", "3")],
)
def test_slot_environment_cpu_slots_share_the_cores(
    monkeypatch: pytest.MonkeyPatch, cores: int, text: str, threads: str
):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {*range(cores)})
    taken = parse_slots(text)
    assert slot_environment(taken[-1], taken, {})["OMP_NUM_THREADS"] == threads


def test_slot_environment_keeps_the_users_number_of_threads():
    assert "OMP_NUM_THREADS" not in slot_environment(Slot(("cpu",)), [Slot(("cpu",))] * 2, {"OMP_NUM_THREADS": "9"})


def test_slot_environment_of_a_gpu_says_nothing_about_threads():
    assert slot_environment(Slot(("0",)), parse_slots("0,cpu"), {}) == {
        "CUDA_VISIBLE_DEVICES": "0",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    }
