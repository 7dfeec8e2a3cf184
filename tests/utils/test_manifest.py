from __future__ import annotations

import pytest

from utils.io import read_json, write_json
from utils.manifest import MANIFEST_FILE, find_faults, read_manifest, seal


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "weights").write_bytes(bytes(range(256)) * 8)
    (tmp_path / "inner/words").write_text("a b c")
    seal(tmp_path, {"step": 3})
    return tmp_path


def test_sealed_folder_is_whole_and_says_what_its_writer_said(folder):
    manifest = read_manifest(folder)
    assert set(manifest.files) == {"weights", "inner/words"}
    assert manifest.about == {"step": 3}
    assert find_faults(folder) == []


def test_every_bit_counts(folder):
    whole = (folder / "weights").read_bytes()
    for place in range(0, len(whole), 97):
        data = bytearray(whole)
        data[place] ^= 1 << place % 8
        (folder / "weights").write_bytes(data)
        assert find_faults(folder) == ["weights has other content than was saved"]


def test_all_missing_and_short_files_are_told_at_once(folder):
    (folder / "weights").write_bytes(b"")
    (folder / "inner/words").unlink()
    assert find_faults(folder) == ["inner/words is missing", "weights has 0 bytes and was saved with 2,048"]


def test_file_that_was_put_there_later_is_no_fault_and_a_new_seal_takes_it_in(folder):
    (folder / "README").write_text("mine")
    assert find_faults(folder) == []
    seal(folder)
    assert set(read_manifest(folder).files) == {"README", "weights", "inner/words"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format_version": 2}, "has format_version 2, and this program knows 1; update it"),
        ({"format_version": None}, "does not say its format_version"),
        ({"files": {"weights": {"size": "x", "sha256": ""}}}, "an entry has no size or sha256"),
        ({"files": ["weights"]}, "an entry has no size or sha256"),
        ({"files": {"../other": {"size": 1, "sha256": ""}}}, r"names \.\./other, which is outside of its folder"),
        ({"files": {"/etc/passwd": {"size": 1, "sha256": ""}}}, "names /etc/passwd, which is outside of its folder"),
    ],
)
def test_damaged_or_hostile_manifest_is_refused(folder, change, said):
    write_json(folder / MANIFEST_FILE, read_json(folder / MANIFEST_FILE) | change)
    with pytest.raises(ValueError, match=said):
        find_faults(folder)


@pytest.mark.parametrize(("said", "other"), [('"step": 3', '"step": 7'), ('"sha256"', '"sha257"'), ("2048", "2049")])
def test_manifest_that_says_something_else_than_was_written_is_refused(folder, said, other):
    """What a manifest says of its folder, such as a step or a score, has no other guard."""
    path = folder / MANIFEST_FILE
    path.write_text(path.read_text().replace(said, other))
    with pytest.raises(ValueError, match="is damaged"):
        read_manifest(folder)
