"""The engines: one file and one entry each. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any, NamedTuple

from sweeps.trials.folder import SweepFolder
from sweeps.trials.jobs import Engine, Watcher
from sweeps.trials.plan import Plan
from sweeps.trials.slots import Slot


class EngineEntry(NamedTuple):
    """An engine as the command line names it."""

    source: str
    """Where its :class:`EngineKind` is. Every sweep that starts asks all engines: what one needs is imported later."""
    option: str = ""
    """Name of its own command-line option; "" for none."""
    metavar: str = ""
    help: str = ""


@dataclass(frozen=True)
class EngineKind:
    """What an engine does for ``python -m sweeps``. ``option`` is what its own option was given, "" if nothing.

    Attributes:
        check: Takes slots and option; refuses (``ValueError``) what cannot work, before anything is written.
        make: Takes slots, retries, a watcher and the option; gives an engine that is waited for. None if sweeps are
            handed over instead.
        submit: Takes folder, plan, slots and option; hands a sweep over and returns what to print.
        describe: Takes the same; says what would be started. None prints the commands.
        check_free: Refuses a sweep that this engine still holds, whatever is to run it now.
    """

    check: Callable[[Sequence[Slot], str], None]
    make: Callable[[Sequence[Slot], int, Watcher, str], Engine] | None = None
    submit: Callable[[SweepFolder, Plan, Sequence[Slot], str], dict[str, Any]] | None = None
    describe: Callable[[SweepFolder, Plan, Sequence[Slot], str], str] | None = None
    check_free: Callable[[SweepFolder], None] = lambda folder: None


ENGINES: Mapping[str, EngineEntry] = {
    "local": EngineEntry("sweeps.engines.local:LOCAL"),
    "ray": EngineEntry(
        "sweeps.engines.ray_engine:RAY",
        "address",
        "ADDRESS",
        "of the Ray cluster; RAY_ADDRESS, or the one running here, if not given",
    ),
    "slurm": EngineEntry(
        "sweeps.engines.slurm:SLURM",
        "sbatch",
        "OPTIONS",
        'more options of sbatch, e.g. "--partition=gpu --time=12:00:00"',
    ),
}
"""By the name in ``--engine``; the first is the default."""


def open_engine(name: str) -> EngineKind:
    """The engine of that name, one of ``ENGINES``."""
    kind: EngineKind = resolve_name(ENGINES[name].source)
    return kind


def check_not_held(folder: SweepFolder) -> None:
    """Refuse a sweep that some engine still holds.

    Raises:
        ValueError: Saying which, and what to do.
    """
    for name in ENGINES:
        open_engine(name).check_free(folder)
