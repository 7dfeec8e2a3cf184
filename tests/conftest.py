"""Fixtures that every test package shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with the golden numbers and the real data; the test is skipped where it is absent."""
    folder = Path(os.environ.get("STYLECAP_SHARED", REPOSITORY.parent / "shared"))
    if not (folder / "golden").is_dir():
        pytest.skip(f"no shared data at {folder}; set STYLECAP_SHARED to the folder that holds golden/ and data/")
    return folder
