"""The sweep file: axes over settings, how to choose points on them, seeds, and when to stop bad ones."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError
from pydantic_core import ErrorDetails

from configuration.keys import GROUPS, KNOWN_KEYS, MAPPINGS, describe_unknown
from configuration.types import ConfigPath, Group, NameOrFolder, Relation
from utils.io import encode_json, read_json

TAKEN_KEYS = {
    "work_dir": "every trial has a folder of its own; --work_dir names the sweep's",
    "train.seed": "list the seeds in seeds",
    "checkpoint.select": "trials are compared by it, so it is the same in all; it can stand in set",
} | dict.fromkeys(
    ("eval.split", "eval.styles", "data.format", "data.split", "data.val", "data.test", "data.styles"),
    "trials are compared on the same rows, so it is the same in all; it can stand in set",
)
"""Settings that cannot be an axis, and why."""
LIST_KIND = "list[any]"
"""What pydantic calls the list that an axis may be."""

Point = dict[str, Any]
"""A configuration: by dotted key the values on the axes."""


class Range(Group):
    """Numbers to draw from; ends included."""

    low: float
    high: float
    scale: Literal["log", "linear"] = "log"

    RELATIONS = (
        Relation(("high", "low"), lambda group: group.high > group.low, "must be above low={low:g}"),
        Relation(
            ("low", "scale"),
            lambda group: group.scale == "linear" or group.low > 0,
            "must be above 0 on a log scale; use scale linear, or a list of values",
        ),
    )

    def draw(self, generator: random.Random) -> float:
        """A number with three significant digits, uniform on the scale; more digits only make it hard to read."""
        if self.scale == "log":
            drawn = math.exp(generator.uniform(math.log(self.low), math.log(self.high)))
        else:
            drawn = generator.uniform(self.low, self.high)
        return min(max(float(f"{drawn:.3g}"), self.low), self.high)


class Halving(Group):
    """Successive halving (Jamieson and Talwalkar 2016, arXiv:1502.07943): all start, the best go on, and again."""

    first: float = Field(gt=0)
    """Epochs after which configurations are compared for the first time."""
    factor: int = Field(default=2, ge=2)
    """Each comparison keeps one of so many; the next comes after so many times the epochs."""


class SweepFile(Group):
    """What a sweep is made from."""

    base: ConfigPath
    """Configuration of finetune.py that every trial starts from."""
    checkpoint: NameOrFolder | None = None
    """Trained captioner to start from, as finetune.py's ``--checkpoint``."""
    set: dict[str, Any] = {}
    """Settings by dotted key that differ from the base in every trial."""
    axes: dict[str, list[Any] | Range] = Field(min_length=1)
    """By dotted key a list of values, or a range to draw from."""
    search: Literal["grid", "random"] = "grid"
    """Every combination of the lists, or ``points`` random ones."""
    points: int | None = Field(default=None, ge=1)
    """Configurations of a random search, those of ``include`` among them."""
    include: list[Point] = []
    """Configurations to try first, whatever the search; each names every axis."""
    seeds: list[int] = Field(default=[7], min_length=1)
    """Seeds of training; every configuration is trained with each."""
    draw_seed: int = Field(default=0, ge=0)
    """Seed of the random points."""
    halving: Halving | None = None
    """None = every trial is trained to its end."""
    metric: str = "overall.CIDEr"
    """Place in the results JSON of the number that trained trials are ranked by; higher is better."""
    retries: int = Field(default=1, ge=0)
    """How often a crashed trial is started again."""

    RELATIONS = (
        Relation(
            ("points", "search"),
            lambda group: (group.points is not None) == (group.search == "random"),
            "is the number of random points: needed with search random, and to be left out with search grid",
        ),
        Relation(("seeds",), lambda group: len({*group.seeds}) == len(group.seeds), "a seed stands there twice"),
    )


def read_sweep_file(path: Path, overrides: Mapping[str, Any], checkpoint: str | None) -> SweepFile:
    """Read and check a sweep file; the trials' configurations are not looked at.

    Args:
        path: JSON file with the fields of :class:`SweepFile`.
        overrides: Joined to ``set``; they win.
        checkpoint: Stands in place of the file's, if given.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If anything is wrong with it; names the field, and for a misspelt one the nearest.
    """
    document = read_json(path)
    if not isinstance(document, dict):
        raise ValueError(f"{path}: the top level must be an object {{...}}")
    if overrides and isinstance(document.get("set", {}), dict):
        document["set"] = document.get("set", {}) | dict(overrides)
    if checkpoint:
        document["checkpoint"] = checkpoint
    faults, file = _key_faults(document), None
    try:
        file = SweepFile.model_validate_json(encode_json(document))
        faults += _axis_faults(file)
    except ValidationError as error:
        errors = [fault for fault in error.errors(include_url=False) if not _is_of_other_kind(fault, document)]
        faults += map(_describe, errors)
    faults = [*dict.fromkeys(faults)]
    if file is None or faults:
        head = f"{len(faults)} faults in the sweep file:\n" if len(faults) > 1 else ""
        raise ValueError(head + "\n".join(f"{path}: {fault}" for fault in faults))
    return file


def _is_of_other_kind(error: ErrorDetails, document: Mapping[str, Any]) -> bool:
    """Whether a fault is about the list that an axis would be if it were not written as a range, or the reverse."""
    if len(error["loc"]) < 3 or error["loc"][0] != "axes":
        return False
    is_range = isinstance(document["axes"][error["loc"][1]], dict)
    return is_range if error["loc"][2] == LIST_KIND else not is_range and error["type"] == "model_type"


def _describe(error: ErrorDetails) -> str:
    # An axis is checked as a list and as a range, whose names stand in the place of a fault.
    kinds = (LIST_KIND, "Range", "function-after[_keep_relations(), Range]")
    place = [str(part) for part in error["loc"] if part not in kinds]
    name = ".".join(place)
    if error["type"] == "extra_forbidden":
        groups: dict[str, type[Group]] = {"axes": Range, "halving": Halving}
        group = groups.get(place[0], SweepFile)
        nearest = get_close_matches(place[-1], group.model_fields, n=1)
        return f"{name}: unknown key; " + (
            f"did you mean {nearest[0]}?" if nearest else f"known: {', '.join(group.model_fields)}"
        )
    if error["type"] == "missing":
        return f"{name}: missing"
    if error["type"] == "too_short" and not error["input"]:
        return f"{name}: is empty; " + {
            "axes": 'name a setting and its values, as in {"train.lr": [1e-5, 2e-5]}',
            "seeds": "name at least one, as in [7]",
        }.get(name, "list at least one")
    if error["type"] == "relation":
        return ".".join([*place, error["msg"]])
    if place[0] == "axes" and len(place) == 2:
        return f'{name}: must be a list of values, or a range such as {{"low": 1e-5, "high": 1e-3, "scale": "log"}}'
    return f"{name}: {error['msg'].removeprefix('Value error, ').replace('Input should', 'must', 1)}"


def _axis_faults(file: SweepFile) -> list[str]:
    faults = []
    for key, values in file.axes.items():
        if key in file.set:
            faults.append(f"{key}: is an axis and in set; keep one of the two")
        for other in (*file.axes, *file.set):
            if key in MAPPINGS and other.startswith(f"{key}.") or other in MAPPINGS and key.startswith(f"{other}."):
                faults.append(f"{min(key, other)} and {max(key, other)}: one holds the other; keep one of the two")
        if isinstance(values, Range):
            if file.search == "grid":
                faults.append(f"axes.{key}: a grid needs a list of values; a range is for search random")
        elif not values:
            faults.append(f"axes.{key}: is empty; list at least one value")
        elif len({_spell(value) for value in values}) < len(values):
            faults.append(f"axes.{key}: the same value stands there twice")
    for number, point in enumerate(file.include, start=1):
        missing = [key for key in file.axes if key not in point]
        if missing:
            faults.append(f"include, item {number}: has no value for {', '.join(missing)}")
        faults += [f"include, item {number}: {key}: is not one of the axes" for key in point if key not in file.axes]
    return faults


def _key_faults(document: Mapping[str, Any]) -> list[str]:
    """Of the document as it was written, so that a fault elsewhere hides none of these."""
    faults = []
    for place, taken in (("axes", [*TAKEN_KEYS]), ("set", ["work_dir", "train.seed"])):
        keys = document.get(place)
        for key in keys if isinstance(keys, dict) else ():
            if key in taken:
                faults.append(f"{place}.{key}: {TAKEN_KEYS[key]}")
            elif key in GROUPS:
                faults.append(f"{place}.{key}: is a group; name its settings one by one, as in {place}: {key}.…")
            elif key not in KNOWN_KEYS and not key.startswith(tuple(f"{mapping}." for mapping in MAPPINGS)):
                faults.append(f"{place}.{key}: {describe_unknown(key)}")
    return faults


def _spell(value: Any) -> bytes:
    """Numbers that are equal are spelt alike: 0 and 0.0."""
    return encode_json(float(value) if isinstance(value, int) and not isinstance(value, bool) else value)
