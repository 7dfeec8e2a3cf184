"""One optimizer step on the scenes, its gradients and update written to a file; also a program for `torchrun`.

torchrun --nproc_per_node 2 tests/trainers/one_step.py config.json out_folder
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from configuration.loading import RunConfig, load_config
from pipeline.prepare import prepare
from pipeline.training import build_trainer, training_arguments
from trainers.hf_trainer import TrainerCallback
from trainers.processes import ending_with_the_others

LOGGED = (
    *("scst", "cross_entropy", "masked_lm", "reward", "flat_share", "caption_length", "unended_share"),
    *("preference", "margin", "pair_accuracy", "chosen", "rejected"),
)


class KeepGradients(TrainerCallback):
    def on_pre_optimizer_step(self, args, state, control, model=None, **_):
        gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        self.gradients = {name: getattr(grad, "full_tensor", grad.clone)() for name, grad in gradients.items()}


@ending_with_the_others()
def one_step(config: RunConfig) -> dict[str, dict[str, torch.Tensor]]:
    """Gradients and parameter changes of the first step, by plain SGD: Adam's first step would hide their size."""
    args = training_arguments(config)
    args.optim, args.max_steps, args.eval_strategy, args.load_best_model_at_end = "sgd", 1, "no", False
    args.save_strategy, args.report_to = "no", []
    prepared = prepare(config)
    module = prepared.captioner.captioner.module
    before = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    trainer = build_trainer(args, prepared)
    keep = KeepGradients()
    trainer.add_callback(keep)
    trainer.train()
    logged = {name: value for name, value in trainer.state.log_history[0].items() if name.startswith(LOGGED)}
    change = {name: parameter.detach() - before[name] for name, parameter in module.named_parameters()}
    return {"gradients": keep.gradients, "change": change, "logged": logged}


if __name__ == "__main__":
    torch.set_num_threads(1)
    result = one_step(load_config(Path(sys.argv[1])))
    torch.save(result, Path(sys.argv[2]) / f"rank{os.environ['RANK']}.pt")
