"""What a run is made from, recorded in its folder and compared when it goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from configuration.changes import describe_changes
from configuration.groups import RunConfig
from configuration.loading import load_config
from models.settings import WEIGHT_FILES
from models.weights import weight_files
from pipeline.continuation import Start, check_continues, check_same_pictures, hash_pictures, newly_dropped
from pipeline.data import hash_examples
from pipeline.prepare import Prepared
from pipeline.streaming import describe_shards
from runs.checkpoints import whole_checkpoints
from runs.files import read_environment
from runs.folder import Run
from runs.record import record_start
from trainers.rewards.setup import DocumentFrequencySource
from utils.hub import resolve_model_folder
from utils.io import hash_file, hash_json, read_json, write_json
from utils.plugins import hash_source

FIXED_DATA = {
    "documents_sha256": "training documents",  # told before the next, which a text run has as well
    "train_sha256": "training captions",
    "shards_sha256": "training shards",
    "tokenizer_sha256": "tokenizer",
    "corpus_sha256": "masked_lm.corpus",
    "document_frequency_sha256": "scst.document_frequency",
    "fluency_lm_sha256": "weights of scst.fluency_lm",
    "pairs_sha256": "preference.pairs",
    "anchor_sha256": "weights of model.name, which lora.rank, scst.kl_weight or preference.loss=dpo holds on to",
    "anchor_config_sha256": "numbers in config.json of model.name, which lora.rank, scst.kl_weight or "
    "preference.loss=dpo holds on to",
}
"""What may not change while a run is interrupted, and its name for messages."""


def describe_data(prepared: Prepared) -> dict[str, Any]:
    """What a run is made from besides its settings: hashes by name, the split, how captions are cleaned and bounded."""
    config, data = prepared.config, prepared.data
    splits = {"train": data.train, "val": data.val, "eval": data.eval}
    made_from = {f"{name}_sha256": hash_examples(split.examples) for name, split in splits.items()}
    made_from |= {"split": data.train.split_id} | hash_pictures(prepared.learnt) | describe_shards(config.data)
    made_from |= {"punctuation": prepared.writer.preprocessor.punctuation} | prepared.lengths.describe()
    if config.masked_lm.corpus is not None:
        made_from |= {"corpus_sha256": hash_file(config.masked_lm.corpus)}
    if config.draws and config.scst.document_frequency is not None:
        made_from |= {"document_frequency_sha256": hash_file(config.scst.document_frequency)}
    if config.draws and config.scst.fluency_lm is not None:
        made_from |= _hash_weights("fluency_lm_sha256", config.scst.fluency_lm)
    if prepared.tasks.pairs is not None and config.preference.pairs is not None:
        made_from |= {"pairs_sha256": hash_file(config.preference.pairs)}
    held_by_dpo = config.preference.enabled and config.preference.loss == "dpo"
    # The anchor, or what adapters stand beside, is read again when a run goes on.
    if held_by_dpo or (config.scst.enabled and config.scst.kl_weight) or config.lora.rank is not None:
        folder = resolve_model_folder(config.model.name or "", config.model.revision)
        made_from |= _hash_weights("anchor_sha256", folder)
        if (described := folder / "config.json").is_file():
            made_from |= {"anchor_config_sha256": hash_json(read_json(described))}
    return made_from


def _hash_weights(name: str, folder: Path) -> dict[str, str]:
    """Of the weights that a folder is opened with; nothing of a plug-in's own."""
    try:
        first, *others = map(hash_file, weight_files(folder))
    except FileNotFoundError:
        return {}
    return {name: hash_json([first, *others]) if others else first}


def enter_run(prepared: Prepared, command: Sequence[str], conf_file: Path, start: Start) -> None:
    """Make or reopen the run folder and record what goes into the run.

    Args:
        prepared: The run.
        command: The command line, program first.
        conf_file: The configuration file as the user wrote it.
        start: What else decides whether the run goes on as it was.

    Raises:
        ValueError: If the folder's run was made with other settings, other data, or otherwise.
    """
    run, data = prepared.run, prepared.data
    rows = [row._asdict() for split in (data.train, data.val) for row in split.dropped]
    made_from = describe_data(prepared)
    open_run(run.root, prepared.config, command, {"data": made_from}, conf_file=conf_file, start=start, dropped=rows)
    if rows:
        write_json(run.root / "dropped_rows.json", rows)


def open_run(
    work_dir: Path,
    config: RunConfig,
    command: Sequence[str],
    extra_environment: Mapping[str, Any],
    *,
    conf_file: Path | None = None,
    start: Start | None = None,
    dropped: Sequence[Mapping[str, Any]] = (),
) -> Run:
    """Makes a run folder, or opens the one of an interrupted run again, and records what is being run.

    Nothing is written if the folder belongs to another run. Of several processes only one may call it.

    Args:
        work_dir: The run folder.
        config: What is run; may differ from an existing folder's only in ``configuration.changes.MAY_CHANGE``.
        command: The command line, program first.
        extra_environment: Joined to environment.json; what stands under ``data`` is held against an earlier start's.
        conf_file: The configuration file as the user wrote it, copied into ``source/``.
        start: What else decides whether the run goes on as it was; None where no training follows.
        dropped: Rows whose pictures cannot be used, for the message if some were used before.

    Raises:
        ValueError: If the folder holds a run with another configuration or on other data, a config.json that is no
            run's, or cannot be written, or would not go on as it was.
    """
    run, made_from = Run(work_dir), extra_environment.get("data", {})
    if run.config_file.exists():
        check_same_run(run, config, allow_shares=start is not None and start.allow_change)
    record = read_record_of_start(run)
    before = record.get("data") or {}
    check_same_data(run, before, made_from, dropped)
    if start is not None:
        check_continues(run, record.get("packages") or {}, start)
        check_same_pictures(run, before, made_from, start)
    plugins = {name: hash_source(name) for name in config.plugins}  # which no copy of our code holds
    told = {**extra_environment, **({"plugins_sha256": plugins} if plugins else {})}
    record_start(run, config.to_json_dict(), command, told, conf_file=conf_file)
    return run


def check_same_run(run: Run, config: RunConfig, *, allow_shares: bool = False) -> None:
    """Refuse a folder that holds a run with other settings, but for how rows of a step are divided, where allowed.

    Raises:
        ValueError: Listing the settings that differ.
    """
    # Through load_config, so that a setting which did not exist when the run began counts as its default.
    try:
        old = load_config(run.config_file)
    except ValueError as error:
        raise ValueError(
            f"{run.config_file}: is not the configuration of a run; give another work_dir\n{error}"
        ) from error
    changes = describe_changes(old, config, allow_shares=allow_shares)
    if changes:
        raise ValueError(
            f"{run.root}: holds a run with other settings (old -> new):\n"
            + "\n".join(f"  {change}" for change in changes)
            + "\ngive another work_dir, or the old values to go on with that run"
            + _new_run_from(run)
        )


def _new_run_from(run: Run) -> str:
    """How to start anew from what a run has learnt so far, for a message; nothing where it has no whole model yet."""
    saved = (checkpoint.folder for checkpoint in whole_checkpoints(run))
    models = (folder for folder in saved if any((folder / name).is_file() for name in WEIGHT_FILES))  # not adapters
    weights = run.output if run.output.is_dir() else next(models, None)
    return "" if weights is None else f"; a new run from its weights: --set work_dir=... --checkpoint {weights}"


def read_record_of_start(run: Run) -> Mapping[str, Any]:
    """Versions and data of the run, as its last start recorded them; empty if there was none.

    Raises:
        ValueError: If the record is damaged.
    """
    try:
        return read_environment(run) if run.environment.exists() else {}
    except (ValueError, OSError) as error:
        raise ValueError(
            f"{error}. It says which data the run was made from: restore it, or remove it to go on without that check"
        ) from error


def check_same_data(
    run: Run, before: Mapping[str, Any], made_from: Mapping[str, Any], dropped: Sequence[Mapping[str, Any]]
) -> None:
    """Refuse a folder that holds a run on other data.

    Raises:
        ValueError: Naming what differs.
    """
    for key, name in FIXED_DATA.items():
        if key in before and key in made_from and before[key] != made_from[key]:
            lost = newly_dropped(run, dropped) if key == "train_sha256" else []
            why = (
                f"these pictures cannot be used any more: {', '.join(lost[:5])}" if lost else "they have changed since"
            )
            raise ValueError(
                f"{run.root}: holds a run on other {name}; {why}{', ...' if len(lost) > 5 else ''}. "
                "Give another work_dir, or restore them to go on with that run"
            )


def keep_document_frequency(run: Run, source: DocumentFrequencySource) -> None:
    """Save the document frequencies with the run, and where the next run looks for them."""
    source.document_frequency.save(run.document_frequency)
    source.save()
