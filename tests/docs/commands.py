"""What can be said of a command without running it: its script, its options and its settings are there."""

from __future__ import annotations

import contextlib
import io
import json
import shlex
import subprocess
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from commands.table import COMMANDS, DEFAULT
from configuration.keys import GROUPS, KNOWN_KEYS, MAPPINGS
from configuration.loading import load_config
from finetune import make_parser
from preprocessors.formats.recognition import open_rows
from preprocessors.formats.rows import AnnotationRow, Source
from sweeps.__main__ import make_parser as make_sweeps_parser
from sweeps.trials.plan import load_plan

REPOSITORY = Path(__file__).resolve().parents[2]
SMALLEST = {"model": {"preset": "nano"}, "data": {"format": "drawn_scenes"}}
SWEEPS = {
    "scripts/sweep.sh": ["run"],
    "scripts/sweep_xe.sh": ["run"],
    "scripts/sweep_scst.sh": ["run"],
    "scripts/eval.sh": ["eval"],
}
"""Scripts whose arguments are those of a command of ``sweeps``."""
ENDS = {"|", "||", "&&", ";", "&", ">", "<", "2>", ")", "}"}


def faults_of_shell(text: str) -> list[str]:
    """What is wrong with a block of shell commands."""
    checked = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True)
    faults = [checked.stderr.strip()] if checked.returncode else []
    return faults + [fault for command in commands_in(text) for fault in faults_of_command(command)]


def commands_in(text: str) -> Iterator[list[str]]:
    """Words of each line, from a program of ours to the end of its command."""
    for line in text.replace("\\\n", " ").splitlines():
        try:
            words = shlex.split(line, comments=True)
        except ValueError:  # a line of a script in several lines' quotes
            words = line.replace("'", " ").split()
        for place, word in enumerate(words):
            ours = word in ("-m", "finetune.py") or word.startswith(("scripts/", "benchmarks/"))
            if ours and (word == "finetune.py" or "python" in words[place - 1] or words[place - 1] == "bash"):
                rest = words[place:]
                end = next((number for number, each in enumerate(rest) if each in ENDS), len(rest))
                yield [each.rstrip(";") for each in rest[:end]]
                break


def faults_of_command(words: Sequence[str]) -> list[str]:
    """What is wrong with one command, without the ``python`` or ``bash`` before it."""
    program, *arguments = words
    if program == "finetune.py":
        name = arguments.pop(0) if arguments and arguments[0] in COMMANDS else DEFAULT
        return _parsed(make_parser(name).parse_intermixed_args, arguments) or _faults_of_settings(arguments)
    if program == "-m":
        module, *arguments = arguments
        spec = find_spec(module)
        if spec is None:
            return [f"there is no module {module}"]
        make = getattr(
            import_module(f"{module}.__main__" if spec.submodule_search_locations else module), "make_parser", None
        )
        return _parsed(make().parse_args, arguments) if make else []
    if not (REPOSITORY / program).is_file():
        return [f"there is no {program}"]
    if program in SWEEPS:
        return _parsed(make_sweeps_parser().parse_args, [*SWEEPS[program], *arguments]) or _faults_of_settings(
            arguments
        )
    return _faults_of_settings(arguments)


def faults_of_configuration(text: str, folder: Path) -> list[str]:
    """What is wrong with a configuration, or with some groups of one."""
    document = json.loads(text)
    if "preset" in document.get("model", {}) or "name" in document.get("model", {}):
        base = {"data": SMALLEST["data"]}
    else:
        base = SMALLEST
    path = folder / "conf.json"
    path.write_text(json.dumps({**base, **document}))
    return _told(lambda: load_config(path))


def faults_of_sweep(text: str, folder: Path) -> list[str]:
    """What is wrong with a sweep file."""
    path = folder / "sweep.json"
    path.write_text(text)
    with contextlib.chdir(REPOSITORY):
        return _told(lambda: load_plan(path))


def faults_of_annotations(text: str, argument: str, folder: Path) -> list[str]:
    """What is wrong with an example of a format; ``argument`` is the format and the file's name."""
    form, name = argument.split()
    path = folder / name
    path.write_text(text)
    rows: list[AnnotationRow] = []
    faults = _told(lambda: rows.extend(open_rows(form, Source(path, None, form, ".jpg"))))
    return faults or [f"{row.where}: no caption" for row in rows if not any(row.captions.values())]


def _faults_of_settings(arguments: Sequence[str]) -> list[str]:
    """Unknown keys of ``--set``, and whatever is wrong with a configuration of ours that it changes."""
    settings = [second for first, second in zip(arguments, arguments[1:], strict=False) if first == "--set"]
    keys = [setting.partition("=")[0] for setting in settings]
    unknown = [key for key in keys if key not in KNOWN_KEYS and not key.startswith(tuple(f"{m}." for m in MAPPINGS))]
    if unknown:
        return [f"--set: no such key: {', '.join(unknown)}"]
    files = [second for first, second in zip(arguments, arguments[1:], strict=False) if first == "--conf"]
    path = REPOSITORY / files[0] if files else None
    if path is None or not path.is_file() or GROUPS.keys().isdisjoint(json.loads(path.read_text("utf-8"))):
        return []
    return _told(lambda: load_config(path, settings, default_model="a trained captioner"))


def _parsed(parse: Callable[[Sequence[str]], Any], arguments: Sequence[str]) -> list[str]:
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            parse(arguments)
    except SystemExit as end:
        return said.getvalue().splitlines()[-1:] if end.code else []
    return []


def _told(act: Callable[[], Any]) -> list[str]:
    try:
        act()
    except (ValueError, OSError) as error:
        return [str(error)]
    return []
