from __future__ import annotations

import re
import subprocess

import pytest

from utils import environment as module
from utils.environment import describe_environment


def test_describe_environment_versions_are_the_installed_ones(monkeypatch):
    monkeypatch.setattr(module, "RECORDED_DISTRIBUTIONS", ("pytest", "no-such-distribution"))
    environment = describe_environment()
    assert environment["packages"] == {"pytest": pytest.__version__, "no-such-distribution": None}
    assert environment["cpu_count"] >= 1


def test_describe_environment_git_tells_commit_and_uncommitted_changes(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "REPOSITORY", tmp_path)
    assert describe_environment()["git"] is None
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    for arguments in (["init", "-q"], [*identity, "commit", "-q", "--allow-empty", "-m", "x"]):
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True)
    git = describe_environment()["git"]
    assert re.fullmatch("[0-9a-f]{40}", git["commit"])
    assert git["dirty"] is False
    (tmp_path / "new.py").touch()
    assert describe_environment()["git"] == {"commit": git["commit"], "dirty": True}
