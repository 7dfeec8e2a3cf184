"""What a checkpoint costs that is sealed, read back and pruned, against torch.save alone.

    python benchmarks/checkpoint_cost.py --megabytes 50 --rounds 5
    python benchmarks/checkpoint_cost.py --megabytes 2000 --rounds 2 --folder /somewhere/with/room

Weights and two moments of that size in all go through the trainer's own CheckpointStore. One JSON object: medians in
seconds of each part and of a save, of the same tensors written by torch.save alone, and the ratio of the two.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from safetensors.torch import save_file

from runs.checkpoints import Verifier
from runs.folder import Run
from trainers.checkpoints import CheckpointStore
from utils.manifest import seal

ABOUT = {"max_steps": 99, "epoch": 0.0, "score": None, "awaits_validation": False}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder by default")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=arguments.folder))
    try:
        print(json.dumps(measure(folder, arguments.megabytes, arguments.rounds)))
    finally:
        shutil.rmtree(folder)


def measure(folder: Path, megabytes: int, rounds: int) -> dict[str, float]:
    """Medians over rounds; alone and through the store by turns."""
    tensors = [torch.randn(megabytes * 250_000 // 3) for _ in range(3)]  # weights, two moments
    times: dict[str, list[float]] = {"alone": [], "write": [], "save": [], "seal": [], "verify": []}
    store = CheckpointStore(Run(folder / "run"), {"processes": 1, "rows_per_step": 1, "settings": ""})

    def write(at: Path) -> None:
        with timed(times["write"]):
            save_file({"weights": tensors[0]}, at / "model.safetensors")
            torch.save(tensors[1:], at / "optimizer.pt")

    for step in range(1, rounds + 1):
        (folder / "alone").mkdir(exist_ok=True)
        with timed(times["alone"]):
            save_file({"weights": tensors[0]}, folder / "alone/model.safetensors")
            torch.save(tensors[1:], folder / "alone/optimizer.pt")
        with timed(times["seal"]):
            seal(folder / "alone")
        shutil.rmtree(folder / "alone")
        with timed(times["save"]):
            store.save(step, write, ABOUT, 0)
        with timed(times["verify"]):
            assert not Verifier().faults(store.run.checkpoint(step))
    found = {f"{name}_s": round(statistics.median(values), 3) for name, values in times.items()}
    return {"megabytes": megabytes, "rounds": rounds} | found | {"ratio": round(found["save_s"] / found["alone_s"], 2)}


class timed:  # noqa: N801 - reads like a statement
    """Adds the seconds that a block takes to a list."""

    def __init__(self, seconds: list[float]) -> None:
        self.seconds = seconds

    def __enter__(self) -> None:
        self.began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.seconds.append(time.perf_counter() - self.began)


if __name__ == "__main__":
    main()
