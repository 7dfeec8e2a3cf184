from __future__ import annotations

import logging

import pytest

from runs import source
from runs.folder import Run
from runs.source import changed_files, differing_files, keep_source, source_copies, warn_of_other_source


@pytest.fixture
def code(monkeypatch, tmp_path):
    """A repository of two files, and a run."""
    (tmp_path / "code/utils").mkdir(parents=True)
    (tmp_path / "code/finetune.py").write_text("program")
    (tmp_path / "code/utils/a.py").write_text("one")
    (tmp_path / "conf.json").write_text("{}")
    monkeypatch.setattr(source, "REPOSITORY", tmp_path / "code")
    monkeypatch.setattr(source, "PACKAGES", ("utils",))
    (tmp_path / "run").mkdir()
    return tmp_path / "code", Run(tmp_path / "run"), tmp_path / "conf.json"


def test_code_of_the_first_start_stays_and_other_code_is_kept_beside_it(code, caplog):
    folder, run, conf = code
    keep_source(run, conf)
    keep_source(run, conf)
    assert [copy.name for copy in source_copies(run)] == ["source"]
    assert changed_files(run) == []
    warn_of_other_source(run)
    assert not caplog.records
    (folder / "utils/a.py").write_text("two")
    (folder / "utils/b.py").write_text("new")
    keep_source(run, conf)
    assert [copy.name for copy in source_copies(run)] == ["source", "source-2"]
    assert (run.source / "utils/a.py").read_text() == "one"
    assert (run.root / "source-2/utils/a.py").read_text() == "two"
    assert changed_files(run) == ["utils/a.py", "utils/b.py"]
    with caplog.at_level(logging.WARNING):
        warn_of_other_source(run)
    assert "utils/a.py, utils/b.py" in caplog.text
    assert "source-2" in caplog.text


def test_copies_are_bounded_and_the_first_and_the_newest_are_kept(code):
    folder, run, conf = code
    for number in range(1, 10):
        (folder / "utils/a.py").write_text(f"number {number}")
        keep_source(run, conf)
    names = ["source", "source-6", "source-7", "source-8", "source-9"]
    assert [copy.name for copy in source_copies(run)] == names
    assert [(copy / "utils/a.py").read_text() for copy in source_copies(run)][::4] == ["number 1", "number 9"]
    assert not [path for path in run.root.iterdir() if path.name.startswith(".")]


def test_another_configuration_file_is_kept_but_is_no_other_code(code):
    _, run, conf = code
    keep_source(run, conf)
    conf.write_text('{"eval": {}}')
    keep_source(run, conf)
    assert (run.root / "source-2/conf.json").read_text() == '{"eval": {}}'
    assert changed_files(run) == []


def test_runs_are_compared_by_their_first_code_and_none_without_a_copy(code, tmp_path):
    folder, run, conf = code
    other = Run(tmp_path / "other")
    other.root.mkdir()
    assert changed_files(run) is None
    keep_source(run, conf)
    assert differing_files(run, other) is None
    (folder / "utils/a.py").unlink()
    keep_source(other, None)
    assert differing_files(run, other) == ["utils/a.py"]
