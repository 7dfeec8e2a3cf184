"""A program for `torchrun`: what an evaluation gives for several sizes of a split; rank 0 writes it as JSON.

torchrun --nproc_per_node 3 tests/distributed/shards.py config.json out.json
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from configuration.groups import RunConfig
from configuration.loading import load_config
from pipeline.prepare import prepare
from pipeline.training import build_trainer, training_arguments
from preprocessors.dataset import CaptionDataset
from trainers.processes import ending_with_the_others
from utils.io import write_json

ROWS = (1, 4, 12)
BATCHES = (2, 5, 8)


@ending_with_the_others()
def evaluate_all(config: RunConfig) -> dict[str, Any]:
    """By rows and batch size: the captions, in their order, and the numbers of a validation."""
    args = training_arguments(config)
    args.report_to = []
    prepared = prepare(config)
    trainer = build_trainer(args, prepared)
    trainer.model.eval()
    found = {}
    for rows in ROWS:
        examples = prepared.data.val.examples[:rows]
        trainer.eval_dataset = CaptionDataset(examples, prepared.writer.preprocessor, training=False)
        for size in BATCHES:
            args.per_device_eval_batch_size = size
            captions = prepared.writer.caption(examples, size)
            found[f"{rows} rows by {size}"] = {"captions": list(captions.items())} | trainer._validation_loss()
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    numbers = evaluate_all(load_config(Path(sys.argv[1])))
    if os.environ["RANK"] == "0":
        write_json(Path(sys.argv[2]), numbers)
