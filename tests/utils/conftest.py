"""Fixtures for the configuration tests."""

from __future__ import annotations

import json
import os

import pytest

from utils.config import load_config

SMALLEST = {"model": {"preset": "nano"}, "data": {"format": "drawn_scenes"}}


@pytest.fixture
def load(tmp_path):
    """Writes a document as conf.json and loads it."""

    def write_and_load(document=SMALLEST, overrides=(), flags=None, **groups):
        path = tmp_path / "conf.json"
        path.write_text(document if isinstance(document, str) else json.dumps(document | groups))
        return load_config(path, overrides, flags)

    return write_and_load


@pytest.fixture
def faults(load, tmp_path):
    """Loads a document that must be refused; returns the fault lines without the folder of the file."""

    def write_and_fail(*arguments, **groups):
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - every caller looks at the lines
            load(*arguments, **groups)
        lines = str(caught.value).replace(f"{tmp_path}{os.sep}", "").splitlines()
        if len(lines) > 1:
            assert lines[0] == f"{len(lines) - 1} faults in the configuration:"
            lines = lines[1:]
        return lines

    return write_and_fail
