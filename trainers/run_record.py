"""What a run is made from, recorded in its folder and compared when it goes on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from models.ofa.folder import WEIGHT_FILES
from preprocessors.readers import ReadResult
from trainers.data import hash_examples
from trainers.reward_setup import DocumentFrequencySource
from utils.config import RunConfig
from utils.hub import resolve_model_folder
from utils.io import hash_file, read_json, write_json
from utils.runs import Run, check_same_run, open_run

FIXED_DATA = {
    "train_sha256": "training captions",
    "corpus_sha256": "masked_lm.corpus",
    "document_frequency_sha256": "scst.document_frequency",
    "anchor_sha256": "weights of model.name, which scst.kl_weight holds on to",
}
"""What may not change while a run is interrupted, and its name for messages."""


def describe_data(config: RunConfig, splits: dict[str, ReadResult]) -> dict[str, str]:
    """What a run is made from besides its settings, as hashes by name, and the name of the split."""
    data = {f"{name}_sha256": hash_examples(split.examples) for name, split in splits.items()}
    data |= {"split": splits["train"].split_id}
    if config.masked_lm.corpus is not None:
        data |= {"corpus_sha256": hash_file(config.masked_lm.corpus)}
    if config.scst.enabled and config.scst.document_frequency is not None:
        data |= {"document_frequency_sha256": hash_file(config.scst.document_frequency)}
    if config.scst.enabled and config.scst.kl_weight:  # the anchor is read again when a run goes on
        folder = resolve_model_folder(config.model.name or "", config.model.revision)
        weights = [folder / name for name in WEIGHT_FILES if (folder / name).is_file()]
        if weights:
            data |= {"anchor_sha256": hash_file(weights[0])}
    return data


def enter_run(
    run: Run,
    config: RunConfig,
    command: Sequence[str],
    conf_file: Path,
    splits: dict[str, ReadResult],
    data: dict[str, str],
) -> None:
    """Make or reopen the run folder and record what goes into the run.

    Raises:
        ValueError: If the folder's run was made with other settings or other data.
    """
    if run.config_file.exists():
        check_same_run(run, config)
    record = run.root / "environment.json"
    before = read_json(record).get("data", data) if record.is_file() else data
    for key, name in FIXED_DATA.items():
        if key in before and key in data and before[key] != data[key]:
            raise ValueError(
                f"{run.root}: holds a run on other {name}; they have changed since. "
                "Give another work_dir, or restore them to go on with that run"
            )
    open_run(config.work_dir, config, command, {"data": data}, conf_file=conf_file)
    rows = [row._asdict() for name in ("train", "val") for row in splits[name].dropped]
    if rows:
        write_json(run.root / "dropped_rows.json", rows)


def keep_document_frequency(run: Run, source: DocumentFrequencySource) -> None:
    """Save the document frequencies with the run, and where the next run looks for them."""
    source.document_frequency.save(run.document_frequency)
    source.save()
