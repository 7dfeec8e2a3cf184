"""From a configuration to a trainer."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

import torch
from transformers import TrainingArguments

from metrics.coco import score_captions
from metrics.ptb_tokenizer import tokenize_many
from preprocessors.dataset import CaptionDataset
from preprocessors.examples import CaptionExample
from trainers.callbacks import ProgressBar, RunRecorder, StopOnNan
from trainers.captioning import Captioner
from trainers.freezing import freeze_parts
from trainers.model_setup import StyledModel, save_companions
from trainers.style_trainer import Objective, StyleCaptionTrainer, Validation
from utils.config import RunConfig
from utils.runs import Run


def training_arguments(config: RunConfig) -> TrainingArguments:
    """Trainer's arguments for a configuration; making them joins the process group under ``torchrun``."""
    train, checkpoint = config.train, config.checkpoint
    accelerated = torch.accelerator.is_available()
    if train.precision == "fp16" and not accelerated:
        raise ValueError("train.precision=fp16: needs a GPU, and there is none; use fp32 or auto")
    bf16 = train.precision == "bf16" or (
        train.precision == "auto" and torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    )
    if torch.cuda.device_count() > 1 and "RANK" not in os.environ:
        count = torch.cuda.device_count()
        raise ValueError(
            f"{count} GPUs are visible and one process was started: start with `torchrun --nproc_per_node {count} "
            "finetune.py ...`, or choose one GPU with CUDA_VISIBLE_DEVICES=0"
        )
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(config.work_dir / "tensorboard")
    return TrainingArguments(
        output_dir=str(config.work_dir / "checkpoints"),
        num_train_epochs=train.epochs,
        per_device_train_batch_size=train.batch_size,
        per_device_eval_batch_size=config.eval.batch_size,
        gradient_accumulation_steps=train.accumulation_steps,
        learning_rate=train.lr,
        weight_decay=train.weight_decay,
        max_grad_norm=train.clip,
        optim="adamw_torch_fused",
        bf16=bf16,
        fp16=train.precision == "fp16",
        use_cpu=not accelerated,  # said aloud, or several processes on CPUs would not find each other
        dataloader_pin_memory=accelerated,
        seed=train.seed,
        data_seed=train.seed,
        dataloader_num_workers=train.num_workers,
        eval_strategy="steps",
        save_strategy="steps",
        logging_first_step=True,
        logging_nan_inf_filter=False,
        save_total_limit=checkpoint.keep,
        load_best_model_at_end=True,
        metric_for_best_model=f"eval_{checkpoint.select}",
        greater_is_better=checkpoint.select != "loss",
        report_to=["tensorboard"],
        disable_tqdm=True,
        remove_unused_columns=False,
        ddp_find_unused_parameters=False,
        ddp_broadcast_buffers=False,
    )


def build_trainer(
    config: RunConfig,
    run: Run,
    args: TrainingArguments,
    styled: StyledModel,
    captioner: Captioner,
    train_examples: Sequence[CaptionExample],
    eval_examples: Sequence[CaptionExample],
) -> StyleCaptionTrainer:
    """The trainer of a run, with its validation and its observers."""
    train = config.train
    freeze_parts(styled.model, train.freeze)
    rows_per_step = train.batch_size * train.accumulation_steps * args.world_size
    steps_per_epoch = -(-len(train_examples) // rows_per_step)
    args.logging_steps = max(1, min(50, steps_per_epoch // 10))
    args.eval_steps = args.save_steps = max(1, round(config.checkpoint.every_epochs * steps_per_epoch))
    validation = Validation(
        captioner,
        config.eval.samples,
        run.samples,
        config.eval.batch_size,
        score=make_cider_score(eval_examples) if config.checkpoint.select == "CIDEr" else None,
    )

    callbacks = [RunRecorder(run.metrics), StopOnNan()]
    if sys.stderr.isatty():
        callbacks.append(ProgressBar())
    return StyleCaptionTrainer(
        styled.model,
        args,
        train_dataset=CaptionDataset(train_examples, captioner.preprocessor, training=True),
        eval_dataset=CaptionDataset(eval_examples, captioner.preprocessor, training=False),
        collator=captioner.collate,
        objective=Objective(train.label_smoothing, train.drop_worst, train.rdrop),
        warmup=train.warmup,
        lr_end=train.lr_end,
        validation=validation,
        save_companions=lambda folder: save_companions(folder, styled),
        callbacks=callbacks,
    )


def make_cider_score(examples: Sequence[CaptionExample]) -> Callable[[dict[str, str]], float]:
    """CIDEr of captions against these examples, for choosing a checkpoint."""
    references = {example.example_id: tokenize_many(example.captions) for example in examples}

    def score(captions: dict[str, str]) -> float:
        hypotheses = dict(zip(captions, tokenize_many(captions.values()), strict=True))
        return float(score_captions(references, hypotheses, metrics=("CIDEr",)).overall["CIDEr"] or 0.0)

    return score
