"""What it saves to keep a frozen vision network's features: training rows a second with them and without.

    OMP_NUM_THREADS=2 python benchmarks/kept_features.py --conf conf/flickrstyle_eyes.json

Prints one JSON object: rows a second of a whole training step (loading, forward, backward, optimizer), the median of
alternating turns, without kept features, with them, and their ratio; and the seconds that computing them takes. The
features of the photos that are measured are computed into a folder of its own, so nothing that was kept before counts.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from benchmarks.training_steps import endless, step
from configuration.loading import load_config
from pipeline.prepare import prepare
from pipeline.training import build_trainer, training_arguments

STEPS, TURNS = 8, 5


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--conf", type=Path, default=Path("conf/flickrstyle_eyes.json"))
    conf = parser.parse_args().conf
    with tempfile.TemporaryDirectory() as scratch:
        runs, seconds = {}, 0.0
        for name, limit in (("opened", 0), ("kept", 4096)):
            start = time.perf_counter()
            runs[name] = training_run(conf, Path(scratch), limit)
            seconds = time.perf_counter() - start - seconds  # what the second does beyond the first
        rates: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(TURNS):
            for name, turn in runs.items():
                rates[name].append(turn())
    found: dict[str, Any] = {f"{name}_rows_per_second": statistics.median(values) for name, values in rates.items()}
    ratios = [kept / opened for kept, opened in zip(rates["kept"], rates["opened"], strict=True)]
    print(json.dumps(found | {"ratio": statistics.median(ratios), "ratios": ratios, "computing_seconds": seconds}))


def training_run(conf: Path, scratch: Path, limit_mb: int) -> Callable[[], float]:
    """A function that trains a few steps and returns rows a second."""
    overrides = [f"work_dir={scratch}/run", f"image.feature_cache={scratch}/features"]
    config = load_config(conf, [*overrides, f"image.feature_cache_mb={limit_mb}"])
    trainer = build_trainer(training_arguments(config), prepare(config))
    trainer.create_optimizer_and_scheduler(10_000)
    batches = endless(trainer)
    trainer.current_gradient_accumulation_steps, trainer._tr_loss = 1, torch.zeros(())  # the loop does that

    def turn() -> float:
        start = time.perf_counter()
        for _ in range(STEPS):
            step(trainer, next(batches))
        return STEPS * config.train.batch_size / (time.perf_counter() - start)

    turn()
    return turn


if __name__ == "__main__":
    main()
