"""What completes texts without a picture, with its thread."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, Protocol

from captioning.text_completion import Asked
from serving.batching import Batcher, Places
from serving.errors import Refusal
from serving.limits import Limits
from serving.telemetry import Numbers

NAME = "(texts)"
"""In the numbers; no model folder is called so."""


class TextCompleter(Protocol):
    """A model of text alone, such as :class:`captioning.text_completion.TextCompletion`."""

    def check(self, style: str | None) -> None:
        """A ValueError says what is wrong with a style, as the client names it; None is no style."""

    def complete(self, asked: Sequence[Asked]) -> list[list[str]]:
        """Continuations of several texts; called in one thread."""


class Texts:
    """A model of text alone, its thread, and the requests that are let in to it.

    Args:
        completer: Its ``complete`` is used by the thread alone.
        limits: Of batches and the queue.
        numbers: Told of batches.

    Attributes:
        places: For a text each.
    """

    def __init__(self, completer: TextCompleter, limits: Limits, numbers: Numbers) -> None:
        self._completer = completer
        # Nothing waits for others to come, since who types waits for every key; but what came meanwhile goes together.
        self._batcher = Batcher(
            NAME,
            lambda _, asked: completer.complete(asked),
            max_batch=limits.max_batch,
            max_wait=0.0,
            on_batch=lambda rows, seconds: numbers.add_batch(NAME, rows, seconds),
        )
        self.places = Places(limits.queue + limits.max_batch, lambda: self._batcher.seconds_per_row)
        numbers.add_model(NAME, {}, lambda: len(self._batcher))

    def submit(self, asked: Asked) -> Future[list[Any]]:
        """Have a text completed; the future gets a list of its continuations alone.

        Raises:
            Refusal: If the model does not know its style.
        """
        try:
            self._completer.check(asked.style)
        except ValueError as error:
            raise Refusal("unknown_style", str(error)) from None
        return self._batcher.submit(NAME, [asked])

    def close(self) -> None:
        """End the thread."""
        self._batcher.close()
