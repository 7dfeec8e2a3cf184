"""Makes run folders and records every start: what was run, with what settings, by which code."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from runs.folder import Run
from runs.source import keep_source
from utils.environment import describe_environment
from utils.io import write_json


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
        conf_file: The configuration file as the user wrote it, kept with the code.

    Raises:
        ValueError: If the folder cannot be written.
    """
    try:
        run.root.mkdir(parents=True, exist_ok=True)
        write_json(run.config_file, settings)
    except OSError as error:
        raise ValueError(f"work_dir={run.root}: cannot be written ({error.strerror}); give another folder") from error
    with run.commands.open("a", encoding="utf-8") as file:
        file.write(f"{datetime.now().astimezone().isoformat(timespec='seconds')} {shlex.join(command)}\n")
    write_json(run.environment, describe_environment() | dict(extra_environment))
    keep_source(run, conf_file)
