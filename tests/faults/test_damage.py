"""Every file of a checkpoint damaged in every way: the older one is taken and the reason told, or the run refuses."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tqdm import tqdm

from runs.checkpoints import Verifier, choose_checkpoint
from runs.folder import Run
from tests.faults import tiny
from tests.faults.stops import PROGRAM, go_on
from tests.faults.tally import IS_LONG
from utils.errors import Fault
from utils.io import read_json


def absent(file: Path, other: Path) -> None:
    file.unlink()


def empty(file: Path, other: Path) -> None:
    file.write_bytes(b"")


def half(file: Path, other: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def one_bit(file: Path, other: Path) -> None:
    data = bytearray(file.read_bytes())
    data[random.Random(file.name).randrange(len(data))] ^= 1 << len(data) % 8
    file.write_bytes(data)


def zeros(file: Path, other: Path) -> None:
    file.write_bytes(bytes(file.stat().st_size))


def swapped(file: Path, other: Path) -> None:
    file.write_bytes(other.read_bytes())


def shortened(file: Path, other: Path) -> None:
    file.write_bytes(file.read_bytes().rstrip(b"\n")[:-1])


DAMAGES: tuple[Callable[[Path, Path], None], ...] = (absent, empty, half, one_bit, zeros, swapped, shortened)


@pytest.fixture(scope="module")
def paused(warm, scenes, tmp_path_factory) -> Path:
    """Configuration of a run that is paused after checkpoints 9 and 18."""
    folder = tmp_path_factory.mktemp("paused")
    conf = tiny.write_conf(tiny.document(scenes), folder, "run")
    assert warm.call(PROGRAM, folder / "log", arguments=["--conf", str(conf), "--pause_after", "1.2"]) == 0
    return conf


@pytest.fixture
def copied(paused, scenes, tmp_path) -> Callable[[str], Path]:
    """Copies the paused run to another place, with a configuration that names it there."""

    def copy(name: str) -> Path:
        shutil.copytree(paused.with_suffix(""), tmp_path / name)
        return tiny.write_conf(tiny.document(scenes), tmp_path, name)

    return copy


def damages(run: Run) -> list[tuple[str, Callable[[Path, Path], None]]]:
    names = sorted(path.name for path in run.checkpoint(18).iterdir())
    return [(name, damage) for name in names for damage in DAMAGES]


def is_changed(run: Run, name: str, damage: Callable[[Path, Path], None]) -> bool:
    """Damage a file of the newest checkpoint; whether its content is another one now."""
    file, before = run.checkpoint(18) / name, (run.checkpoint(18) / name).read_bytes()
    damage(file, run.checkpoint(9) / name)
    return not file.exists() or file.read_bytes() != before


def test_newest_checkpoint_damaged_anywhere_is_passed_over_with_its_reason(paused, tmp_path, tally, caplog):
    run = Run(paused.with_suffix(""))
    for name, damage in damages(run):
        other = Run(tmp_path / f"{name}-{damage.__name__}")
        shutil.copytree(run.checkpoints, other.checkpoints)
        if not is_changed(other, name, damage):
            continue
        caplog.clear()
        chosen = choose_checkpoint(other, Verifier())
        why = "" if chosen is not None and chosen.step == 9 else f"{name} {damage.__name__}: took {chosen}"
        if f"passed over checkpoint-18: {'' if name == 'MANIFEST.json' else name}" not in caplog.text:
            why = why or f"{name} {damage.__name__}: said {caplog.text}"
        tally(damage.__name__, "file of the newest checkpoint", why)


def test_run_whose_newest_checkpoint_is_damaged_ends_with_equal_bytes(warm, whole, copied, tally, tmp_path):
    expected = whole()
    tried = damages(Run(copied("first").with_suffix("")))
    chosen = tried if IS_LONG else random.Random(3).sample(tried, 2)
    for number, (name, damage) in enumerate(tqdm(chosen, desc="damaged", disable=not IS_LONG)):
        conf = copied(f"run {number}")  # a space in its name does not matter either
        is_changed(Run(conf.with_suffix("")), name, damage)
        why = go_on(warm, conf, tmp_path / "log", 1, expected)
        tally(damage.__name__, "resumed run", f"{name} {damage.__name__}: {why}" if why else "")


@pytest.mark.parametrize("damage", DAMAGES if IS_LONG else (one_bit,))
def test_lost_best_ends_with_exit_1_and_what_to_do_or_with_the_next(warm, scenes, tally, tmp_path, damage):
    """With a learning rate that changes no weight all checkpoints are equal, on any machine: the first is the best."""
    stays = {"lr": 1e-30, "lr_end": 1e-30, "freeze": ["vision"]}
    conf, log = tiny.write_conf(tiny.document(scenes, **stays), tmp_path, "run"), tmp_path / "log"
    run = Run(conf.with_suffix(""))
    assert warm.call(PROGRAM, log, arguments=["--conf", str(conf)]) == 0
    assert read_json(run.best)["step"] == 9
    shutil.rmtree(run.output)
    damage(run.checkpoint(9) / "model.safetensors", run.checkpoint(24) / "model.safetensors")
    code = warm.call(PROGRAM, log, arguments=["--conf", str(conf)])
    said = log.read_text()
    right = code == 1 and "the best checkpoint is lost (checkpoint-9: model.safetensors" in said
    right = right and "--set checkpoint.on_lost_best=next" in said and not run.output.exists()
    tally("best lost", "end of training", "" if right and "Traceback" not in said else f"{code}: {said[-1500:]}")
    code = warm.call(PROGRAM, log, arguments=["--conf", str(conf), "--set", "checkpoint.on_lost_best=next"])
    tally("best lost", "on_lost_best=next", "" if code == 0 and run.output.is_dir() else log.read_text()[-1500:])


def test_run_without_a_good_checkpoint_is_refused(warm, copied, tally, tmp_path):
    conf, log = copied("run"), tmp_path / "log"
    for step in (9, 18):
        empty(Run(conf.with_suffix("")).checkpoint(step) / "optimizer.pt", Path())
    code = warm.call(PROGRAM, log, arguments=["--conf", str(conf)])
    said = log.read_text()
    right = code == 1 and "no checkpoint can be used" in said and "checkpoint-9: optimizer.pt has 0 bytes" in said
    tally("all damaged", "start", "" if right and "Traceback" not in said else f"{code}: {said[-1500:]}")
    with pytest.raises(Fault, match="no checkpoint can be used"):
        choose_checkpoint(Run(conf.with_suffix("")), Verifier())


def test_checkpoint_of_another_step_or_run_in_its_place_is_not_taken(paused, tmp_path, tally):
    run = Run(tmp_path / "run")
    shutil.copytree(Run(paused.with_suffix("")).checkpoints, run.checkpoints)
    shutil.rmtree(run.checkpoint(18))
    shutil.copytree(run.checkpoint(9), run.checkpoint(18))
    chosen = choose_checkpoint(run, Verifier())
    tally("swapped", "whole folder", "" if chosen is not None and chosen.step == 9 else f"took {chosen}")
