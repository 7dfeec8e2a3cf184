"""The examples of docs/data.md are read as what they stand under."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from preprocessors.formats.recognition import open_rows, recognise
from preprocessors.formats.rows import Source
from preprocessors.formats.table import FORMATS

DOCUMENT = (Path(__file__).parents[3] / "docs" / "data.md").read_text(encoding="utf-8")
FORMATS_PART = DOCUMENT.partition("\n## Formats")[2].partition("\n## ")[0]
EXAMPLE = re.compile(r"^`(\w+)`[^\n]*(?:\n[^`\n][^\n]*)*\n```(json|csv)\n(.*?)\n```", re.MULTILINE | re.DOTALL)
EXAMPLES = {name: (kind, content) for name, kind, content in EXAMPLE.findall(FORMATS_PART)}


def test_every_format_that_people_bring_has_a_row_and_an_example():
    rows = set(re.findall(r"^\| `(\w+)` \|", FORMATS_PART, re.MULTILINE))
    assert FORMATS.keys() - rows == set()
    assert {
        "jsonl",
        "csv",
        "coco",
        "karpathy",
        "senticap",
        "flickr30k",
        "textcaps",
        "nocaps",
        "lavis",
    } <= EXAMPLES.keys()


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_is_recognised_and_read(name, tmp_path):
    kind, content = EXAMPLES[name]
    path = tmp_path / f"example.{kind}"
    path.write_text(content + "\n", encoding="utf-8")
    assert recognise(path) == name
    rows = [*open_rows(name, Source(path, None, "", ".jpg"))]
    assert rows
    assert all(captions for row in rows for captions in row.captions.values())
