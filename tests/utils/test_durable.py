from __future__ import annotations

import os
import shutil

import pytest

from utils import durable
from utils.durable import clear_leftovers, put_in_place, recover_folder, remove_folder, replaced_folder


def write(folder, text):
    with replaced_folder(folder) as aside:
        (aside / "file").write_text(text)


def test_folder_is_replaced_and_nothing_is_left_beside_it(tmp_path):
    write(tmp_path / "model", "old")
    write(tmp_path / "model", "new")
    assert (tmp_path / "model/file").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_block_that_fails_leaves_the_old_folder(tmp_path):
    write(tmp_path / "model", "old")
    with pytest.raises(FileNotFoundError), replaced_folder(tmp_path / "model") as aside:
        (aside / "absent/file").write_text("half")
    assert (tmp_path / "model/file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_kill_between_the_two_renames_is_mended(tmp_path, monkeypatch):
    write(tmp_path / "model", "old")
    aside = tmp_path / ".tmp-model"
    aside.mkdir()
    usual, renames = type(aside).rename, []

    def rename(self, target):
        renames.append(target)
        if len(renames) == 2:
            raise KeyboardInterrupt  # as good as a kill: nothing catches it
        return usual(self, target)

    monkeypatch.setattr(type(aside), "rename", rename)
    with pytest.raises(KeyboardInterrupt):
        put_in_place(aside, tmp_path / "model")
    monkeypatch.undo()
    assert not (tmp_path / "model").exists()
    assert recover_folder(tmp_path / "model")
    assert (tmp_path / "model/file").read_text() == "old"
    assert not recover_folder(tmp_path / "model")


def test_rename_that_is_refused_puts_the_old_folder_back(tmp_path):
    write(tmp_path / "model", "old")
    with pytest.raises(OSError, match="No such file"):
        put_in_place(tmp_path / "absent", tmp_path / "model")
    assert (tmp_path / "model/file").read_text() == "old"


def test_what_was_set_aside_of_a_neighbour_is_left_alone(tmp_path):
    """`model` and `model-b` stand side by side, and so do folders with brackets, which are no patterns here."""
    for name in ("model", "model[1]"):
        write(tmp_path / name, "old")
        (tmp_path / f".replaced-{name}-b-0123abcd").mkdir()
        (tmp_path / f".removed-{name}-b-0123abcd").mkdir()
        (tmp_path / f".removed-{name}-0123abcd").mkdir()
        write(tmp_path / name, "new")
        assert (tmp_path / name / "file").read_text() == "new"
        left = {path.name for path in tmp_path.iterdir() if f"{name}-" in path.name}
        assert left == {f".replaced-{name}-b-0123abcd", f".removed-{name}-b-0123abcd"}
        shutil.rmtree(tmp_path / name)
        assert not recover_folder(tmp_path / name)


def test_leftovers_are_cleared_and_what_was_set_aside_comes_back(tmp_path):
    for name in (".tmp-checkpoint-4", ".removed-checkpoint-1-ab", ".replaced-checkpoint-2-0123abcd", "checkpoint-3"):
        (tmp_path / name).mkdir()
    (tmp_path / ".replaced-checkpoint-3-0123abcd").mkdir()
    clear_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-2", "checkpoint-3"]


def test_folder_that_is_only_half_removed_has_lost_its_name(tmp_path, monkeypatch):
    write(tmp_path / "model", "old")
    monkeypatch.setattr(durable.shutil, "rmtree", lambda *_, **__: None)
    remove_folder(tmp_path / "model")
    assert not (tmp_path / "model").exists()
    assert os.listdir(tmp_path)[0].startswith(".removed-model-")
    remove_folder(tmp_path / "absent")
