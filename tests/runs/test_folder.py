from __future__ import annotations

from runs.folder import Run


def test_run_places_lie_in_its_folder_and_nothing_is_made(tmp_path):
    run = Run(tmp_path / "run")
    places = [run.checkpoints, run.output, run.eval, run.samples, run.metrics, run.report, run.log]
    names = ["checkpoints", "output", "eval", "samples.jsonl", "metrics.jsonl", "report.html", "log.txt"]
    assert places == [tmp_path / "run" / name for name in names]
    assert not run.root.exists()
