"""The image's health check: a service answers, a training gives a sign of life.

python -m container.health; echo $?        0 well, 1 not
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from container.variables import ROOT, TRAINS, run_of, task_of

SIGNS = ("log.txt", "metrics.jsonl", "samples.jsonl", "checkpoints")
"""What a training writes to as long as it goes on."""
USUAL_MINUTES = 30.0


def find_illness(environment: Mapping[str, str], root: Path = ROOT) -> str | None:
    """What is wrong, or None.

    A training is ill if nothing in its run folder has changed for ``HEALTH_MINUTES``; one that has no folder yet reads
    its data. An evaluation is well as long as it runs.
    """
    task = task_of(environment)
    if task == "serve":
        return _ask(f"http://127.0.0.1:{environment.get('PORT') or 8000}/healthz")
    if task not in TRAINS:
        return None
    folder = root / "work_dir" / run_of(environment)
    times = [path.stat().st_mtime for path in map(folder.joinpath, SIGNS) if path.exists()]
    minutes = float(environment.get("HEALTH_MINUTES") or USUAL_MINUTES)
    age = (time.time() - max(times, default=time.time())) / 60
    return f"{folder}: no sign of life for {age:.0f} minutes" if age > minutes else None


def _ask(address: str) -> str | None:
    try:
        with build_opener(ProxyHandler({})).open(address, timeout=5):
            return None
    except (URLError, OSError) as error:
        return f"{address}: {error}"


if __name__ == "__main__":
    try:
        illness = find_illness(os.environ)
    except ValueError as error:
        illness = str(error)
    print(illness or "well")
    sys.exit(1 if illness else 0)
