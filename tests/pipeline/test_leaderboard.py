"""Every evaluation of a run adds its results to the leaderboard that the configuration names."""

from __future__ import annotations

import json

import finetune
from runs.leaderboard import read_leaderboard


def test_evaluations_add_their_results_to_the_leaderboard(toy_document, tmp_path, capsys):
    board, conf = tmp_path / "boards/all.jsonl", tmp_path / "conf.json"
    evaluation = toy_document["eval"] | {"leaderboard": str(board)}
    train = {"epochs": 1, "batch_size": 8}
    conf.write_text(json.dumps(toy_document | {"eval": evaluation, "train": train, "masked_lm": {}}))
    assert finetune.main(["--conf", str(conf)]) == 0
    results = json.loads(capsys.readouterr().out.splitlines()[-1])
    (entry,) = read_leaderboard(board)
    assert entry.results == results
    assert entry.name == str(tmp_path / "run/output")
    assert finetune.main(["eval", "--conf", str(tmp_path / "run/config.json"), "--set", "decode.num_beams=1"]) == 0
    assert len(board.read_text().splitlines()) == 2
    board.write_text("{}\n")
    assert finetune.main(["--conf", str(conf), "--set", f"work_dir={tmp_path / 'other'}"]) == 2
    assert "all.jsonl, line 1: is no entry of a leaderboard, but {}" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
