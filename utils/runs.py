"""Run folders: everything that says what was run, with what, and where its results lie."""

from __future__ import annotations

import os
import platform
import secrets
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from utils.config import RunConfig, load_config
from utils.io import write_json

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGES = ("metrics", "models", "preprocessors", "trainers", "utils")
SOURCE_SUFFIXES = (".py", ".j2")
RECORDED_DISTRIBUTIONS = ("torch", "transformers", "modelscope", "pycocoevalcap")
EPOCH_DIGITS = 4
"""Decimals of the epochs in ``metrics.jsonl``."""
MAY_CHANGE = {
    *("work_dir", "decode", "eval.split", "eval.batch_size", "eval.samples", "eval.report_images"),
    *("checkpoint.keep", "train.num_workers", "image.feature_cache_mb", "scst.reward_workers"),
}
"""What cannot change the weights of a run: groups, or single settings."""


@dataclass(frozen=True)
class Run:
    """The places of a run's files. Making one touches nothing on disk; ``open_run`` does."""

    root: Path

    @property
    def config_file(self) -> Path:
        """The resolved configuration."""
        return self.root / "config.json"

    @property
    def log(self) -> Path:
        """Log lines of all ranks."""
        return self.root / "log.txt"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.root / "checkpoints"

    @property
    def output(self) -> Path:
        """Folder of the final model."""
        return self.root / "output"

    @property
    def eval(self) -> Path:
        """Folder of the evaluations."""
        return self.root / "eval"

    @property
    def samples(self) -> Path:
        """Captions of fixed rows at every validation, JSON Lines."""
        return self.root / "samples.jsonl"

    @property
    def metrics(self) -> Path:
        """Numbers against ``global_step``, JSON Lines."""
        return self.root / "metrics.jsonl"

    @property
    def features(self) -> Path:
        """Features of the training pictures while a run with a frozen vision network lasts."""
        return self.root / "features.f32"

    @property
    def document_frequency(self) -> Path:
        """Document frequencies that the rewards weigh with."""
        return self.root / "document_frequency.npz"

    @property
    def report(self) -> Path:
        """The page with pictures, captions and loss curves."""
        return self.root / "report.html"

    def numbered_checkpoints(self) -> list[tuple[int, Path]]:
        """Optimizer step and folder of each checkpoint, complete or not, newest first."""
        named = [(path.name.removeprefix("checkpoint-"), path) for path in self.checkpoints.glob("checkpoint-*")]
        return sorted(((int(step), path) for step, path in named if step.isdigit()), reverse=True)


def has_reached(epoch: float, wanted: float) -> bool:
    """Whether a run that stands at ``epoch`` has trained ``wanted`` epochs, up to the four decimals that are logged."""
    return epoch >= wanted - 10.0**-EPOCH_DIGITS


def open_run(
    work_dir: Path,
    config: RunConfig,
    command: Sequence[str],
    extra_environment: Mapping[str, Any],
    *,
    conf_file: Path | None = None,
) -> Run:
    """Makes a run folder, or opens the one of an interrupted run again, and records what is being run.

    Nothing is written if the folder belongs to another configuration. Of several processes only one may call it.

    Args:
        work_dir: The run folder.
        config: What is run; may differ from an existing folder's only in ``MAY_CHANGE``.
        command: The command line, program first.
        extra_environment: Joined to environment.json, for example the hash of the data.
        conf_file: The configuration file as the user wrote it, copied into ``source/``.

    Raises:
        ValueError: If the folder holds a run with another configuration, a config.json that is no run's, or cannot
            be written.
    """
    run = Run(work_dir)
    if run.config_file.exists():
        check_same_run(run, config)
    try:
        run.root.mkdir(parents=True, exist_ok=True)
        write_json(run.config_file, config.to_json_dict())
    except OSError as error:
        raise ValueError(f"work_dir={work_dir}: cannot be written ({error.strerror}); give another folder") from error
    with (run.root / "command.txt").open("a", encoding="utf-8") as file:
        file.write(f"{datetime.now().astimezone().isoformat(timespec='seconds')} {shlex.join(command)}\n")
    write_json(run.root / "environment.json", describe_environment() | dict(extra_environment))
    _copy_source(run.root / "source", conf_file)
    return run


def describe_environment() -> dict[str, Any]:
    """Versions, machine and commit; a version is None where the package is not installed, git where there is none."""
    return {
        "python": platform.python_version(),
        "packages": {name: _version_of(name) for name in RECORDED_DISTRIBUTIONS},
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "git": _describe_commit(REPOSITORY),
    }


def check_same_run(run: Run, config: RunConfig) -> None:
    """Refuse a folder that holds a run with other settings.

    Raises:
        ValueError: Listing the settings that differ.
    """
    # Through load_config, so that a setting which did not exist when the run began counts as its default.
    try:
        old = dict(_flatten(load_config(run.config_file).to_json_dict()))
    except ValueError as error:
        raise ValueError(
            f"{run.config_file}: is not the configuration of a run; give another work_dir\n{error}"
        ) from error
    new = dict(_flatten(config.to_json_dict()))
    # Captions drawn in self-critical training are decoded too.
    may_change = MAY_CHANGE - {"decode"} if config.scst.enabled else MAY_CHANGE
    changes = [
        f"  {key}: {old.get(key)!r} -> {new.get(key)!r}"
        for key in dict.fromkeys([*old, *new])
        if old.get(key) != new.get(key) and not {key, key.partition(".")[0]} & may_change
    ]
    if changes:
        raise ValueError(
            f"{run.root}: holds a run with other settings (old -> new):\n" + "\n".join(changes) + "\n"
            "give another work_dir, or the old values to go on with that run"
        )


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _version_of(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _describe_commit(folder: Path) -> dict[str, Any] | None:
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        return {"commit": commit, "dirty": bool(_git(folder, "status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()


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
