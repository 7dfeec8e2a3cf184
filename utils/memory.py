"""What does not fit into memory at once is done in smaller pieces. Loads no torch by itself."""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

from utils.errors import OutOfMemory, first_line

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Made = TypeVar("Made")

SIGNS = ("out of memory", "can't allocate memory", "not enough memory", "_STATUS_ALLOC_FAILED")
"""Parts of the messages of torch, its allocators and its libraries; they come as plain ``RuntimeError`` mostly."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on a GPU or on the CPU."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in SIGNS)


def free() -> None:
    """Give back what nobody holds any more; tracebacks must be gone, because their frames hold tensors."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


class Halving:
    """The most rows that are worked on at once: halved each time they do not fit, never raised again.

    Args:
        what: What is done with the rows, for the messages.
        advice: What to do when one row alone does not fit.

    Attributes:
        rows: The limit; None before anything failed.
    """

    def __init__(self, what: str, advice: str) -> None:
        self.what, self.advice = what, advice
        self.rows: int | None = None

    def limit(self, wanted: int) -> int:
        """So many of these rows at once."""
        return wanted if self.rows is None else min(self.rows, wanted)

    def shrink(self, tried: int, reason: str) -> None:
        """Halve the limit, tell it, and free memory.

        Args:
            tried: Rows that did not fit.
            reason: What was said of it.

        Raises:
            OutOfMemory: If it was one row.
        """
        if tried <= 1:
            raise self.refusal(reason)
        self.rows = tried // 2
        free()
        logger.warning(
            "%s: %d rows at once do not fit into memory (%s); going on with %d at a time, which is slower. "
            "If that is too slow: %s",
            *(self.what, tried, reason, self.rows, self.advice),
        )

    def refusal(self, reason: str) -> OutOfMemory:
        """What ends the program when one row alone does not fit."""
        return OutOfMemory(f"{self.what}: one row alone does not fit into memory ({reason}). {self.advice}")

    def in_pieces(self, items: Sequence[Item], work: Callable[[Sequence[Item]], Sequence[Made]]) -> list[Made]:
        """What ``work`` makes of items, one for each, in order; pieces that do not fit are done again in smaller ones.

        Raises:
            OutOfMemory: If one item alone does not fit.
        """
        made: list[Made] = []
        while len(made) < len(items):
            piece = items[len(made) : len(made) + self.limit(len(items))]
            reason = None
            try:
                made += work(piece)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                reason = first_line(error)
            if reason is not None:  # here, because the exception holds what is to be freed
                self.shrink(len(piece), reason)
        return made
