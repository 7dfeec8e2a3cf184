"""Makes run folders and records every start: what was run, with what settings, by which code."""

from __future__ import annotations

import secrets
import shlex
import shutil
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from runs.folder import Run
from utils.environment import PACKAGES, REPOSITORY, describe_environment
from utils.io import write_json

SOURCE_SUFFIXES = (".py", ".j2")


def record_start(
    run: Run,
    settings: Mapping[str, Any],
    command: Sequence[str],
    extra_environment: Mapping[str, Any],
    *,
    conf_file: Path | None = None,
) -> None:
    """Make the run folder if it is not there, and record what is started in it.

    Of several processes only one may call it.

    Args:
        run: The folder.
        settings: The resolved configuration, JSON-like.
        command: The command line, program first.
        extra_environment: Joined to environment.json, for example the hash of the data.
        conf_file: The configuration file as the user wrote it, copied into ``source/``.

    Raises:
        ValueError: If the folder cannot be written.
    """
    try:
        run.root.mkdir(parents=True, exist_ok=True)
        write_json(run.config_file, settings)
    except OSError as error:
        raise ValueError(f"work_dir={run.root}: cannot be written ({error.strerror}); give another folder") from error
    with (run.root / "command.txt").open("a", encoding="utf-8") as file:
        file.write(f"{datetime.now().astimezone().isoformat(timespec='seconds')} {shlex.join(command)}\n")
    write_json(run.root / "environment.json", describe_environment() | dict(extra_environment))
    _copy_source(run.root / "source", conf_file)


def _copy_source(folder: Path, conf_file: Path | None) -> None:
    aside = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
    try:
        for path in _source_files():
            copy = aside / path.relative_to(REPOSITORY)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        if conf_file is not None:
            shutil.copyfile(conf_file, aside / conf_file.name)
        # The copy of an earlier start goes only once the new one is complete.
        if folder.exists():
            shutil.rmtree(folder)
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _source_files() -> Iterable[Path]:
    program = REPOSITORY / "finetune.py"
    if program.exists():
        yield program
    for package in PACKAGES:
        for suffix in SOURCE_SUFFIXES:
            yield from sorted((REPOSITORY / package).rglob(f"*{suffix}"))
