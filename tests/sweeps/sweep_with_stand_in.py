"""``python -m sweeps`` whose trials are stand_in.py; whatever else it does is real."""

from __future__ import annotations

import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))

from sweeps.__main__ import main  # noqa: E402
from sweeps.engines import local  # noqa: E402
from sweeps.trials.jobs import Job  # noqa: E402


def command_of(job: Job, processes: int) -> list[str]:
    return [sys.executable, str(Path(__file__).with_name("stand_in.py")), *job.arguments]


if __name__ == "__main__":
    local.finetune_command = command_of
    sys.exit(main())
