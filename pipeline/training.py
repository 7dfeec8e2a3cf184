"""From a configuration to a trainer."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import TrainerCallback, TrainingArguments

from captioning.writer import Captioner
from configuration.loading import RunConfig
from metrics.coco import score_captions
from metrics.tokenizers.ptb import tokenize_many
from pipeline.model_setup import StyledModel, save_companions
from pipeline.tasks import TrainingTasks
from preprocessors.dataset import CaptionDataset
from preprocessors.examples import CaptionExample
from preprocessors.pictures.feature_cache import FeatureCache, feature_shape, features_fit, write_features
from runs.folder import Run
from trainers.callbacks import PauseAfter, ProgressBar, RunRecorder, StopOnNan
from trainers.caption_trainer import StyleCaptionTrainer
from trainers.freezing import freeze_parts
from trainers.objective import Objective
from trainers.sampler import Sampler
from trainers.scst_trainer import ScstTrainer, SelfCritical
from trainers.validation import Validation


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
    tasks: TrainingTasks,
    pause_after: float | None = None,
) -> StyleCaptionTrainer:
    """The trainer of a run, with its validation and its observers; ``pause_after`` counts epochs."""
    train, scst = config.train, config.scst
    freeze_parts(styled.model, frozen_parts(config))
    styled.model.to(args.device)
    rows_per_step = train.batch_size * train.accumulation_steps * args.world_size
    steps_per_epoch = -(-len(train_examples) // rows_per_step)
    args.logging_steps = max(1, min(50, steps_per_epoch // 10))
    args.eval_steps = args.save_steps = max(1, math.ceil(config.checkpoint.every_epochs * steps_per_epoch - 1e-9))
    validation = Validation(
        captioner,
        config.eval.samples,
        run.samples,
        config.eval.batch_size,
        score=make_cider_score(eval_examples) if config.checkpoint.select == "CIDEr" else None,
    )
    features = compute_features(config, run, args, captioner, train_examples)
    callbacks: list[TrainerCallback] = [RunRecorder(run.metrics), StopOnNan()]
    if pause_after is not None:
        callbacks.append(PauseAfter(pause_after))
    if sys.stderr.isatty():
        callbacks.append(ProgressBar())
    parts: dict[str, Any] = {
        "train_dataset": CaptionDataset(train_examples, captioner.preprocessor, True, tasks.masking, features),
        "eval_dataset": CaptionDataset(eval_examples, captioner.preprocessor, training=False),
        "collator": captioner.collate,
        "objective": make_objective(config, tasks),
        "warmup": train.warmup,
        "lr_end": train.lr_end,
        "validation": validation,
        "save_companions": lambda folder: save_companions(folder, styled),
        "callbacks": callbacks,
    }
    if not scst.enabled:
        return StyleCaptionTrainer(styled.model, args, **parts)
    parts |= {"self_critical": make_self_critical(config, captioner), "rewards": tasks.rewards}
    return ScstTrainer(styled.model, args, tokenizer=styled.tokenizer, **parts)


def frozen_parts(config: RunConfig) -> list[str]:
    """Parts of the model that a run does not train."""
    scst = config.scst
    parts: list[str] = [*config.train.freeze]
    if scst.enabled:
        parts += ["embeddings"] * scst.freeze_embeddings + ["batch_norm"] * scst.freeze_batch_norm
    return parts


def make_objective(config: RunConfig, tasks: TrainingTasks) -> Objective:
    """The loss of people's captions."""
    train, masked, unlikelihood = config.train, config.masked_lm, config.unlikelihood
    return Objective(
        label_smoothing=train.label_smoothing,
        drop_worst=train.drop_worst,
        rdrop=train.rdrop,
        masked_lm=masked.weight,
        masked_lm_end=masked.weight if masked.weight_end is None else masked.weight_end,
        repetition=unlikelihood.repetition,
        leakage=unlikelihood.leakage,
        foreign=tasks.foreign,
    )


def make_self_critical(config: RunConfig, captioner: Captioner) -> SelfCritical:
    """How a run draws and compares captions."""
    scst = config.scst
    sampler = Sampler(
        scst.num_samples,
        scst.sampling,
        captioner.decoding,
        temperature=scst.temperature,
        top_p=scst.top_p,
        with_greedy=scst.baseline == "greedy",
        seed=config.train.seed,
    )
    return SelfCritical(
        sampler,
        scst.baseline,
        kl_weight=scst.kl_weight,
        cross_entropy_weight=scst.cross_entropy_weight,
        dropout=scst.dropout,
        train_batch_norm=not {"batch_norm", "resnet"} & set(frozen_parts(config)),
    )


def compute_features(
    config: RunConfig, run: Run, args: TrainingArguments, captioner: Captioner, examples: Sequence[CaptionExample]
) -> FeatureCache | None:
    """Features of the training pictures, if they cannot change during the run and fit; one process computes them."""
    changing = config.image.random_crop or captioner.model.config.resnet_drop_path_rate > 0
    if "resnet" not in config.train.freeze or changing or not config.image.feature_cache_mb:
        return None
    resnet, transform = captioner.model.encoder.embed_images, captioner.preprocessor.image_transform
    images = list(dict.fromkeys(example.image_path for example in examples))
    shape = feature_shape(resnet, transform)
    if not features_fit(shape, len(images), config.image.feature_cache_mb):
        return None
    with args.main_process_first(desc="features"):
        if args.process_index == 0:
            run.root.mkdir(parents=True, exist_ok=True)
            autocast = torch.bfloat16 if args.bf16 else torch.float16 if args.fp16 else None
            write_features(run.features, images, resnet, transform, autocast=autocast)
    return FeatureCache(run.features, images, shape)


def make_cider_score(examples: Sequence[CaptionExample]) -> Callable[[dict[str, str]], float]:
    """CIDEr of captions against these examples, for choosing a checkpoint."""
    references = {example.example_id: tokenize_many(example.captions) for example in examples}

    def score(captions: dict[str, str]) -> float:
        hypotheses = dict(zip(captions, tokenize_many(captions.values()), strict=True))
        return float(score_captions(references, hypotheses, metrics=("CIDEr",)).overall["CIDEr"] or 0.0)

    return score
