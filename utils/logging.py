"""Where log lines go: the console for people, ``log.txt`` of the run for everything that every process said."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from tqdm import tqdm

from utils.environment import PACKAGES

OUR_LOGGERS = ("__main__", "finetune", *PACKAGES)


class _ConsoleHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to stderr around a progress bar instead of through it."""

    def emit(self, record: logging.LogRecord) -> None:
        with tqdm.external_write_mode(file=self.stream):
            super().emit(record)


def setup_logging(log_file: Path | None, rank: int = 0) -> None:
    """Sends log lines to the console (rank 0 only) and to a file (all ranks, the rank in the line).

    Our packages are heard from INFO on, other libraries from WARNING on. A second call replaces what the first set
    up, so a program may log to the console before it knows its run folder.

    Args:
        log_file: Appended to, and made with its folder if absent; None = console only.
        rank: Number of this process among those that train together, from 0.
    """
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if handler.name == __name__]:
        root.removeHandler(handler)
        handler.close()
    handlers: list[logging.Handler] = []
    if rank == 0:
        console = _ConsoleHandler(sys.stderr)
        console.setFormatter(logging.Formatter("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
        handlers.append(console)
    if log_file is not None:
        log_file.parent.mkdir(parents=True, exist_ok=True)
        file = logging.FileHandler(log_file, encoding="utf-8")
        file.setFormatter(logging.Formatter(f"%(asctime)s rank {rank} %(levelname)s %(name)s: %(message)s"))
        handlers.append(file)
    for handler in handlers:
        handler.name = __name__
        root.addHandler(handler)
    root.setLevel(logging.WARNING)
    for name in OUR_LOGGERS:
        logging.getLogger(name).setLevel(logging.INFO)
