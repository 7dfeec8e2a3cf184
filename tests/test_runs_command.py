"""`finetune.py runs`: what it prints, with which exit code, and how fast."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import finetune
from tests.run_folders import RESULTS, make_run
from utils.io import read_json, write_json

__all__ = ["make_run"]
REPOSITORY = Path(__file__).resolve().parents[1]


def answer(capsys, *arguments: object) -> str:
    assert finetune.main(["runs", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def refusal(capsys, *arguments: object) -> str:
    assert finetune.main(["runs", *map(str, arguments)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    return captured.err


def scored(run, shift: float) -> None:
    """Give a run an evaluation of ten pictures that a paired test can be made on."""
    rows = {f"p{i}": {"image": f"p{i}", "ROUGE_L": i / 20 + shift} for i in range(10)}
    mean = sum(row["ROUGE_L"] for row in rows.values()) / len(rows)
    about = {"metrics": {"tokenizer": "t", "references_sha256": "r"}, "data_sha256": "d", "split_id": "s"}
    results = {"overall": {"ROUGE_L": mean}, "per_style": {}, "n": 10, "provenance": about, "per_image": rows}
    write_json(run.eval / "val.json", results)


def test_list_has_a_line_for_each_run_and_one_for_each_fault(make_run, tmp_path, capsys):
    make_run("b", step=8, trained=False, evaluated=False)
    make_run("a")
    damaged = make_run("c")
    damaged.environment.write_bytes(b"\0")
    header, a, b, c, empty, fault = answer(capsys, tmp_path).splitlines()
    assert header.split()[:3] == ["run", "state", "step"]
    assert a.split()[:3] == [str(tmp_path / "a"), "finished", "12/12"]
    assert "val 0.400 [0.300–0.500]" in a
    assert b.split()[:3] == [str(tmp_path / "b"), "stopped", "8/12"]
    assert c.split()[1] == "damaged"
    assert empty == ""
    assert fault.startswith(f"{tmp_path / 'c'}: {damaged.environment}, line 1")


def test_list_as_json_is_one_object_on_one_line(make_run, tmp_path, capsys):
    make_run("a")
    (line,) = answer(capsys, "--json", tmp_path).splitlines()
    (run,) = json.loads(line)["runs"]
    assert (run["state"], run["best"]["step"], run["scores"]["val"]["interval"]) == ("finished", 8, [0.3, 0.5])
    assert answer(capsys, "list", tmp_path, "--json").splitlines() == [line]


def test_list_of_a_folder_without_runs_says_so(tmp_path, capsys):
    assert answer(capsys, tmp_path) == "no runs\n"


def test_names_with_control_characters_do_not_reach_the_terminal(make_run, tmp_path, capsys):
    make_run("a\x1b[2J\nb")
    assert "\x1b" not in answer(capsys, tmp_path)


def test_show_tells_where_the_run_comes_from_and_that_its_code_is_another(make_run, capsys):
    run = make_run("a")
    (run.source / "utils").mkdir(parents=True)
    (run.source / "utils/io.py").write_text("what it was\n")
    shown = answer(capsys, "show", run.root)
    lines = {line.split("  ")[0]: line for line in shown.splitlines()}
    assert "python finetune.py --conf my.json" in lines["started by"]
    assert "c" * 40 in lines["commit"]
    assert "train_sha256 " + "a" * 64 in lines["data"]
    assert "other than now in " in lines["code"]
    assert "pirate, robot" in lines["styles"]
    assert "12, 8, 4" in lines["checkpoints"]
    details = json.loads(answer(capsys, "--json", "show", run.root))
    assert "utils/io.py" in details["source"]["changed"]
    assert details["evaluations"]["val"]["overall"]["CIDEr"] == 0.4
    assert sum(details["sizes"].values()) == details["state"]["size"]


def test_compare_tells_what_differs_and_tests_pairs(make_run, tmp_path, capsys):
    a, b = make_run("a"), make_run("b", train={"epochs": 3, "lr": 0.25, "seed": 7})
    scored(a, 0.0)
    scored(b, 0.1)
    write_json(b.environment, read_json(b.environment) | {"data": {"train_sha256": "b" * 64}})
    page = tmp_path / "page.html"
    found = json.loads(answer(capsys, "--json", "compare", a.root, b.root, "--out", page))
    assert found["configuration"] == {"train.lr": [0.5, 0.25]}
    assert found["data"] == {"train_sha256": ["a" * 64, "b" * 64]}
    assert (found["environment"], found["source"]) == ({}, None)
    row = found["metrics"]["val"]["rows"]["ROUGE_L"]
    assert row["difference"] == pytest.approx(0.1)
    assert row["low"] == pytest.approx(0.1)
    assert row["high"] == pytest.approx(0.1)
    assert row["p"] < 0.05
    html = page.read_text()
    assert html.count("<polyline") == 4  # train and val loss of both
    assert "paired over 10 images" in html
    text = answer(capsys, "compare", a.root, b.root)
    assert "train.lr  0.5  0.25" in text
    assert "+0.1000 [+0.1000, +0.1000]" in text


def test_compare_without_scores_of_the_same_examples_shows_both_with_their_intervals(make_run, capsys):
    a, b = make_run("a"), make_run("b")
    write_json(b.eval / "val.json", RESULTS | {"overall": {"CIDEr": 0.6}})
    scores = json.loads(answer(capsys, "--json", "compare", a.root, b.root))["metrics"]["val"]
    assert scores["note"].startswith("no paired test: ")
    row = scores["rows"]["CIDEr"]
    assert (row["a"], row["a_interval"], row["b"], row["difference"]) == (0.4, [0.3, 0.5], 0.6, None)
    assert "0.400 [0.300–0.500]" in answer(capsys, "compare", a.root, b.root)


def test_compare_of_damaged_runs_names_the_faults(make_run, capsys):
    a, b = make_run("a"), make_run("b")
    a.config_file.write_bytes(b"[]")
    (b.eval / "val.json").write_bytes(b"{")
    text = answer(capsys, "compare", a.root, b.root)
    assert f"{a.config_file}: is damaged" in text
    assert f"{b.eval / 'val.json'}, line 1" in text


def test_leaderboard_ranks_runs_of_the_same_examples_and_keeps_others_apart(make_run, tmp_path, capsys):
    make_run("good")
    for name, provenance, cider in (("better", "d" * 64, 0.5), ("elsewhere", "e" * 64, 0.9)):
        about = RESULTS["provenance"] | {"data_sha256": provenance}
        write_json(make_run(name).eval / "val.json", RESULTS | {"overall": {"CIDEr": cider}, "provenance": about})
    make_run("begun", trained=False, evaluated=False)
    board = json.loads(answer(capsys, "leaderboard", "--out", tmp_path / "board", tmp_path, "--json"))
    ranked = [[Path(row["run"]).name for row in group["rows"]] for group in board["groups"]]
    assert ranked == [["better", "good"], ["elsewhere"]]
    assert [Path(row["run"]).name for row in board["others"]] == ["begun"]
    row = board["groups"][0]["rows"][1]
    made_from = (row["commit"], row["train_sha256"], row["seed"], row["conf"], row["command"])
    assert made_from == ("c" * 40, "a" * 64, 7, "my.json", "python finetune.py --conf my.json")
    lines = (tmp_path / "board.csv").read_text().splitlines()
    assert len(lines) == 5
    assert lines[0].startswith("split,split_id,data_sha256,n,rank,run,state,CIDEr,CIDEr_low,CIDEr_high,")
    markdown = (tmp_path / "board.md").read_text()
    assert f"| 2 | {tmp_path / 'good'} | 0.400 [0.300–0.500] |" in markdown
    html = (tmp_path / "board.html").read_text()
    assert html.index(f"1. {tmp_path / 'better'}") < html.index(f"2. {tmp_path / 'good'}")
    assert "dddddddd" in html
    assert "python finetune.py --conf my.json" in html


def test_leaderboard_lies_in_the_folder_beside_that_of_a_sweep(make_run, tmp_path, capsys):
    make_run("a")
    (tmp_path / "leaderboard.html").write_text("the sweep's")
    answer(capsys, "leaderboard", tmp_path)
    assert (tmp_path / "runs.html").is_file()
    assert (tmp_path / "leaderboard.html").read_text() == "the sweep's"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: no such folder"),
        (["show"], "runs show: give RUN"),
        (["show", "nowhere"], "nowhere: holds no run"),
        (["compare", "a"], "runs compare: give A B"),
        (["leaderboard", "."], "no run in there"),
        (["list", "--out", "x"], "--out: is for compare and leaderboard"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_message(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert message in refusal(capsys, *arguments)
    assert not list(tmp_path.iterdir())


def test_fifty_runs_are_listed_in_a_second_without_torch(make_run, tmp_path):
    images = {str(i): {"image": str(i), "CIDEr": i / 7, "statistics": [i] * 20} for i in range(1000)}
    for number in range(50):
        write_json(make_run(f"r{number}").eval / "val.json", RESULTS | {"per_image": images})
    program = (
        "import sys, finetune\n"
        f"assert finetune.main(['runs', {str(tmp_path)!r}]) == 0\n"
        "print({'torch', 'transformers', 'numpy', 'PIL', 'pydantic'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", program]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    lines = done.stdout.splitlines()
    assert len(lines) == 1 + 50 + 1
    assert lines[-1] == "set()"
    # Of the processor, since others may be at work on the machine.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0
