"""One optimizer step on the scenes, its gradients and update written to a file; also a program for `torchrun`.

torchrun --nproc_per_node 2 tests/trainers/one_step.py config.json out_folder
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from transformers import TrainerCallback

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from captioning.writer import Captioner, Decoding
from configuration.loading import RunConfig, load_config
from pipeline.data import read_split
from pipeline.model_setup import build_preprocessor, model_settings, set_up_model
from pipeline.tasks import prepare_tasks
from pipeline.training import build_trainer, training_arguments
from preprocessors.text.styles import resolve_styles
from runs.folder import Run

LOGGED = ("scst", "cross_entropy", "masked_lm", "reward", "flat_share", "caption_length", "unended_share")


class KeepGradients(TrainerCallback):
    def on_pre_optimizer_step(self, args, state, control, model=None, **_):
        self.gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def one_step(config: RunConfig) -> dict[str, dict[str, torch.Tensor]]:
    """Gradients and parameter changes of the first step, by plain SGD: Adam's first step would hide their size."""
    args = training_arguments(config)
    args.optim, args.max_steps, args.eval_strategy, args.load_best_model_at_end = "sgd", 1, "no", False
    args.save_strategy, args.report_to = "no", []
    split = read_split(config, "train")
    styled = set_up_model(config, split.examples)
    styled = styled._replace(settings=model_settings(config, styled.registry, split.examples))
    captioner = Captioner(styled.model, styled.tokenizer, build_preprocessor(styled), Decoding())
    examples = resolve_styles(split.examples, styled.registry)
    tasks = prepare_tasks(config, captioner, examples)
    trainer = build_trainer(config, Run(config.work_dir), args, styled, captioner, examples, examples, tasks)
    keep = KeepGradients()
    trainer.add_callback(keep)
    before = {name: parameter.detach().clone() for name, parameter in styled.model.named_parameters()}
    trainer.train()
    logged = {name: value for name, value in trainer.state.log_history[0].items() if name.startswith(LOGGED)}
    change = {name: parameter.detach() - before[name] for name, parameter in styled.model.named_parameters()}
    return {"gradients": keep.gradients, "change": change, "logged": logged}


if __name__ == "__main__":
    torch.set_num_threads(1)
    result = one_step(load_config(Path(sys.argv[1])))
    torch.save(result, Path(sys.argv[2]) / f"rank{os.environ['RANK']}.pt")
