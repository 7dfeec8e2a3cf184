"""`finetune.py` in which one rank fails at one place; a program for `torchrun`.

torchrun --nproc_per_node 2 tests/distributed/faulty.py 1 captions --conf config.json
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import finetune
from captioning.styled import StyledCaptioner
from captioning.writer import CaptionWriter
from pipeline import evaluate
from trainers.caption_trainer import StyleCaptionTrainer

PLACES: dict[str, tuple[Any, str]] = {
    "captions": (CaptionWriter, "caption_batch"),
    "validation": (StyleCaptionTrainer, "_validation_loss"),
    "scores": (evaluate, "score_examples"),
    "output": (StyledCaptioner, "save_to_dir"),
}


def fail(*_: Any, **__: Any) -> None:
    raise ValueError("a fault for the test")


if __name__ == "__main__":
    rank, place, *arguments = sys.argv[1:]
    if rank == os.environ["RANK"]:
        setattr(*PLACES[place], fail)
    sys.exit(finetune.main(arguments))
