"""A trained model for tests that use one."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def memorised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a model that says of every picture what ``tests.memorised_model`` taught it."""
    from tests.memorised_model import save_memorised

    folder = tmp_path_factory.mktemp("memorised") / "tiny" / "output"
    assert save_memorised(folder) < 0.1
    return folder
