"""The names of the settings: dotted keys, the original project's flat keys and flags, and the nearest to a typo."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import SequenceMatcher
from types import MappingProxyType

from configuration.groups import RunConfig
from configuration.types import Group

FLAT_KEYS: Mapping[str, str] = MappingProxyType(
    {
        "model_name": "model.name",
        "model_revision": "model.revision",
        "tokenize_style": "style.inject",
        "img_addr": "data.images",
        "dataset_path": "data.annotations",
        "file_attr": "data.image_suffix",
        "train_json": "data.train",
        "test_json": "data.test",
        "val_json": "data.val",
        "prompt": "style.prompt",
    }
)
"""Keys of the original's configuration file to ours (``work_dir`` has the same name in both)."""

FLAG_KEYS: Mapping[str, str] = MappingProxyType(
    {
        "checkpoint": "model.name",
        "max_epoches": "train.epochs",
        "batch_size": "train.batch_size",
        "num_workers": "train.num_workers",
        "lr": "train.lr",
        "lr_end": "train.lr_end",
        "warm_up": "train.warmup",
        "weight_decay": "train.weight_decay",
        "patch_image_size": "image.size",
        "max_image_size": "image.max_size",
        "beam_size": "decode.num_beams",
        "max_len": "decode.max_length",
        "freeze_resnet": "train.freeze",
        "cider": "scst.enabled",
    }
)
"""Flags of the original's command line, without the dashes, to ours."""

FORMER_KEYS: Mapping[str, str] = MappingProxyType(
    {"checkpoint.keep": "checkpoint.keep_last", "unlikelihood_alpha": "unlikelihood.repetition"}
)
"""Settings that older files, or others' programs, know under another name."""

GROUPS: Mapping[str, type[Group]] = MappingProxyType(
    {
        name: field.annotation
        for name, field in RunConfig.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Group)
    }
)
"""The groups by name, in the order of RunConfig."""

ALONE = tuple(name for name in RunConfig.model_fields if name not in GROUPS)
"""Settings that are in no group."""

KNOWN_KEYS: tuple[str, ...] = (
    *(f"{group}.{name}" for group, fields in GROUPS.items() for name in fields.model_fields),
    *ALONE,
)
"""Every setting's dotted key."""

MAPPINGS = ("model.overrides", "data.columns", "style.aliases", "scst.rewards")
"""Settings whose entries ``--set`` reaches one by one, as in ``scst.rewards.style=0.5``."""


def describe_unknown(key: str) -> str:
    """What to tell the user about a key that does not exist: the nearest keys, or the known ones of its group."""
    if key in KNOWN_KEYS:
        group, _, name = key.partition(".")
        return f'unknown key; write it as {{"{group}": {{"{name}": ...}}}}'
    # A third part is an entry of one of MAPPINGS: the misspelt part stands before it.
    nearest = nearest_keys(".".join(key.split(".")[:2]))
    if nearest:
        return f"unknown key; did you mean {' or '.join(nearest)}?"
    group = key.partition(".")[0]
    known = [name for name in KNOWN_KEYS if name.startswith(f"{group}.")] or [*GROUPS, *ALONE]
    return f"unknown key; known: {', '.join(known)}"


def nearest_keys(key: str, cutoff: float = 0.6) -> list[str]:
    """The known keys that are most like a misspelt one, best only; several if they are equally near.

    The last part of the key counts for more than its group, so that ``lr`` and ``decode.lr`` both lead to ``train.lr``.
    The original's names lead to ours: ``warm_up`` to ``train.warmup``.

    Args:
        key: A key that does not exist, with or without a group.
        cutoff: Least likeness in [0, 1] of the last parts.
    """
    group, _, name = key.lower().replace("-", "_").rpartition(".")
    spellings = [(known, known) for known in (*KNOWN_KEYS, *GROUPS)] + [*FLAT_KEYS.items(), *FLAG_KEYS.items()]
    scores: dict[str, tuple[float, float]] = {}
    for spelling, known in spellings:
        likeness = _likeness(name, spelling.rpartition(".")[2])
        if likeness >= cutoff:
            # Of a key without a group, keys of that name in two groups are equally near.
            score = (likeness, _likeness(group, known.rpartition(".")[0]) if group else float("." not in known))
            scores[known] = max(score, scores.get(known, score))
    best = max(scores.values(), default=None)
    return [known for known, score in scores.items() if score == best]


def _likeness(first: str, second: str) -> float:
    return SequenceMatcher(None, first, second).ratio()
