"""Which settings may change while a run is interrupted."""

from __future__ import annotations

from configuration.groups import RunConfig
from utils.io import hash_json
from utils.trees import flatten

MAY_CHANGE = {
    *("work_dir", "decode", "eval.split", "eval.batch_size", "eval.clip", "eval.lm", "eval.neighbours", "eval.samples"),
    *("eval.report_images", "train.num_workers", "image.feature_cache", "scst.reward_workers", "train.report_to"),
    *("eval.leaderboard",),
    *("image.cache", "image.cache_mb", "image.max_pixels", "data.picture_record"),
    *("train.max_hours", "lm.sample_every", "lm.sample_num", "lm.sample_length", "lm.temperature", "lm.top_k"),
    *("lm.top_p", "lm.hit_places", "documents.encoded"),
    *("checkpoint.keep_last", "checkpoint.keep_best", "checkpoint.every_minutes", "checkpoint.on_lost_best"),
}
"""What cannot change the weights of a run: groups, or single settings."""
SHARES_OF_A_STEP = {"train.batch_size", "train.accumulation_steps", "train.global_batch_size"}
"""What, with the number of processes, divides the rows of an optimizer step: the same rows change rounding alone."""
FORMER_DEFAULTS = {"image.size": 480, "image.mean_std": "half"}
"""What older runs recorded where None now stands for the model's own."""


def describe_changes(old: RunConfig, new: RunConfig, *, allow_shares: bool = False) -> list[str]:
    """The settings that must not differ between two starts of a run and do, as ``key: old -> new``.

    Args:
        old: Of the run.
        new: Of the start.
        allow_shares: A step's rows may be divided otherwise; whether they stay as many is for the caller to check.
    """
    before, after = (dict(flatten(config.to_json_dict())) for config in (old, new))
    may_change = _may_change(new) | (_shares(new) if allow_shares else set())
    return [
        f"{key}: {before.get(key)!r} -> {after.get(key)!r}"
        for key in dict.fromkeys([*before, *after])
        if before.get(key) != after.get(key)
        and not {key, key.partition(".")[0]} & may_change
        and (before.get(key), after.get(key)) != (FORMER_DEFAULTS.get(key), None)
    ]


def hash_settings(config: RunConfig) -> str:
    """SHA-256 (hex) of the settings that decide over the weights and are not their defaults.

    Settings that a later version adds do not change it.
    """
    decisive = dict(flatten(config.model_dump(mode="json", exclude_defaults=True)))
    left_out = _may_change(config) | SHARES_OF_A_STEP
    kept = {key: value for key, value in sorted(decisive.items()) if not {key, key.partition(".")[0]} & left_out}
    return hash_json(kept)


def _may_change(config: RunConfig) -> set[str]:
    decisive: set[str] = set()
    if config.draws:
        decisive.add("decode")  # captions that are drawn
    if config.data.streaming:
        decisive.add("image.max_pixels")  # larger pictures teach nothing, and no list tells which they were
    if config.lm.val_batches is not None:
        decisive.add("eval.batch_size")  # how many rows the best checkpoint is chosen by
    return MAY_CHANGE - decisive


def _shares(config: RunConfig) -> set[str]:
    # Rows are sorted by length within batches, or a batch is of one lane: another size puts other rows into a step.
    of_batches = {"train.batch_size", "train.global_batch_size"}
    has_other_rows = config.train.group_lengths or config.data.streaming
    return SHARES_OF_A_STEP - of_batches if has_other_rows else SHARES_OF_A_STEP
