"""The JSON Schema of configuration files (draft 2020-12), which editors complete and check by."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from inspect import getdoc, getsource
from textwrap import dedent
from typing import Any, get_args

from configuration.groups import RunConfig
from configuration.keys import FLAT_KEYS, FORMER_KEYS, GROUPS
from configuration.types import Group

SCHEMA_KEY = "$schema"
"""Where a configuration file names its schema; nothing is read there."""


def write_schema() -> dict[str, Any]:
    """What a file may hold: groups with their keys, types, ranges, defaults and texts, and the original's flat keys.

    Rules between keys are not in it, nor which keys must be given, since ``--set`` may give them.
    """
    schema = RunConfig.model_json_schema()
    texts = docstrings(RunConfig) | {name: getdoc(group) or "" for name, group in GROUPS.items()}
    own = {name: _described(field, texts[name]) for name, field in schema["properties"].items()}
    others = {old: {"description": f"The original project's name of {new}."} for old, new in FLAT_KEYS.items()}
    others |= {old: _former(new) for old, new in FORMER_KEYS.items() if "." not in old}
    return {
        SCHEMA_KEY: "https://json-schema.org/draft/2020-12/schema",
        "title": "StyleCap configuration",
        "type": "object",
        "additionalProperties": False,
        "properties": {SCHEMA_KEY: {"type": "string"}, **own, **others},
        "$defs": {group.__name__: _group(name, group) for name, group in GROUPS.items()},
    }


def docstrings(group: type[Group]) -> dict[str, str]:
    """What stands below each field of a group, in one line."""
    (body,) = ast.parse(dedent(getsource(group))).body
    assert isinstance(body, ast.ClassDef)
    found = {}
    for field, below in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
            found[field.target.id] = " ".join(str(ast.literal_eval(below.value)).split())
    return found


def choices_of(group: type[Group], name: str) -> tuple[str, ...]:
    """The texts that a field of a few takes."""
    (literal, *_) = get_args(group.model_fields[name].annotation)
    return get_args(literal)


def _group(name: str, group: type[Group]) -> dict[str, Any]:
    texts = docstrings(group)
    own = {key: _described(field, texts[key]) for key, field in group.model_json_schema()["properties"].items()}
    begins = f"{name}."
    others = {old.removeprefix(begins): _former(new) for old, new in FORMER_KEYS.items() if old.startswith(begins)}
    return {"type": "object", "additionalProperties": False, "properties": own | others}


def _former(new: str) -> dict[str, Any]:
    return {"description": f"Another name of {new}.", "deprecated": True}


def _described(field: Mapping[str, Any], text: str) -> dict[str, Any]:
    without_title = {key: value for key, value in field.items() if key != "title"}
    return without_title | {"description": text.replace("``", "`")}
