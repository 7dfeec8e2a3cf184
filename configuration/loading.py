"""Loads a run's configuration: one JSON file, the original project's flags, and ``--set key=value``.

    config = load_config(Path("conf/demo.json"), ["train.lr=2e-5"], {"batch_size": 8})

Later sources win (file, flags, ``--set``). All faults are reported together, each with the place it comes from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from configuration.groups import RunConfig
from configuration.keys import ALONE, FLAG_KEYS, FLAT_KEYS, FORMER_KEYS, GROUPS, KNOWN_KEYS, MAPPINGS, describe_unknown
from configuration.schema import SCHEMA_KEY
from configuration.types import Group
from preprocessors.formats.table import FORMATS
from utils.io import encode_json, parse_value, read_commented_json, shorten_json

__all__ = ["FLAG_KEYS", "RunConfig", "load_config"]


def load_config(
    path: Path | str,
    overrides: Sequence[str] = (),
    flags: Mapping[str, Any] | None = None,
    *,
    default_model: str | None = None,
) -> RunConfig:
    """Reads, merges and checks a configuration.

    Args:
        path: JSON file with nested groups, the original project's flat keys, or both; lines that begin with ``//`` are
            comments.
        overrides: ``group.key=value`` each; the value is read as JSON, or taken as a string if it is not JSON.
        flags: The original's flags (``FLAG_KEYS``) without dashes; None values were not given. Strings are read as
            in ``overrides``.
        default_model: ``model.name`` if none of these gives a model, by name or preset.

    Returns:
        The complete configuration; ``work_dir`` is ``work_dir/<stem of the file>`` unless given.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not a JSON object or any setting is wrong; one line for each fault.
    """
    document = read_commented_json(path)
    if not isinstance(document, dict):
        raise ValueError(f"{path}: the top level must be an object {{...}}, not {shorten_json(document)}")
    draft = _Draft(str(path))
    draft.take_file(document)
    draft.take_flags(flags or {})
    draft.take_overrides(overrides)
    if default_model and all(draft.values.get(key) is None for key in ("model.name", "model.preset")):
        draft.put("model.name", default_model, "--checkpoint")
    return draft.build(default_work_dir=Path("work_dir") / Path(path).stem)


class _Draft:
    """Settings by dotted key while they are gathered, with the place each comes from and the faults so far."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.values: dict[str, Any] = {}
        self.labels: dict[str, str] = {}
        self.faults: list[str] = []

    def put(self, key: str, value: Any, label: str) -> None:
        if key == "checkpoint.keep" and value == 1:
            value = 2  # what older files could ask for; the newest alone is not enough to be safe
        key = FORMER_KEYS.get(key, key)
        if key not in KNOWN_KEYS:
            self.faults.append(f"{label}: {describe_unknown(key)}")
            return
        self.values[key] = value
        self.labels[key] = label

    def take_file(self, document: Mapping[str, Any]) -> None:
        for key, value in document.items():
            if key in FLAT_KEYS or key == SCHEMA_KEY:
                continue
            if key in ALONE or key in FORMER_KEYS:
                self.put(key, value, f"{self.file}: {key}")
            elif key not in GROUPS:
                self.faults.append(f"{self.file}: {key}: {describe_unknown(key)}")
            elif not isinstance(value, dict):
                self.faults.append(f"{self.file}: {key}={shorten_json(value)}: must be an object {{...}}")
            else:
                for name, inner in value.items():
                    self.put(f"{key}.{name}", inner, f"{self.file}: {key}.{name}")
        self._take_flat({key: document[key] for key in FLAT_KEYS if key in document})
        # The original wrote "" where it meant "the default".
        if self.values.get("work_dir") in (None, ""):
            self.values.pop("work_dir", None)

    def _take_flat(self, flat: Mapping[str, Any]) -> None:
        for key, value in flat.items():
            dotted, label = FLAT_KEYS[key], f"{self.file}: {key}"
            if dotted in self.values:
                self.faults.append(f"{label} and {dotted} are the same setting; keep one of the two")
            elif key == "tokenize_style":
                if isinstance(value, bool):
                    self.put(dotted, "code" if value else "words", label)
                else:
                    self.faults.append(f"{label}={shorten_json(value)}: must be true or false")
            else:
                self.put(dotted, None if value == "" and key != "file_attr" else value, label)
        if any(FLAT_KEYS[key].startswith("data.") for key in flat):
            self.values.setdefault("data.format", "personality_captions")

    def take_flags(self, flags: Mapping[str, Any]) -> None:
        for flag, given in flags.items():
            if given is None:
                continue
            value = parse_value(given) if isinstance(given, str) and flag != "checkpoint" else given
            if flag == "freeze_resnet":
                self._take_freeze(value)
            else:
                self.put(FLAG_KEYS[flag], value, f"--{flag}")
            if flag == "checkpoint":
                # The new checkpoint stands instead of whatever model the file describes.
                for key in ("model.preset", "model.overrides", "model.revision"):
                    self.values.pop(key, None)

    def _take_freeze(self, value: Any) -> None:
        if not isinstance(value, bool):
            self.faults.append(f"--freeze_resnet={shorten_json(value)}: must be true or false")
            return
        frozen = self.values.get("train.freeze", [])
        if value and isinstance(frozen, list) and "resnet" not in frozen:
            self.put("train.freeze", [*frozen, "resnet"], self.labels.get("train.freeze", "--freeze_resnet"))

    def take_overrides(self, overrides: Sequence[str]) -> None:
        for text in overrides:
            key, equals, raw = text.partition("=")
            key = key.strip()
            if not equals or not key:
                self.faults.append(f"--set {text}: must be key=value, for example train.lr=2e-5")
            elif key in GROUPS:
                self.faults.append(f"--set {key}: is a group; set one of its keys, for example {key}.{_first(key)}=...")
            elif key.startswith(tuple(f"{mapping}." for mapping in MAPPINGS)):
                self._put_entry(key, parse_value(raw))
            else:
                self.put(key, parse_value(raw), f"--set {key}")

    def _put_entry(self, key: str, value: Any) -> None:
        group, name, entry = key.split(".", 2)
        mapping = f"{group}.{name}"
        held = self.values.get(mapping, GROUPS[group].model_fields[name].default)
        self.put(mapping, (held if isinstance(held, dict) else {}) | {entry: value}, f"--set {mapping}")

    def build(self, default_work_dir: Path) -> RunConfig:
        form = FORMATS.get(str(self.values.get("data.format")))
        if form is not None and form.own_split is not None and self.values.get("data.split") is None:
            self.values["data.split"] = form.own_split
        if True in (self.values.get("scst.enabled"), self.values.get("preference.enabled")):
            self.values.setdefault("checkpoint.select", "CIDEr")
        if self.values.get("task") == "text":
            self.values.setdefault("train.label_smoothing", 0.0)  # OFA's is for captions
        if self.values.get("work_dir") is None:
            self.values["work_dir"] = default_work_dir
        nested: dict[str, Any] = {group: {} for group in GROUPS}
        for dotted, value in self.values.items():
            group, _, name = dotted.rpartition(".")
            (nested[group] if group else nested)[name] = value
        config = None
        try:
            config = RunConfig.model_validate_json(encode_json(nested))
        except ValidationError as error:
            self.faults += self._describe(error.errors(include_url=False), nested)
        if config is None or self.faults:
            head = f"{len(self.faults)} faults in the configuration:\n" if len(self.faults) > 1 else ""
            raise ValueError(head + "\n".join(self.faults))
        return config

    def _describe(self, errors: Sequence[ErrorDetails], nested: Mapping[str, Any]) -> Iterator[str]:
        wrong = {".".join(map(str, error["loc"][:2])) for error in errors if error["type"] != "relation"}
        for error in errors:
            if error["type"] != "relation":
                yield self._describe_one(error)
        # Pydantic checks the relations of a group only if all its fields are right; the user wants every fault at once.
        partial: dict[str, Group] = {}
        for group, fields in GROUPS.items():
            right = {name: value for name, value in nested[group].items() if f"{group}.{name}" not in wrong}
            partial[group] = fields.model_construct(**right)
            yield from self._describe_relations(partial[group], f"{group}.", wrong)
        alone = {name: nested[name] for name in ALONE if name in nested}
        yield from self._describe_relations(RunConfig.model_construct(None, **partial, **alone), "", wrong)

    def _describe_relations(self, group: Group, prefix: str, wrong: set[str]) -> Iterator[str]:
        for rule in group.RELATIONS:
            if wrong.isdisjoint(f"{prefix}{name}" for name in rule.keys) and not rule.holds(group):
                yield f"{self._locate(f'{prefix}{rule.keys[0]}')}: {rule.describe(group)}"

    def _describe_one(self, error: ErrorDetails) -> str:
        dotted = ".".join(map(str, error["loc"][:2]))
        # Inside a list stands its index; inside a dict its key, with "[key]" after it if the key itself is at fault.
        parts = [f"item {part + 1}: " if isinstance(part, int) else f"{part}: " for part in error["loc"][2:]]
        item = "".join(part for part in parts if part != "[key]: ")
        if error["type"] == "value_error":
            message = str(error["ctx"]["error"])
        else:
            message = error["msg"].replace("Input should", "must", 1)
        label = self._locate(dotted)
        if error["type"] == "string_type" and label.startswith("--set") and not item:
            message += f"; in quotes for the shell: --set '{dotted}=\"{error['input']}\"'"
        return f"{label}: {item}{message}"

    def _locate(self, dotted: str) -> str:
        label = self.labels.get(dotted, f"{self.file}: {dotted}")
        return f"{label}={shorten_json(self.values[dotted])}" if dotted in self.values else label


def _first(group: str) -> str:
    return next(iter(GROUPS[group].model_fields))
