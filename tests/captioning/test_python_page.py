"""The lines of ``docs/python.md`` run as they stand."""

from __future__ import annotations

import ast
import re
import shutil
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs/python.md"


def test_lines_of_the_page_caption_score_and_complete(memorised, scenes, tmp_path, monkeypatch, capsys):
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len([line for line in block.splitlines() if line and "import" not in line]) <= 10
    shutil.copytree(memorised, tmp_path / "work_dir/demo/output")
    shutil.copy(min((scenes / "images").glob("val_*.png")), tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    exec(compile(block, str(PAGE), "exec"), {})  # noqa: S102 - the lines of our own page
    *captions, scores, continuations = map(ast.literal_eval, capsys.readouterr().out.splitlines())
    assert len(captions) == 3
    assert captions[0] == captions[1] == captions[2]
    assert captions[0]["pirate"][0] == "the captain buried treasure on an island"
    assert len(captions[0]["romantic"]) == 2
    assert len(scores) == 2
    assert max(scores) < 0
    assert continuations[0].startswith(" ")
