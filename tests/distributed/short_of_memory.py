"""`finetune.py` in which one rank has no memory for more than two rows in its second step; for `torchrun`.

At the end each rank names its threads.

torchrun --nproc_per_node 2 tests/distributed/short_of_memory.py 1 --conf config.json
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import finetune
from trainers.caption_trainer import StyleCaptionTrainer

usual = StyleCaptionTrainer.step_loss


def step_loss(self: StyleCaptionTrainer, model: Any, batch: dict[str, Any], tokens: Any) -> Any:
    loss = usual(self, model, batch, tokens)
    if self.state.global_step == 1 and len(batch["rows"]) > 2:
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB (injected)")
    return loss


if __name__ == "__main__":
    rank, *arguments = sys.argv[1:]
    if rank == os.environ["RANK"]:
        StyleCaptionTrainer.step_loss = step_loss
    code = finetune.main(arguments)
    names = sorted(Path(task, "comm").read_text().strip() for task in Path("/proc/self/task").iterdir())
    sys.stderr.write(f"threads at the end: {names}\n")
    sys.exit(code)
