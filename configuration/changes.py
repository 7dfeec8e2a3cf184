"""Which settings may change while a run is interrupted."""

from __future__ import annotations

from configuration.groups import RunConfig
from utils.trees import flatten

MAY_CHANGE = {
    *("work_dir", "decode", "eval.split", "eval.batch_size", "eval.neighbours", "eval.samples"),
    *("eval.report_images", "checkpoint.keep", "train.num_workers", "image.feature_cache", "scst.reward_workers"),
    "train.report_to",
}
"""What cannot change the weights of a run: groups, or single settings."""
FORMER_DEFAULTS = {"image.size": 480, "image.mean_std": "half"}
"""What older runs recorded where None now stands for the model's own."""


def describe_changes(old: RunConfig, new: RunConfig) -> list[str]:
    """The settings that must not differ between two starts of a run and do, as ``key: old -> new``."""
    before, after = (dict(flatten(config.to_json_dict())) for config in (old, new))
    # Captions drawn in self-critical training are decoded too.
    may_change = MAY_CHANGE - {"decode"} if new.scst.enabled else MAY_CHANGE
    return [
        f"{key}: {before.get(key)!r} -> {after.get(key)!r}"
        for key in dict.fromkeys([*before, *after])
        if before.get(key) != after.get(key)
        and not {key, key.partition(".")[0]} & may_change
        and (before.get(key), after.get(key)) != (FORMER_DEFAULTS.get(key), None)
    ]
