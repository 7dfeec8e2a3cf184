"""Stands in for finetune.py in tests of sweeps: writes in an instant what a trial leaves behind.

    python stand_in.py --conf base.json --set train.lr=0.001 --set work_dir=RUN [--pause_after 1]

It trains two epochs with a validation after each half, goes on where its checkpoints stand, and its negative
log-likelihood and CIDEr follow from the learning rate alone: best at 1e-3. ``STAND_IN`` in the environment is JSON:
``seconds`` that a half epoch takes, and by name of the trial in ``crashes`` how often it crashes, in ``codes`` the exit
code it always ends with. Every start is a line in ``starts.txt`` beside the run folders.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from utils.manifest import seal  # noqa: E402

EPOCHS, HALF_STEPS = 2, 10


def main() -> int:
    settings, pause = read_arguments(sys.argv[1:])
    run, wishes = Path(settings["work_dir"]), json.loads(os.environ.get("STAND_IN", "{}"))
    run.mkdir(parents=True, exist_ok=True)
    devices = os.environ.get("CUDA_VISIBLE_DEVICES", "unset")
    with (run.parent / "starts.txt").open("a") as file:
        file.write(f"{run.name} {devices} {pause}\n")
    starts = (run.parent / "starts.txt").read_text().split("\n")
    if sum(line.startswith(f"{run.name} ") for line in starts) <= wishes.get("crashes", {}).get(run.name, 0):
        print("Traceback: out of memory", flush=True)
        return 1
    if run.name in wishes.get("codes", {}):
        print("error: the training loss is nan", flush=True)
        return int(wishes["codes"][run.name])
    if wishes.get("seconds"):  # as torchrun does: a process of its own session, which signals to this one do not reach
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    nll = 2 + abs(math.log10(settings["train.lr"]) + 3)
    done = max((int(path.name.split("-")[1]) for path in run.glob("checkpoints/*")), default=0) // HALF_STEPS
    for half in range(done + 1, 2 * EPOCHS + 1):
        time.sleep(wishes.get("seconds", 0))
        write_half(run, half, nll)
        if pause is not None and half / 2 >= pause and half < 2 * EPOCHS:
            print(json.dumps({"paused": {"epoch": half / 2}}))
            return 0
    (run / "output").mkdir(exist_ok=True)
    (run / "output/pytorch_model.bin").write_bytes(run.name.encode() * 100)
    (run / "eval").mkdir(exist_ok=True)
    cider = 3 - nll
    results = {"overall": {"CIDEr": cider}, "confidence": {"overall": {"CIDEr": [cider - 0.1, cider + 0.1]}}}
    (run / "eval/val.json").write_text(json.dumps(results))
    (run / "config.json").write_text(json.dumps(settings))
    (run / "environment.json").write_text("{}")
    return 0


def read_arguments(arguments: list[str]) -> tuple[dict, float | None]:
    settings = {}
    pause = None
    for flag, value in zip(arguments[::2], arguments[1::2], strict=True):
        if flag == "--pause_after":
            pause = float(value)
        elif flag == "--set":
            key, _, text = value.partition("=")
            settings[key] = text if key == "work_dir" else json.loads(text)
    return settings, pause


def write_half(run: Path, half: int, nll: float) -> None:
    step, epoch = half * HALF_STEPS, half / 2
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"global_step": step, "epoch": epoch, "train/loss": nll + 1 / half}) + "\n")
        row = {"val/loss": nll + 2, "val/nll": nll + 1 / half}
        file.write(json.dumps({"global_step": step, "epoch": epoch} | row) + "\n")
    checkpoint = run / f"checkpoints/checkpoint-{step}"
    checkpoint.mkdir(parents=True)
    (checkpoint / "model.safetensors").write_bytes(b"weights" * 10)
    about = {"step": step, "max_steps": 2 * EPOCHS * HALF_STEPS, "epoch": epoch, "score": None, "settings": ""}
    seal(checkpoint, about | {"processes": 1, "rows_per_step": 1, "awaits_validation": False})


if __name__ == "__main__":
    sys.exit(main())
