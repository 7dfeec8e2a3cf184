from __future__ import annotations

from pathlib import Path

import modelscope
import pytest

from utils.hub import resolve_model_folder


class Hub:
    def __init__(self, folder):
        self.folder = folder
        self.calls = []

    def snapshot_download(self, model_id, *, revision=None):
        self.calls.append((model_id, revision))
        if model_id != "damo/ofa_tiny":
            raise ConnectionError("404 Not Found")
        return str(self.folder)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub that holds one model; the calls it gets are listed in ``calls``."""

    fake = Hub(tmp_path / "cache" / "damo" / "ofa_tiny")
    fake.folder.mkdir(parents=True)
    monkeypatch.setattr(modelscope, "snapshot_download", fake.snapshot_download)
    monkeypatch.chdir(tmp_path)
    return fake


def test_resolve_model_folder_hub_id_is_downloaded_at_its_revision(hub):
    assert resolve_model_folder("damo/ofa_tiny", revision="v1.0.2") == hub.folder
    assert resolve_model_folder("damo/ofa_tiny") == hub.folder
    assert hub.calls == [("damo/ofa_tiny", "v1.0.2"), ("damo/ofa_tiny", None)]


def test_resolve_model_folder_existing_folder_is_itself_without_the_hub(hub, tmp_path, monkeypatch):
    (tmp_path / "damo" / "ofa_tiny").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve_model_folder("damo/ofa_tiny") == Path("damo/ofa_tiny")
    assert resolve_model_folder("~/damo/ofa_tiny/") == tmp_path / "damo" / "ofa_tiny"
    assert hub.calls == []


@pytest.mark.parametrize("name", ["./gone", "../gone/model", "/gone", "~/gone", "gone/", "work_dir/gone/output"])
def test_resolve_model_folder_missing_path_never_asks_the_hub(hub, name):
    with pytest.raises(FileNotFoundError, match=f"model {name}: no such folder; check the path"):
        resolve_model_folder(name)
    assert hub.calls == []


def test_resolve_model_folder_file_names_its_folder(hub, tmp_path):
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(FileNotFoundError, match=r"pytorch_model\.bin: is a file; give the folder that holds it"):
        resolve_model_folder("pytorch_model.bin")


def test_resolve_model_folder_hub_failure_names_id_cause_and_remedy(hub):
    with pytest.raises(ValueError, match=r"model damo/ofa_tyni, revision v2: .*404 Not Found.*check the name and the"):
        resolve_model_folder("damo/ofa_tyni", "v2")


def test_resolve_model_folder_download_that_left_no_folder_is_refused(hub):
    hub.folder.rmdir()
    with pytest.raises(ValueError, match="which is no folder"):
        resolve_model_folder("damo/ofa_tiny")
