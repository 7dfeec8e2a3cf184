from __future__ import annotations

import io
import json
import sys

import pytest

from utils.console import escape_what_cannot_be_shown, json_line

SHOWN = {"ascii": "caf\\xe9 \\U0001f600", "latin-1": "café \\U0001f600", "utf-8": "café 😀"}


@pytest.mark.parametrize("encoding", SHOWN)
def test_results_are_json_whatever_the_console_can_show(encoding: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding))
    found = {"café": 0.25, "sun 😀": ["浪漫", None, "\\"]}
    line = json_line(found)
    assert json.loads(line.encode(encoding).decode(encoding)) == found
    assert ("😀" in line) == (encoding == "utf-8")


@pytest.mark.parametrize(("encoding", "shown"), SHOWN.items())
def test_captions_are_printed_whatever_the_console_can_show(encoding: str, shown: str, monkeypatch: pytest.MonkeyPatch):
    content = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(content, encoding))
    escape_what_cannot_be_shown()
    sys.stdout.write("café 😀")
    sys.stdout.flush()
    assert content.getvalue().decode(encoding) == shown
