"""Variables of a container to the command line that they stand for."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PREFIX = "STYLECAP_"
HANDED_ON = ("STYLECAP_SHARED", "STYLECAP_TOKEN")
"""What finetune.py and the configurations read themselves; a token is told nobody."""
LATEST, NO = "latest", "no"


class Task(NamedTuple):
    """A value of ``TASK``: the command of finetune.py, and which key each short variable is there."""

    command: str
    keys: Mapping[str, str]


TASKS: Mapping[str, Task] = {
    "train": Task(
        "train",
        {
            "LEARNING_RATE": "train.lr",
            "VAL_DATASET": "data.val",
            "SAVE_EVERY": "checkpoint.every_minutes",
            "VAL_EVERY": "checkpoint.every_epochs",
            "VAL_BATCH": "eval.batch_size",
        },
    ),
    "text": Task(
        "lm",
        {
            "LEARNING_RATE": "train.lr",
            "VAL_DATASET": "documents.val",
            "SAVE_EVERY": "lm.save_every",
            "VAL_EVERY": "lm.val_every",
            "VAL_BATCH": "eval.batch_size",
        },
    ),
    "eval": Task("eval", {"VAL_DATASET": "data.val", "VAL_BATCH": "eval.batch_size"}),
    "serve": Task("serve", {}),
}
TRAINS = ("train", "text")
SHORT = tuple(TASKS["train"].keys)
OWN = ("TASK", "CONF", "RUN", "RESTORE_FROM", "PORT", "RESTARTS", "RESTART_PAUSE", "GRACE", "HEALTH_MINUTES", *SHORT)
"""Variables of ours without the prefix; an empty one counts as not given, as compose files hand them on."""


class Setting(NamedTuple):
    """What a variable gives: a value to a key, or to none where the task has no use for it."""

    variable: str
    key: str | None
    value: str


class Plan(NamedTuple):
    """The command to run, and a line for each variable that says what it became."""

    command: list[str]
    told: list[str]


def make_plan(environment: Mapping[str, str], arguments: Sequence[str] = (), root: Path = ROOT) -> Plan:
    """Read the variables.

    Args:
        environment: Variables by name.
        arguments: What the container was started with besides; it stands behind everything else, so it wins.
        root: Folder of finetune.py, from which relative paths count.

    Raises:
        ValueError: If a variable is unknown or cannot be used; one line for each fault.
    """
    name = task_of(environment)
    command = TASKS[name].command
    told = [f"TASK={name} became finetune.py {command}"]
    settings, faults = _read_settings(environment, name, read_keys(root / "conf/schema.json"), told)
    options: list[str] = []
    try:
        options = _place_options(environment, name, root, told)
    except ValueError as error:
        faults.append(str(error))
    if faults:
        raise ValueError("\n".join(faults))
    options += [word for _, key, value in settings for word in ("--set", f"{key}={value}")]
    return Plan([sys.executable, "finetune.py", command, *options, *arguments], told)


def task_of(environment: Mapping[str, str]) -> str:
    """What is asked for; ``train`` if nothing is.

    Raises:
        ValueError: If there is no such task.
    """
    name = environment.get("TASK") or "train"
    if name not in TASKS:
        raise ValueError(f"TASK={name}: unknown; {_nearest(name, list(TASKS))}It is one of {', '.join(TASKS)}.")
    return name


def run_of(environment: Mapping[str, str]) -> str:
    """Name of the run folder below ``work_dir``: ``RUN``, or the stem of ``CONF``.

    Raises:
        ValueError: If neither is given, or the name is a path.
    """
    name = environment.get("RUN") or Path(environment.get("CONF") or "").stem
    if not name:
        raise ValueError("CONF is not set: it names the configuration file, as in CONF=conf/demo.json")
    if name in (".", "..") or "/" in name:
        raise ValueError(f"RUN={name}: must be a plain name; the folder is work_dir/NAME, which is the volume of runs")
    return name


def read_keys(schema_file: Path) -> dict[str, bool]:
    """Every key in a group by its dotted name, and whether it has entries that are set one by one."""
    schema: dict[str, Any] = json.loads(schema_file.read_text("utf-8"))
    groups = {name: entry["$ref"].rpartition("/")[2] for name, entry in schema["properties"].items() if "$ref" in entry}
    return {
        f"{group}.{key}": field.get("type") == "object"
        for group, definition in groups.items()
        for key, field in schema["$defs"][definition]["properties"].items()
    }


def variable_of(key: str) -> str:
    """The variable of a dotted key: ``train.lr`` is ``STYLECAP_TRAIN__LR``."""
    return PREFIX + key.replace(".", "__").upper()


def _read_settings(
    environment: Mapping[str, str], task: str, known: Mapping[str, bool], told: list[str]
) -> tuple[list[Setting], list[str]]:
    """The settings that variables give, and the faults."""
    found: list[Setting] = []
    faults: list[str] = []
    short = TASKS[task].keys
    found += [Setting(name, short.get(name), environment[name]) for name in SHORT if environment.get(name)]
    long = {variable_of(key): key for key in known}
    for name in sorted(name for name in environment if name.startswith(PREFIX)):
        key = long.get(name) or _entry_of(name, long, known)
        if name in HANDED_ON:
            told.append(f"{name} is handed on as it is")
        elif key is None:
            faults.append(f"{name}: unknown variable; {_nearest_variable(name, list(long))}")
        else:
            found.append(Setting(name, None if task == "serve" else key, environment[name]))
    for name, key, value in found:
        told.append(f"{name}={value} became {key}" if key else f"{name}: TASK={task} has no use for it")
    settings = [setting for setting in found if setting.key]
    return settings, [*faults, *_find_doubles(settings)]


def _entry_of(name: str, long: Mapping[str, str], known: Mapping[str, bool]) -> str | None:
    """Key of one entry: ``STYLECAP_SCST__REWARDS__STYLE`` is ``scst.rewards.style``."""
    mapping, _, entry = name.rpartition("__")
    key = long.get(mapping)
    return f"{key}.{entry.lower()}" if key is not None and known[key] and entry else None


def _find_doubles(settings: Sequence[Setting]) -> Iterator[str]:
    first: dict[str | None, str] = {}
    for name, key, _ in settings:
        if key in first:
            yield f"{first[key]} and {name} are both {key}; keep one of the two"
        first.setdefault(key, name)


def _place_options(environment: Mapping[str, str], task: str, root: Path, told: list[str]) -> list[str]:
    """Options that say what to read and where to write."""
    restore = environment.get("RESTORE_FROM") or LATEST
    model = None if restore in (LATEST, NO) else _find_model(restore, root)
    if task == "serve":
        return _serving_options(environment, restore, model, told)
    run = run_of(environment)
    folder = f"work_dir/{run}"
    conf = environment.get("CONF") or f"{folder}/config.json"
    if task in TRAINS and not environment.get("CONF"):
        raise ValueError("CONF is not set: it names the configuration file, as in CONF=conf/demo.json")
    told.append(f"CONF={conf} became --conf")
    told.append(f"RUN={run} became work_dir={folder}")
    begun = _has_content(root / folder)
    if restore == NO:
        _check_fresh(task, folder, begun)
    if model is not None:
        told.append(f"RESTORE_FROM={restore} became --checkpoint {model}")
    elif task in TRAINS:
        told.append(f"RESTORE_FROM={restore}: {f'goes on with {folder}' if begun else f'a new run in {folder}'}")
    return ["--conf", conf, "--set", f"work_dir={folder}", *(() if model is None else ("--checkpoint", model))]


def _check_fresh(task: str, folder: str, begun: bool) -> None:
    if task not in TRAINS:
        raise ValueError(f"RESTORE_FROM=no: TASK={task} needs a trained model; give latest, or its folder or archive")
    if begun:
        raise ValueError(
            f"RESTORE_FROM=no: {folder} holds a run already, which is not touched. Give the new one another name with "
            "RUN, or go on with RESTORE_FROM=latest."
        )


def _serving_options(environment: Mapping[str, str], restore: str, model: str | None, told: list[str]) -> list[str]:
    if restore == NO:
        _check_fresh("serve", "", begun=False)
    if model is None:
        model = f"work_dir/{run_of(environment)}/output"
    port = environment.get("PORT") or "8000"
    told += [f"RESTORE_FROM={restore} became --model {model}", f"PORT={port} became --port, on all addresses"]
    if not environment.get("STYLECAP_TOKEN"):
        told.append("STYLECAP_TOKEN is not set: whoever reaches the port may ask, unless --token-file is given")
    return ["--model", model, "--host", "0.0.0.0", "--port", port]


def _find_model(place: str, root: Path) -> str:
    """The model folder or archive; of a run folder its ``output``."""
    path = root / place
    if not path.exists():
        near = get_close_matches(place.lower(), (LATEST, NO), n=1)
        asked = f"did you mean {near[0]}? " if near else ""
        raise ValueError(f"RESTORE_FROM={place}: no such folder or archive; {asked}It is latest, no, or a path.")
    return f"{place.rstrip('/')}/output" if (path / "output").is_dir() else place


def _has_content(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _nearest(name: str, known: Sequence[str]) -> str:
    near = get_close_matches(name.lower(), known, n=1, cutoff=0.5)
    return f"did you mean {near[0]}? " if near else ""


def _nearest_variable(name: str, known: Sequence[str]) -> str:
    bare = name.removeprefix(PREFIX)
    if bare in OWN or bare == "WORK_DIR":
        return f"did you mean {'RUN' if bare == 'WORK_DIR' else bare}?"
    near = get_close_matches(name, known, n=1, cutoff=0.0)
    return f"did you mean {near[0]}? docs/configuration.md lists the keys"
