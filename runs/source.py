"""The code that a run was trained with: a copy in its folder, and how the code of now differs from it."""

from __future__ import annotations

import logging
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from runs.folder import Run
from utils.environment import PACKAGES, REPOSITORY

logger = logging.getLogger(__name__)

SUFFIXES = (".py", ".j2")
LATER_COPIES = 4
"""Copies of later starts that are kept, the newest ones; that of the first start always is."""
NAMED_FILES = 5


def keep_source(run: Run, conf_file: Path | None) -> None:
    """Copy the code into the run folder, unless its newest copy is the same.

    The weights come from the code of the first start, so ``source/`` stays. A later start with other code adds
    ``source-2/``, and so on.

    Args:
        run: The folder.
        conf_file: The configuration file as the user wrote it, copied as well.
    """
    copies = source_copies(run)
    if copies and not _differing(_current_files(conf_file), _files_of(copies[-1])):
        return
    number = _number(copies[-1]) + 1 if copies else 1
    _copy(_current_files(conf_file), run.source if number == 1 else run.root / f"source-{number}")
    for old in source_copies(run)[1:-LATER_COPIES]:
        shutil.rmtree(old)


def source_copies(run: Run) -> list[Path]:
    """The copies of the code in a run folder: that of the first start, then those of later ones, oldest first."""
    later = [path for path in run.root.glob("source-*") if path.name.removeprefix("source-").isdigit()]
    return [path for path in (run.source, *sorted(later, key=_number)) if path.is_dir()]


def changed_files(run: Run) -> list[str] | None:
    """Files of the code that differ from the copy of the first start, or are in one of the two alone.

    Returns:
        Their paths in the repository; None if there is no copy to compare with.
    """
    if not run.source.is_dir():
        return None
    copy = {name: path for name, path in _files_of(run.source).items() if path.suffix in SUFFIXES}
    return _differing(copy, _current_files(None))


def differing_files(a: Run, b: Run) -> list[str] | None:
    """The same between the first starts of two runs; None if one has no copy."""
    if not (a.source.is_dir() and b.source.is_dir()):
        return None
    ours, theirs = ({n: p for n, p in _files_of(run.source).items() if p.suffix in SUFFIXES} for run in (a, b))
    return _differing(ours, theirs)


def name_files(names: list[str]) -> str:
    """The first of some files, and how many more there are."""
    more = len(names) - NAMED_FILES
    return ", ".join(names[:NAMED_FILES]) + (f" and {more} more" if more > 0 else "")


def warn_of_other_source(run: Run) -> None:
    """Log which files differ from those that the run began with."""
    changed = changed_files(run)
    if changed:
        logger.warning(
            "the code is not that of the first start of this run, in %s; the first is kept in %s, this one in %s",
            name_files(changed),
            run.source,
            source_copies(run)[-1],
        )


def _copy(files: dict[str, Path], folder: Path) -> None:
    aside = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
    try:
        for name, path in files.items():
            copy = aside / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _current_files(conf_file: Path | None) -> dict[str, Path]:
    files = {path.relative_to(REPOSITORY).as_posix(): path for path in _code()}
    return files if conf_file is None else files | {conf_file.name: conf_file}


def _code() -> Iterator[Path]:
    program = REPOSITORY / "finetune.py"
    if program.exists():
        yield program
    for package in PACKAGES:
        for suffix in SUFFIXES:
            yield from sorted((REPOSITORY / package).rglob(f"*{suffix}"))


def _files_of(folder: Path) -> dict[str, Path]:
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}


def _differing(a: dict[str, Path], b: dict[str, Path]) -> list[str]:
    return [name for name in sorted({*a, *b}) if name not in a or name not in b or not _equal(a[name], b[name])]


def _equal(a: Path, b: Path) -> bool:
    return a.stat().st_size == b.stat().st_size and a.read_bytes() == b.read_bytes()


def _number(copy: Path) -> int:
    return int(copy.name.removeprefix("source-")) if copy.name != "source" else 1
