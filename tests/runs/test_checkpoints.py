from __future__ import annotations

import shutil

import pytest

from runs.checkpoints import (
    Verifier,
    best_first,
    choose_checkpoint,
    complete_steps,
    prune,
    read_checkpoint,
    whole_checkpoints,
)
from runs.folder import Run
from utils.errors import Fault
from utils.io import read_json, write_json
from utils.manifest import MANIFEST_FILE, seal

ABOUT = {
    "max_steps": 12,
    "epoch": 0.5,
    "processes": 1,
    "rows_per_step": 8,
    "settings": "abc",
    "awaits_validation": False,
}


def save(run: Run, step: int, score: float | None = None, weights: bytes = b"weights") -> None:
    folder = run.checkpoint(step)
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "optimizer.pt").write_bytes(b"moments")
    seal(folder, ABOUT | {"step": step, "score": score})


def bit_flipped(path):
    data = bytearray(path.read_bytes())
    data[2] ^= 4
    path.write_bytes(data)


def emptied(path):
    path.write_bytes(b"")


def shortened(path):
    path.write_bytes(path.read_bytes()[:-1])


def removed(path):
    path.unlink()


def test_checkpoint_says_what_it_is(tmp_path):
    run = Run(tmp_path)
    save(run, 12, score=0.25)
    checkpoint = read_checkpoint(run.checkpoint(12))
    assert (checkpoint.step, checkpoint.processes, checkpoint.rows_per_step, checkpoint.score) == (12, 1, 8, 0.25)
    assert checkpoint.is_finished
    assert choose_checkpoint(Run(tmp_path / "new"), Verifier()) is None


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (bit_flipped, "model.safetensors has other content than was saved"),
        (emptied, "model.safetensors has 0 bytes and was saved with 7"),
        (shortened, "model.safetensors has 6 bytes and was saved with 7"),
        (removed, "model.safetensors is missing"),
    ],
)
def test_damaged_newest_is_named_and_the_one_before_is_taken(tmp_path, caplog, damage, said):
    caplog.set_level("INFO")
    run = Run(tmp_path)
    for step in (2, 9, 10):
        save(run, step)
    damage(run.checkpoint(10) / "model.safetensors")
    assert choose_checkpoint(run, Verifier()).step == 9
    assert f"passed over checkpoint-10: {said}" in caplog.text
    assert "step 9 of 12, epoch 0.50): the newest that can be used" in caplog.text


@pytest.mark.parametrize("content", [None, "", "{", "[]", "{}", '{"format_version": 1, "files": 3, "about": {}}'])
def test_checkpoint_without_a_whole_manifest_does_not_count(tmp_path, content):
    run = Run(tmp_path)
    save(run, 3)
    save(run, 6)
    manifest = run.checkpoint(6) / MANIFEST_FILE
    manifest.unlink()
    if content is not None:
        manifest.write_text(content)
    assert complete_steps(run) == [3]
    assert choose_checkpoint(run, Verifier()).step == 3


def test_newest_is_by_number_and_a_manifest_of_another_step_is_refused(tmp_path, caplog):
    run = Run(tmp_path)
    for step in (9, 10, 2):
        save(run, step)
    shutil.copytree(run.checkpoint(2), run.checkpoint(11))
    (run.checkpoints / ".tmp-checkpoint-12").mkdir()
    assert complete_steps(run) == [10, 9, 2]
    assert choose_checkpoint(run, Verifier()).step == 10
    assert "checkpoint-11: MANIFEST.json is that of step 2" in caplog.text


def test_file_of_another_checkpoint_is_found(tmp_path):
    run = Run(tmp_path)
    save(run, 3)
    save(run, 6, weights=b"WEIGHTS")
    shutil.copy(run.checkpoint(6) / "model.safetensors", run.checkpoint(3))
    assert Verifier().faults(run.checkpoint(3)) == ["model.safetensors has other content than was saved"]


def test_run_whose_checkpoints_are_all_damaged_is_not_begun_again(tmp_path):
    run = Run(tmp_path)
    for step in (3, 6):
        save(run, step)
        removed(run.checkpoint(step) / "optimizer.pt")
    with pytest.raises(Fault) as caught:
        choose_checkpoint(run, Verifier())
    assert str(caught.value).splitlines()[1:3] == [
        "  checkpoint-6: optimizer.pt is missing",
        "  checkpoint-3: optimizer.pt is missing",
    ]


def test_newest_that_somebody_removed_is_told(tmp_path, caplog):
    run = Run(tmp_path)
    save(run, 3)
    write_json(run.last, {"checkpoint": "checkpoint-6", "step": 6})
    assert choose_checkpoint(run, Verifier()).step == 3
    assert "passed over checkpoint-6: is gone" in caplog.text


def test_verifier_hashes_again_only_what_has_changed(tmp_path, monkeypatch):
    run, verifier, hashed = Run(tmp_path), Verifier(), []
    save(run, 3)
    from utils import manifest

    usual = manifest.hash_file
    monkeypatch.setattr(manifest, "hash_file", lambda path: hashed.append(path.name) or usual(path))
    assert verifier.faults(run.checkpoint(3)) == verifier.faults(run.checkpoint(3)) == []
    assert sorted(hashed) == ["model.safetensors", "optimizer.pt"]
    bit_flipped(run.checkpoint(3) / "optimizer.pt")
    assert verifier.faults(run.checkpoint(3)) == ["optimizer.pt has other content than was saved"]


def test_best_first_takes_the_earliest_of_equals_and_no_number_is_never_best(tmp_path):
    run = Run(tmp_path)
    for step, score in ((1, 0.5), (2, 0.25), (3, None), (4, 0.25), (5, 0.75)):
        save(run, step, score)
    found = list(whole_checkpoints(run))
    assert [item.step for item in best_first(found, greater_is_better=False)] == [2, 4, 1, 5]
    assert [item.step for item in best_first(found, greater_is_better=True)] == [5, 1, 2, 4]


def test_prune_keeps_the_newest_and_the_best(tmp_path):
    run = Run(tmp_path)
    for step, score in enumerate((0.1, 0.4, 0.3, 0.2, 0.1), start=1):
        save(run, step, score)
    assert prune(run, Verifier(), keep_last=2, keep_best=2, greater_is_better=True) == []
    assert complete_steps(run) == [5, 4, 3, 2]
    assert sorted(path.name for path in run.checkpoints.iterdir()) == [f"checkpoint-{step}" for step in (2, 3, 4, 5)]


def test_prune_counts_no_damaged_one_and_removes_none(tmp_path):
    """The damaged ones are the second newest and the best: an older one and the second best stay instead."""
    run = Run(tmp_path)
    for step, score in enumerate((0.1, 0.4, 0.3, 0.2, 0.1), start=1):
        save(run, step, score)
    bit_flipped(run.checkpoint(4) / "optimizer.pt")
    emptied(run.checkpoint(2) / "model.safetensors")
    found = prune(run, Verifier(), keep_last=2, keep_best=1, greater_is_better=True)
    assert [line.partition(":")[0] for line in found] == ["checkpoint-2", "checkpoint-4"]
    assert complete_steps(run) == [5, 4, 3, 2]  # 1 alone is gone


def test_prune_removes_nothing_without_enough_good_ones(tmp_path):
    run = Run(tmp_path)
    for step in (1, 2, 3):
        save(run, step, 0.1)
    for step in (1, 2):
        removed(run.checkpoint(step) / "optimizer.pt")
    prune(run, Verifier(), keep_last=2, keep_best=1, greater_is_better=True)
    assert complete_steps(run) == [3, 2, 1]


def test_manifest_names_sizes_and_hashes(tmp_path):
    run = Run(tmp_path)
    save(run, 3)
    listed = read_json(run.checkpoint(3) / MANIFEST_FILE)
    assert listed["format_version"] == 1
    # printf moments | sha256sum
    digest = "690a8d18f75dfaa79dd8134ac62cdad42fffe0f34cb78dd14e2d3aae3ae83ad3"
    assert listed["files"]["optimizer.pt"] == {"size": 7, "sha256": digest}
    assert set(listed["files"]) == {"model.safetensors", "optimizer.pt"}
