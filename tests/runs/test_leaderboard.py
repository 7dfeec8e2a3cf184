"""A leaderboard in a file: what is added stays whole, and what cannot be compared is never ranked together."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import finetune
from reports.runs.board import to_markdown
from runs.board import make_board
from runs.leaderboard import add_to_leaderboard, check_leaderboard, data_of, read_leaderboard
from tests.run_folders import make_run

__all__ = ["make_run"]
REPOSITORY = Path(__file__).resolve().parents[2]
ADD_TEN = """
import sys
from pathlib import Path
from runs.leaderboard import add_to_leaderboard
from tests.runs.test_leaderboard import results
for number in range(10):
    add_to_leaderboard(Path(sys.argv[1]), results(0.1, data="d"), name=f"{sys.argv[2]}-{number}")
"""


def results(cider: float | None, *, data: str = "d", scored: Mapping[str, Any] | None = None) -> dict[str, Any]:
    scoring = {"references_sha256": data, "tokenizer": "PTB", "cider": "its own"} | dict(scored or {})
    provenance = {"split": "val", "split_id": "jsonl/val", "data_sha256": data, "metrics": scoring}
    scores = {
        "overall": {"CIDEr": cider},
        "per_style": {},
        "n": 3,
        "provenance": provenance | {"model": "m", "seed": 7},
    }
    return scores | {"per_image": {"a": {"CIDEr": cider}}}


def ranked(path: Path) -> list[list[tuple[int, str]]]:
    board = make_board([], ["CIDEr"], read_leaderboard(path))
    return [[(row["rank"], row["run"]) for row in group["rows"]] for group in board["groups"]]


def test_results_are_ranked_best_first_among_those_on_the_same_data_alone(tmp_path):
    board = tmp_path / "new/board.jsonl"
    for name, cider, data in (("low", 0.1, "d"), ("elsewhere", 0.9, "e"), ("high", 0.3, "d"), ("none", None, "d")):
        add_to_leaderboard(board, results(cider, data=data), name=name)
    assert ranked(board) == [[(1, "high"), (2, "low"), (3, "none")], [(1, "elsewhere")]]
    assert "per_image" not in board.read_text()


@pytest.mark.parametrize(
    "other", [{"tokenizer": "characters"}, {"cider": "another corpus"}, {"references_sha256": "e"}]
)
def test_results_that_were_scored_otherwise_stand_apart(tmp_path, other):
    board = tmp_path / "board.jsonl"
    add_to_leaderboard(board, results(0.1), name="a")
    add_to_leaderboard(board, results(0.2, scored=other), name="b")
    assert ranked(board) in ([[(1, "a")], [(1, "b")]], [[(1, "b")], [(1, "a")]])
    told = to_markdown(make_board([], ["CIDEr"], read_leaderboard(board)), "t")
    assert "PTB; its own" in told
    assert "characters; its own" in told or "tokenizer" not in other


def test_of_one_name_on_the_same_data_the_newest_counts(tmp_path):
    board = tmp_path / "board.jsonl"
    for cider in (0.5, 0.1):
        add_to_leaderboard(board, results(cider))
    add_to_leaderboard(board, results(0.7, data="e"))
    assert [entry.results["overall"]["CIDEr"] for entry in read_leaderboard(board)] == [0.1, 0.7]
    assert {entry.name for entry in read_leaderboard(board)} == {"m"}
    assert len(board.read_text().splitlines()) == 3  # nothing that was added is lost


def test_language_models_are_ranked_by_bits_per_byte_the_fewest_first(tmp_path):
    board = tmp_path / "board.jsonl"
    for name, bits in (("worse", 2.5), ("better", 1.5)):
        about = {"model": name, "data_sha256": "t"}
        add_to_leaderboard(board, {"overall": {"bits_per_byte": bits}, "per_style": {}, "n": 1, "provenance": about})
    (group,) = make_board([], ["bits_per_byte"], read_leaderboard(board))["groups"]
    assert [row["run"] for row in group["rows"]] == ["better", "worse"]
    assert (group["ranked_by"], group["data_sha256"]) == ("bits_per_byte", "t")


def test_several_processes_add_at_once_and_no_line_is_lost_or_torn(tmp_path):
    board = tmp_path / "board.jsonl"
    command = [sys.executable, "-c", ADD_TEN, str(board)]
    started = [subprocess.Popen([*command, str(number)], cwd=REPOSITORY) for number in range(3)]
    assert [process.wait(60) for process in started] == [0, 0, 0]
    names = {entry.name for entry in read_leaderboard(board)}
    assert names == {f"{process}-{number}" for process in range(3) for number in range(10)}
    assert len(board.read_bytes().splitlines()) == 30


def test_results_that_say_too_little_are_refused_and_nothing_is_written(tmp_path):
    board = tmp_path / "board.jsonl"
    nameless, placeless = results(0.1), results(0.1, scored={"references_sha256": None})
    del nameless["provenance"]["model"], placeless["provenance"]["data_sha256"]
    with pytest.raises(ValueError, match="do not say whose they are; give a name"):
        add_to_leaderboard(board, nameless)
    with pytest.raises(ValueError, match="the results of m do not say on which data they are"):
        add_to_leaderboard(board, placeless)
    with pytest.raises(ValueError, match="is damaged: it has no overall"):
        add_to_leaderboard(board, {"n": 1}, name="a")
    assert not board.exists()
    assert data_of({}) == ()


def test_leaderboard_that_is_none_is_refused_by_its_line(tmp_path):
    board = tmp_path / "board.jsonl"
    add_to_leaderboard(board, results(0.1))
    board.write_text(board.read_text() + '{"name": "a"}\n')
    with pytest.raises(ValueError, match=r"board.jsonl, line 2: is no entry of a leaderboard, but \{\"name\":\"a\"\}"):
        check_leaderboard(board)
    with pytest.raises(ValueError, match="is a folder; name a file for the leaderboard"):
        check_leaderboard(tmp_path)
    check_leaderboard(tmp_path / "not there yet")
    check_leaderboard(None)


def test_runs_add_and_leaderboard_show_results_beside_runs(make_run, tmp_path, capsys):
    make_run("a")
    file, board = tmp_path / "r.json", tmp_path / "board.jsonl"
    file.write_text(json.dumps(results(0.35)))
    assert finetune.main(["runs", "add", str(board), str(file)]) == 0
    assert capsys.readouterr().out == f"{board}: m\n"
    assert finetune.main(["runs", "leaderboard", str(board), str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "| 1 | m | 0.350 |" in told
    assert f"| 1 | {tmp_path / 'a'} | 0.400 [0.300–0.500] |" in told  # on other data
    assert "| 1 | m | 0.350 |" in (tmp_path / "board.md").read_text()
    file.write_text(json.dumps({"overall": {}}))
    assert finetune.main(["runs", "add", str(board), str(tmp_path / "a/eval/val.json"), str(file)]) == 2
    assert "is damaged: it has no per_style" in capsys.readouterr().err
    assert len(read_leaderboard(board)) == 1
    assert finetune.main(["runs", "add", str(board)]) == 2
