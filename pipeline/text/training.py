"""From a prepared text run to its trainer."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from pipeline.text.prepare import PreparedText
from pipeline.text.samples import sample_writer
from pipeline.training import add_endings, make_callbacks, rows_per_step, set_intervals
from preprocessors.documents.packed_rows import PackedCollator, TrainingRows, ValidationRows
from trainers.base import EpochData, Rows
from trainers.callbacks import SaveEvery
from trainers.checkpoints import CheckpointStore
from trainers.hf_trainer import TrainingArguments
from trainers.mirrors import Mirror
from trainers.text_trainer import TextObjective, TextTrainer


def build_text_trainer(
    args: TrainingArguments, prepared: PreparedText, pause_after: float | None, store: CheckpointStore
) -> TextTrainer:
    """The trainer of a run, with its validation and its observers.

    Args:
        args: Trainer's arguments.
        prepared: The run.
        pause_after: Epochs.
        store: Of its checkpoints.
    """
    config, run, lm, data = prepared.config, prepared.run, prepared.lm, prepared.data
    train, settings = config.train, config.lm
    lm.network.to(args.device)
    rows = TrainingRows(prepared.packer(data.train, training=True))
    set_intervals(args, config, -(-len(rows) // rows_per_step(config, args)))
    if settings.val_every is not None:
        args.eval_steps = args.save_steps = settings.val_every
    validated = None if settings.val_batches is None else settings.val_batches * config.eval.batch_size
    writer = sample_writer(lm, settings, data.val, train.seed)
    others: dict[str, Any] = {"warmup": train.warmup, "lr_end": train.lr_end, "num_cycles": train.num_cycles}
    trainer = TextTrainer(
        lm,
        args,
        objective=TextObjective(train.label_smoothing, config.unlikelihood.repetition, config.unlikelihood.sequence),
        write_samples=partial(writer.append, run.samples) if settings.sample_num else None,
        sample_every=settings.sample_every,
        train_dataset=rows,
        eval_dataset=ValidationRows(prepared.packer(data.val), validated),
        collator=PackedCollator(lm.tokenizer.bos_id),
        save_companions=lm.save_companions,
        checkpoints=store,
        folder=run.root,
        finds_rows=train.batch_size == "auto",
        skips_spikes=train.skip_spikes,
        callbacks=[*make_callbacks(run, pause_after), *map(Mirror, train.report_to)],
        **others,
    )
    if settings.save_every is not None:
        trainer.add_callback(SaveEvery(settings.save_every))
    add_endings(trainer, config, run)
    return trainer


if TYPE_CHECKING:
    _: tuple[type[EpochData], type[Rows]] = (TrainingRows, ValidationRows)  # what is handed to a trainer by name
