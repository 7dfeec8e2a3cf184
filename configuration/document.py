"""Writes what tells of every setting: docs/configuration.md for people, conf/schema.json for editors.

Both are made from the types, defaults and docstrings of the groups.

python -m configuration.document            write them
python -m configuration.document --check    exit code 1 if they are not what would be written
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from inspect import getdoc
from pathlib import Path
from typing import Any

from configuration.changes import MAY_CHANGE
from configuration.groups import RunConfig
from configuration.keys import FLAG_KEYS, FLAT_KEYS, GROUPS, MAPPINGS
from configuration.schema import docstrings, write_schema
from configuration.types import Group
from utils.io import write_text

REPOSITORY = Path(__file__).resolve().parents[1]
PAGE = REPOSITORY / "docs" / "configuration.md"
SCHEMA = REPOSITORY / "conf" / "schema.json"
HEAD = """\
# Configuration

<!-- Written by `python -m configuration.document` from the types in configuration/. Change those, not this page. -->

A run is described by one JSON file of groups. `data.format` must be given, but for `task` text, and one of
`model.name` and `model.preset`; every other key has a default. `python finetune.py --conf FILE` reads it,
`--set group.key=value` overrides any key (the value is JSON, or a string), and the complete result stands in the run's
`config.json`. Unknown keys and wrong values are refused, all at once, with the nearest name. Editors complete and check
a file that names [conf/schema.json](../conf/schema.json) as its `$schema`, by a path from the file. Lines that begin
with `//` are comments. `python finetune.py init FILE` writes a first file for data of your own.

<!-- configuration -->
```json
{{
  "model": {{"preset": "tiny"}},
  "data": {{"format": "jsonl", "annotations": "my/annotations", "images": "${{PHOTOS:-my/photos}}"}},
  "train": {{"epochs": 5, "lr": 1e-3}}
}}
```

Paths may hold `~`, `${{NAME}}` and `${{NAME:-default}}`, and are relative to where the command is started. `--set` also
reaches single entries of {mappings}, as in `--set style.aliases.funny=humorous`. Null means
off, or what the text says (there it is called None). While a run is interrupted, these may change, and nothing else:
{may_change}.
"""
TAIL = """\
## Files and flags of the original project

Its flat `train_conf.json` and its flags work unchanged; `data.format` is `personality_captions` then, unless given.

| in its file | is |
|---|---|
{keys}

| flag | is |
|---|---|
{flags}
"""
WORDS = {
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "string": "text",
    "path": "path",
    "null": "null",
}
BOUNDS = {
    "minimum": "at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "exclusiveMaximum": "below",
}

REQUIRED = {"work_dir": "`work_dir/` and the file's name"}
"""What stands in for a field without a default, where loading fills it in."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check both files; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if a file is not up to date")
    texts = {PAGE: write_page(), SCHEMA: json.dumps(write_schema(), indent=2, ensure_ascii=False) + "\n"}
    if not parser.parse_args(arguments).check:
        for file, text in texts.items():
            write_text(file, text)
        return 0
    stale = [file for file, text in texts.items() if not file.exists() or file.read_text("utf-8") != text]
    for file in stale:
        print(f"{file}: not what the types say; run python -m configuration.document", file=sys.stderr)
    return int(bool(stale))


def write_page() -> str:
    """The page as Markdown."""
    parts = [HEAD.format(mappings=_in_code(MAPPINGS), may_change=_in_code(sorted(MAY_CHANGE)))]
    for name, group in GROUPS.items():
        parts.append(f"## {name}\n\n{_markdown(getdoc(group) or '')}\n\n{_table(_rows(group, f'{name}.'))}\n")
    parts.append(f"## The run\n\n{_table(_rows(RunConfig, ''))}\n")
    keys = "\n".join(f"| `{old}` | `{new}` |" for old, new in FLAT_KEYS.items())
    flags = "\n".join(f"| `--{old}` | `{new}` |" for old, new in FLAG_KEYS.items())
    return "\n".join([*parts, TAIL.format(keys=keys, flags=flags)])


def _kind(schema: Mapping[str, Any]) -> str:
    """Type and range in words, of a JSON schema: ``whole number, at least 1``."""
    if "anyOf" in schema:
        return "; or ".join(_kind(part) for part in schema["anyOf"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if "pattern" in schema:
        return "`package.module:name`"
    if "enum" in schema:
        return f"one of {_in_code(schema['enum'])}"
    if schema["type"] == "array":
        return f"list{', not empty' if schema.get('minItems') else ''}: {_kind(schema['items'])}"
    if schema["type"] == "object":
        held, names = schema.get("additionalProperties"), schema.get("propertyNames", {"type": "string"})
        return "object" + (f": {_kind(names)} to {_kind(held)}" if isinstance(held, dict) else "")
    word = WORDS[schema.get("format") or schema["type"]]
    bounds = [f"{words} {schema[bound]:,}" for bound, words in BOUNDS.items() if bound in schema]
    return ", ".join([word, " and ".join(bounds)] if bounds else [word])


def _rows(group: type[Group], prefix: str) -> Iterator[tuple[str, str, str, str]]:
    """Key, type and range, default and text of each setting of a group."""
    texts = docstrings(group)
    properties = group.model_json_schema()["properties"]
    for name, field in group.model_fields.items():
        if f"{prefix}{name}" not in GROUPS:
            default = f"`{_shown(field.default)}`" if not field.is_required() else REQUIRED.get(name, "must be given")
            yield f"`{prefix}{name}`", _kind(properties[name]), default, texts[name]


def _table(rows: Iterator[tuple[str, str, str, str]]) -> str:
    lines = ["| key | type and range | default | |", "|---|---|---|---|"]
    for row in rows:
        lines.append(f"| {' | '.join(_markdown(cell) for cell in row)} |")
    return "\n".join(lines)


def _in_code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _markdown(text: str) -> str:
    return text.replace("``", "`").replace("|", r"\|")


def _shown(value: Any) -> str:
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)


if __name__ == "__main__":
    sys.exit(main())
