"""A dry run: the first steps of a training run, in a folder that is gone afterwards, and what the run will take."""

from __future__ import annotations

import logging
import os
import random
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from configuration.groups import RunConfig
from pipeline.data import annotations_of, prepare_data
from pipeline.prepare import Prepared, prepare
from pipeline.text.prepare import prepare_text
from pipeline.text.training import build_text_trainer
from pipeline.training import build_trainer, make_store, rows_per_step, training_arguments
from preprocessors.formats.table import FORMATS
from preprocessors.pictures.record import FILE_NAME
from trainers.base import BaseTrainer
from trainers.callbacks import StepClock
from trainers.hf_trainer import TrainingArguments
from utils.peak_memory import peak_bytes

logger = logging.getLogger(__name__)

STEPS = 5
"""The first alone is slower: memory is found, kernels are chosen. The median is that of the others."""
VALIDATED = 100
"""Validation rows that are looked at: CIDEr has no value on a single picture."""
MIB = 2**20


def rehearse(config: RunConfig) -> dict[str, Any]:
    """Read the data, build the model, train it for five steps on rows drawn from the training rows, keep nothing.

    Args:
        config: Of the run; whatever its folder holds is left alone, and a run that was interrupted there is not gone
            on with.

    Returns:
        Rows, parameters and steps of the run; on this device measured seconds a step (data loading within it; features
        that a run keeps are made before) and the most memory, MiB; from these hours of training, validations not
        counted, and from the number of parameters the space that its checkpoints and its model will take.

    Raises:
        ValueError: If something cannot be used, or there are several processes.
        FileNotFoundError: If something is missing.
        OutOfMemory: If one row does not fit.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError("--dry-run: measures what one process takes; start it without torchrun")
    with tempfile.TemporaryDirectory(prefix="stylecap-dry-run-") as folder:
        scratch = _elsewhere(config, Path(folder))
        args = training_arguments(scratch)
        args.load_best_model_at_end = False
        step_rows = rows_per_step(scratch, args)
        trainer, rows = _build_text(scratch, args) if config.task == "text" else _build(scratch, args, step_rows)
        clock = StepClock(STEPS)
        trainer.add_callback(clock)
        trainer.train()
        about = _describe_model(trainer, config)
    epoch_steps = config.train.steps or -(-rows["train"] // step_rows)
    steps = None if config.train.epochs is None else epoch_steps * config.train.epochs
    result = {
        "rows": rows,
        "rows_per_step": step_rows,
        "steps": steps,
        "seconds_per_step": round(clock.seconds_per_step(), 4),
        "training_hours": None if steps is None else round(steps * clock.seconds_per_step() / 3600, 3),
        **about,
    }
    _tell(result, config)
    return {"dry_run": result}


def _elsewhere(config: RunConfig, folder: Path) -> RunConfig:
    """The configuration with everything that a run writes in another folder."""
    data, image = config.data, config.image
    moved: dict[str, Any] = {"picture_record": folder / "record"}
    if config.task == "captions" and FORMATS[data.format].generator is not None and not annotations_of(data).is_dir():
        moved["annotations"] = folder / "data"
    if data.picture_record is not None and (data.picture_record / FILE_NAME).is_file():
        (folder / "record").mkdir()
        shutil.copy(data.picture_record / FILE_NAME, folder / "record")
    caches = {"cache": folder / "cache", "feature_cache": folder / "features"}
    return config.model_copy(
        update={
            "work_dir": folder / "run",
            "data": data.model_copy(update=moved),
            "image": image.model_copy(update=caches),
            "documents": config.documents.model_copy(update={"encoded": folder / "encoded"}),
            "train": config.train.model_copy(update={"report_to": [], "max_hours": None}),
        }
    )


def _build(config: RunConfig, args: TrainingArguments, step_rows: int) -> tuple[BaseTrainer, dict[str, int]]:
    prepare_data(config.data)
    prepared = prepare(config)
    data = prepared.data
    rows = {"train": len(prepared.learnt), "val": len(data.val.examples), "eval": len(data.eval.examples)}
    dropped = {"dropped": len(data.train.dropped) + len(data.val.dropped)}
    return build_trainer(args, _with_few_rows(prepared, step_rows * STEPS)), rows | dropped


def _with_few_rows(prepared: Prepared, wanted: int) -> Prepared:
    """With so many training rows, drawn, and some of the others: no more pictures are opened for them.

    Rewards then hold captions against those of other rows, which takes as long.
    """
    if prepared.config.data.streaming:
        return prepared
    data, tasks, draw = prepared.data, prepared.tasks, random.Random(prepared.config.train.seed)
    train = draw.sample(data.train.examples, min(wanted, len(data.train.examples)))
    few = replace(
        data, train=replace(data.train, examples=train), val=replace(data.val, examples=data.val.examples[:1])
    )
    if tasks.pairs is not None:
        tasks = tasks._replace(pairs=draw.sample(tasks.pairs, min(wanted, len(tasks.pairs))))
    return replace(prepared, data=few, tasks=tasks)


def _build_text(config: RunConfig, args: TrainingArguments) -> tuple[BaseTrainer, dict[str, int]]:
    prepared = prepare_text(config)
    trainer = build_text_trainer(args, prepared, None, make_store(config, prepared.run, args))
    return trainer, {"train": len(trainer.train_dataset), "documents": len(prepared.data.train)}


def _describe_model(trainer: BaseTrainer, config: RunConfig) -> dict[str, Any]:
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in trainer.model.parameters()]
    whole, trained = sum(size for size, _ in sizes), sum(size for size, is_trained in sizes if is_trained)
    kept_weights = whole if config.lora.rank is None else trained
    checkpoint = 4 * kept_weights + 8 * trained  # float32, and Adam's two moments
    kept = config.checkpoint.keep_last + config.checkpoint.keep_best + 1  # the one that is being written
    device = trainer.args.device
    if device.type == "cuda":
        peak, name = torch.cuda.max_memory_reserved(device), torch.cuda.get_device_name(device)
    else:
        peak, name = peak_bytes(), device.type
    there = next(path for path in config.work_dir.absolute().parents if path.is_dir())
    return {
        "parameters": whole,
        "trained_parameters": trained,
        "device": name,
        "peak_memory_mib": round(peak / MIB),
        "disk_mib": round((kept * checkpoint + 4 * whole) / MIB),
        "free_disk_mib": shutil.disk_usage(there).free // MIB,
    }


def _tell(found: dict[str, Any], config: RunConfig) -> None:
    rows = ", ".join(f"{name} {count:,}" for name, count in found["rows"].items())
    logger.info("rows: %s; %d in a step", rows, found["rows_per_step"])
    logger.info("model: %s parameters, %s trained", f"{found['parameters']:,}", f"{found['trained_parameters']:,}")
    length = "without an end" if found["steps"] is None else f"{found['training_hours']:.2f} hours"
    logger.info(
        "training: %s steps, %.3g s each on %s: %s without validations",
        *(found["steps"] or "endless", found["seconds_per_step"], found["device"], length),
    )
    logger.info("memory: %d MiB at the most in %d steps", found["peak_memory_mib"], STEPS)
    logger.info("disk: %d MiB for checkpoints and model, %d MiB free", found["disk_mib"], found["free_disk_mib"])
    if found["disk_mib"] > found["free_disk_mib"]:
        logger.warning(
            "%s: there is not enough room for this run; free some, or choose another work_dir", config.work_dir
        )
