"""From a configuration to a trainer."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch

from configuration.changes import hash_settings
from configuration.groups import RunConfig
from metrics.coco import score_captions
from metrics.table import METRICS
from metrics.tokenizers.ptb import tokenize_many
from pipeline.adapters import tell_adapters
from pipeline.features import keep_features
from pipeline.objective import frozen_parts, make_objective, make_pair_sampler, make_preference, make_self_critical
from pipeline.pictures import keep_pictures
from pipeline.prepare import Prepared
from pipeline.streaming import check_lanes, make_stream
from preprocessors.collator import CaptionCollator, with_normalised
from preprocessors.dataset import CaptionDataset
from preprocessors.examples import CaptionExample, pictures_of, rows_by_picture
from preprocessors.pairs import PairDataset
from preprocessors.streaming.dataset import StreamedCaptions
from runs.checkpoints import ENDLESS
from runs.folder import Run
from trainers.base import EpochData
from trainers.callbacks import EndAfter, PauseAfter, RunRecorder, StopOnNan, StopOrSave
from trainers.caption_trainer import StyleCaptionTrainer
from trainers.checkpoints import CheckpointStore
from trainers.freezing import freeze_parts
from trainers.hf_trainer import TrainerCallback, TrainingArguments
from trainers.mirrors import Mirror, check_installed
from trainers.preference_trainer import DrawnPairsTrainer, GivenPairsTrainer
from trainers.resumable import ResumableTrainer
from trainers.scst_trainer import ScstTrainer
from trainers.sharding import is_wished, take_wish
from trainers.validation import Validation
from utils.errors import Fault

logger = logging.getLogger(__name__)

PREFETCHED = 4
"""Batches that a process loads ahead for a GPU; without one PyTorch's 2 are more than enough."""


def training_arguments(config: RunConfig) -> TrainingArguments:
    """Trainer's arguments for a configuration; making them joins the process group under ``torchrun``."""
    train, checkpoint = config.train, config.checkpoint
    check_lanes(config, int(os.environ.get("WORLD_SIZE", "1")))
    take_wish(train.precision)
    if is_wished() and config.lora.rank is not None:
        raise ValueError("lora.rank: not with FSDP, which deals out weights that adapters leave alone; use torchrun")
    check_installed(train.report_to)
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
        num_train_epochs=train.epochs or 1,
        max_steps=-1 if train.epochs else ENDLESS,
        per_device_train_batch_size=rows_per_batch(config, int(os.environ.get("WORLD_SIZE", "1"))),
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
        dataloader_prefetch_factor=PREFETCHED if accelerated and train.num_workers else None,
        # A copy from pinned memory need not be waited for; without a GPU there is nothing to copy to.
        accelerator_config={"non_blocking": accelerated},
        seed=train.seed,
        data_seed=train.seed,
        dataloader_num_workers=train.num_workers,
        eval_strategy="steps",
        save_strategy="steps",
        logging_first_step=True,
        logging_nan_inf_filter=False,
        load_best_model_at_end=True,
        metric_for_best_model=f"eval_{checkpoint.select}",
        greater_is_better=is_greater_better(checkpoint.select),
        log_level_replica="error",  # as for the first process: its libraries are told to be quiet
        report_to=[],  # trainers.mirrors: an integration that fails must not end the run
        disable_tqdm=True,
        remove_unused_columns=False,
        ddp_find_unused_parameters=False,
        ddp_broadcast_buffers=False,
    )


def build_trainer(
    args: TrainingArguments,
    prepared: Prepared,
    pause_after: float | None = None,
    store: CheckpointStore | None = None,
) -> StyleCaptionTrainer:
    """The trainer of a run, with its validation and its observers.

    Args:
        args: Trainer's arguments.
        prepared: The run.
        pause_after: Epochs.
        store: Of its checkpoints; None makes one.
    """
    config, run, writer, tasks = prepared.config, prepared.run, prepared.writer, prepared.tasks
    train, captioner, preprocessor = config.train, writer.captioner, writer.preprocessor
    frozen = frozen_parts(config, captioner)
    train_examples, eval_examples = prepared.learnt, prepared.data.val.examples
    freeze_parts(captioner, frozen, train.vision_stages)
    if prepared.adapters is not None:
        tell_adapters(prepared.adapters)
    captioner.module.to(args.device)
    set_intervals(args, config, train.steps or -(-len(train_examples) // rows_per_step(config, args)))
    validation = Validation(
        writer,
        config.eval.samples,
        run.samples,
        config.eval.batch_size,
        score=make_score(eval_examples, config.checkpoint.select) if config.checkpoint.select in METRICS else None,
        metric=config.checkpoint.select,
    )
    listed = [] if config.data.streaming else train_examples
    features = writer.features = keep_features(config, writer, chain(listed, eval_examples), training=listed)
    if tasks.pairs is not None:
        train_dataset: CaptionDataset = PairDataset(tasks.pairs, preprocessor, tasks.masking, features)
    else:
        train_dataset = CaptionDataset(
            train_examples, preprocessor, True, tasks.masking, features, captions_per_row=train.captions_per_row
        )
    if features is None:
        keep_pictures(
            config.image,
            preprocessor.image_transform,
            training=[path for _, path in pictures_of(listed)],
            evaluated=[path for _, path in pictures_of(eval_examples)],
        )
    if train.captions_per_row > 1:
        tell_captions(train_examples, train.captions_per_row, rows_per_step(config, args))
    parts: dict[str, Any] = {
        "train_dataset": make_stream(config, preprocessor, args) if config.data.streaming else train_dataset,
        "in_order": config.data.streaming,
        "eval_dataset": CaptionDataset(eval_examples, preprocessor, training=False, features=features),
        "collator": CaptionCollator(writer.captioner.tokenizer.pad_token_id),
        "finish_batch": partial(with_normalised, transform=preprocessor.image_transform),
        "row_groups": rows_by_picture(train_examples) if train.group_pictures else None,
        "length_of": train_dataset.caption_length if train.group_lengths else None,
        "objective": make_objective(config, tasks.foreign),
        "warmup": train.warmup,
        "lr_end": train.lr_end,
        "num_cycles": train.num_cycles,
        "vision_lr": train.vision_lr,
        "validation": validation,
        "sharded": is_wished(),
        "adapters": prepared.adapters,
        "save_companions": prepared.captioner.save_companions,
        "checkpoints": make_store(config, run, args) if store is None else store,
        "folder": run.root,
        "finds_rows": train.batch_size == "auto",
        "skips_spikes": train.skip_spikes,
        "callbacks": [*make_callbacks(run, pause_after), *map(Mirror, train.report_to)],
    }
    trainer = make_trainer(args, prepared, frozen, parts)
    add_endings(trainer, config, run)
    return trainer


def make_trainer(
    args: TrainingArguments, prepared: Prepared, frozen: Collection[str], parts: Mapping[str, Any]
) -> StyleCaptionTrainer:
    """The trainer of what a run learns from.

    Args:
        args: Trainer's arguments.
        prepared: The run.
        frozen: What :func:`pipeline.objective.frozen_parts` names.
        parts: What every trainer takes.
    """
    config, decoding, tasks = prepared.config, prepared.writer.decoding, prepared.tasks
    captioner, seed = prepared.writer.captioner, config.train.seed
    if tasks.rewards is not None and config.scst.enabled:
        self_critical = make_self_critical(config.scst, decoding, frozen, seed)
        return ScstTrainer(captioner, args, self_critical=self_critical, rewards=tasks.rewards, **parts)
    if not config.preference.enabled:
        return StyleCaptionTrainer(captioner, args, **parts)
    preference = make_preference(config.preference)
    if tasks.rewards is None:
        return GivenPairsTrainer(captioner, args, preference=preference, **parts)
    sampler = make_pair_sampler(config.preference, decoding, seed)
    return DrawnPairsTrainer(captioner, args, preference=preference, sampler=sampler, rewards=tasks.rewards, **parts)


def set_intervals(args: TrainingArguments, config: RunConfig, steps_per_epoch: int) -> None:
    """Say how often numbers are logged, and when training is validated and saved; in place."""
    args.logging_steps = max(1, min(50, steps_per_epoch // 10))
    args.eval_steps = args.save_steps = max(1, math.ceil(config.checkpoint.every_epochs * steps_per_epoch - 1e-9))


def add_endings(trainer: ResumableTrainer, config: RunConfig, run: Run) -> None:
    """Let training end by the clock, or by a signal, and save when somebody asks for it."""
    if config.train.max_hours is not None:
        trainer.add_callback(EndAfter(config.train.max_hours, trainer))
    trainer.add_callback(StopOrSave(trainer.stop_here, run.save_now, config.checkpoint.every_minutes))


def is_greater_better(select: str) -> bool:
    """Direction of the validation number that the best checkpoint is chosen by."""
    return select in METRICS and METRICS[select].higher_is_better


def rows_per_batch(config: RunConfig, processes: int) -> int:
    """Training rows of a micro-batch of one process.

    Raises:
        ValueError: If a global batch cannot be shared out evenly.
    """
    train = config.train
    if train.batch_size != "auto":
        return train.batch_size
    rows, left = divmod(train.global_batch_size or 0, processes)
    if left or not rows:
        raise ValueError(
            f"train.global_batch_size={train.global_batch_size}: cannot be shared out among {processes} processes; "
            "give a multiple of their number"
        )
    return rows


def rows_per_step(config: RunConfig, args: TrainingArguments) -> int:
    """Training rows of an optimizer step, over all micro-batches and processes."""
    processes = int(args.world_size)
    return rows_per_batch(config, processes) * config.train.accumulation_steps * processes


def tell_captions(examples: Sequence[CaptionExample], captions_per_row: int, step_rows: int) -> None:
    """Say how many captions an epoch and a step learn, which both are counted in rows."""
    captions = sum(min(len(example.captions), captions_per_row) for example in examples)
    if captions == len(examples):
        logger.warning("train.captions_per_row=%d: no training row has more than one caption", captions_per_row)
        return
    logger.info(
        "train.captions_per_row=%d: an epoch has %d rows and %d captions, an optimizer step %d rows and %.1f captions",
        captions_per_row,
        len(examples),
        captions,
        step_rows,
        step_rows * captions / len(examples),
    )


def make_store(config: RunConfig, run: Run, args: TrainingArguments) -> CheckpointStore:
    """Where the checkpoints of a run go, and which of them stay."""
    checkpoint = config.checkpoint
    about = {"processes": args.world_size, "rows_per_step": rows_per_step(config, args)}
    return CheckpointStore(
        run,
        about | {"settings": hash_settings(config)},
        keep_last=checkpoint.keep_last,
        keep_best=checkpoint.keep_best,
        greater_is_better=is_greater_better(checkpoint.select),
        on_lost_best=checkpoint.on_lost_best,
    )


def make_callbacks(run: Run, pause_after: float | None) -> list[TrainerCallback]:
    """The observers of a run."""
    callbacks: list[TrainerCallback] = [RunRecorder(run.metrics), StopOnNan()]
    if pause_after is not None:
        callbacks.append(PauseAfter(pause_after))
    return callbacks


def make_score(examples: Sequence[CaptionExample], metric: str) -> Callable[[dict[str, str]], float]:
    """A metric of captions against these examples, for choosing a checkpoint.

    Raises:
        ValueError: If it has no value on them: no captioner's captions could be chosen by it.
    """
    references = {example.example_id: tokenize_many(example.captions) for example in examples}
    if not METRICS[metric].needs_java:  # whose programs take long to start
        reasons = score_captions(references, dict.fromkeys(references, ""), metrics=(metric,)).unavailable
        if reasons:
            raise ValueError(f"checkpoint.select={metric}: no value on the validation rows ({reasons[metric]})")

    def score(captions: dict[str, str]) -> float:
        hypotheses = dict(zip(captions, tokenize_many(captions.values()), strict=True))
        scores = score_captions(references, hypotheses, metrics=(metric,))
        if scores.overall[metric] is None:
            raise Fault(f"checkpoint.select={metric}: cannot be computed ({scores.unavailable.get(metric)})")
        return float(scores.overall[metric] or 0.0)

    return score


if TYPE_CHECKING:
    _: tuple[type[EpochData], ...] = (CaptionDataset, StreamedCaptions)  # what is handed to a trainer by name
