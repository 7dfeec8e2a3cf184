"""Models with their threads, and what a request goes through until its captions are there."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

from starlette.requests import Request
from torch import Tensor

from captioning.model import CaptionModel
from captioning.text_completion import Asked
from captioning.writing import Caption, Writing
from serving.batching import Batcher, Places
from serving.errors import Refusal
from serving.limits import MOST_CAPTIONS, Bodies, Limits
from serving.pictures import LARGE, check_picture, from_base64, give_back_memory, unreadable
from serving.schemas import (
    CaptionAnswer,
    CaptionForm,
    CaptionRequest,
    CaptionText,
    CompletionRequest,
    PictureSize,
    StyleCaptions,
    WritingFields,
)
from serving.telemetry import Numbers
from serving.texts import TextCompleter, Texts

Made = TypeVar("Made")

WORDS = 3
"""Of a continuation, at most."""
MOST_DECODERS = 4


class Completing(NamedTuple):
    """What continuations that are worked on together have in common."""

    num: int


class Seen(NamedTuple):
    """A picture that was read."""

    pixels: Tensor
    width: int
    height: int


class Hosted:
    """A model, its thread, and the requests that are let in to it.

    Args:
        model: Used by its thread alone, but for reading pictures.
        limits: Of batches and the queue.
        numbers: Told of batches.
    """

    def __init__(self, model: CaptionModel, limits: Limits, numbers: Numbers) -> None:
        self.model = model
        self.batcher = Batcher(
            model.name,
            self._run,
            max_batch=limits.max_batch,
            max_wait=limits.max_wait_ms / 1000,
            on_batch=lambda rows, seconds: numbers.add_batch(model.name, rows, seconds),
        )
        self.places = Places(limits.queue + limits.max_batch, lambda: self.batcher.seconds_per_row)
        facts = {"parameters": str(model.parameters), "image_size": str(model.image_size)}
        numbers.add_model(model.name, facts | {"styles": str(len(model.styles))}, lambda: len(self.batcher))

    def _run(self, key: Writing | Completing, items: Sequence[Any]) -> Sequence[Any]:
        if isinstance(key, Writing):
            return self.model.write(items, key)
        return [self.model.complete(text, pixels, style, num=key.num, words=WORDS) for pixels, style, text in items]

    def style(self, given: str | None) -> str:
        """The style of that name.

        Raises:
            Refusal: If there is none, or the model has not learnt it.
        """
        try:
            return self.model.style(given)
        except ValueError as error:
            raise Refusal("unknown_style", str(error)) from None


class Service:
    """Everything behind the routes.

    Args:
        models: Of different names; the first answers where none is named.
        limits: What a client may ask for.
        text_completer: Continues texts without a picture; None where nothing can.

    Attributes:
        draining: Whether nothing new is taken.
        bodies: Of requests, which may come slowly.
    """

    def __init__(
        self,
        models: Sequence[CaptionModel],
        limits: Limits,
        numbers: Numbers,
        text_completer: TextCompleter | None = None,
    ) -> None:
        names = [model.name for model in models]
        if not names or len({*names}) < len(names):
            raise ValueError(f"models {', '.join(names) or '(none)'}: needs one or more, each with a name of its own")
        self.limits, self.numbers = limits, numbers
        self.hosted = {model.name: Hosted(model, limits, numbers) for model in models}
        self.default = names[0]
        self.bodies = Bodies(limits)
        self.draining = False
        self._decoders = ThreadPoolExecutor(min(os.cpu_count() or 1, MOST_DECODERS), thread_name_prefix="decoder")
        # A thread of their own: large pictures that wait for each other must not keep the decoders from small ones.
        self._large_decoder = ThreadPoolExecutor(1, thread_name_prefix="large-decoder")
        self._texts = None if text_completer is None else Texts(text_completer, limits, numbers)

    def close(self) -> None:
        """End all threads; what waits for a model is done first."""
        for pool in (self._decoders, self._large_decoder):
            pool.shutdown(wait=False, cancel_futures=True)
        if self._texts is not None:
            self._texts.close()
        for hosted in self.hosted.values():
            hosted.batcher.close()

    def model(self, name: str | None) -> Hosted:
        """The model of that name, or the first one.

        Raises:
            Refusal: If there is none.
        """
        found = self.hosted.get(self.default if name is None else name)
        if found is None:
            raise Refusal("unknown_model", f"there is no model of that name; there are: {', '.join(self.hosted)}")
        return found

    async def caption(self, request: Request, asked: CaptionRequest | CaptionForm, start: float) -> CaptionAnswer:
        """Captions of a picture.

        Args:
            request: Whose client may leave meanwhile.
            asked: What it asks for.
            start: When it came, on the monotonic clock.

        Raises:
            Refusal: If it cannot be done, or not now.
        """
        hosted = self.model(asked.model)
        styles = self._styles(hosted, asked)
        request.state.log |= {"model": hosted.model.name, "styles": len(styles)}
        writing = self._writing(hosted, asked, styles)
        clock = Clock(request, self.limits.timeout)
        with hosted.places.take(len(styles)):
            seen = await self._seen(clock, hosted, asked.image)
            items = [(seen.pixels, style) for style in styles]
            written = await clock.wait(hosted.batcher.submit(writing, items))
        self.numbers.captions.labels(model=hosted.model.name).inc(sum(map(len, written)))
        return CaptionAnswer(
            model=hosted.model.name,
            captions=[
                StyleCaptions(style=style, captions=[_shown(caption) for caption in captions])
                for style, captions in zip(styles, written, strict=True)
            ],
            picture=PictureSize(width=seen.width, height=seen.height),
            seconds=round(time.monotonic() - start, 4),
        )

    async def complete(self, request: Request, asked: CompletionRequest) -> list[str]:
        """Continuations of a text.

        Args:
            request: Whose client may leave meanwhile.
            asked: What it asks for.

        Raises:
            Refusal: If it cannot be done, or not now.
        """
        hosted = self.model(asked.model)
        clock = Clock(request, self.limits.timeout)
        if asked.image is None:
            return await self._complete_text(clock, asked)
        style = hosted.style(asked.style)
        request.state.log |= {"model": hosted.model.name, "styles": 1}
        with hosted.places.take(1):
            seen = await self._seen(clock, hosted, asked.image)
            item = (seen.pixels, style, asked.text)
            try:
                (found,) = await clock.wait(hosted.batcher.submit(Completing(asked.num), [item]))
            except ValueError as error:  # more tokens than the model has positions for
                raise Refusal("invalid", f"text: {error}") from None
        result: list[str] = found
        return result

    async def _complete_text(self, clock: Clock, asked: CompletionRequest) -> list[str]:
        if self._texts is None:
            raise Refusal("needs_picture", "image: is needed, since there is no model for text alone")
        with self._texts.places.take(1):
            (found,) = await clock.wait(self._texts.submit(Asked(asked.text, asked.style, asked.num)))
        result: list[str] = found
        return result

    def _styles(self, hosted: Hosted, asked: CaptionRequest | CaptionForm) -> list[str]:
        given = asked.asked_styles()
        names = [*hosted.model.styles] if given == "all" else [*dict.fromkeys(map(hosted.style, given))]
        if len(names) > self.limits.max_styles:
            raise Refusal("invalid", f"styles: {len(names)}, and at most {self.limits.max_styles} go into one request")
        return names

    def _writing(self, hosted: Hosted, asked: WritingFields, styles: Sequence[str]) -> Writing:
        writing = Writing(**{field.name: getattr(asked, field.name) for field in dataclasses.fields(Writing)})
        if len(styles) * writing.num > MOST_CAPTIONS:
            raise Refusal(
                "invalid", f"num: {len(styles)} styles with {writing.num} captions each; at most {MOST_CAPTIONS}"
            )
        for name in ("max_length", "min_length"):
            if (getattr(writing, name) or 0) > self.limits.max_length:
                raise Refusal("invalid", f"{name}: at most {self.limits.max_length}")
        try:
            hosted.model.check(writing, styles)
        except ValueError as error:
            raise Refusal("invalid", str(error)) from None
        return writing

    async def _seen(self, clock: Clock, hosted: Hosted, image: str | bytes) -> Seen:
        """The picture of a request."""
        data, size = await clock.wait(in_thread(self._decoders, self._check, image))
        pool = self._large_decoder if math.prod(size) >= LARGE else self._decoders
        return await clock.wait(in_thread(pool, _read, hosted, data, size))

    def _check(self, image: str | bytes) -> tuple[bytes, tuple[int, int]]:
        data = image if isinstance(image, bytes) else from_base64(image)
        return data, check_picture(data, self.limits.max_pixels)


def _read(hosted: Hosted, data: bytes, size: tuple[int, int]) -> Seen:
    try:
        return Seen(hosted.model.read(data), *size)
    except Exception as error:
        raise unreadable(error) from None
    finally:
        if math.prod(size) >= LARGE:
            give_back_memory()


def in_thread(pool: ThreadPoolExecutor, work: Callable[..., Made], *given: Any) -> Future[Made]:
    """Work that waits for a thread; once nobody waits for it any more, it holds nothing of what it was given."""
    held = [given]
    future = pool.submit(lambda: work(*held.pop()))
    future.add_done_callback(lambda _: held.clear())  # the pool keeps cancelled work until a thread is free
    return future


class Clock:
    """How long a request may still take.

    Args:
        request: Nothing is waited for once its client has gone.
        seconds: From now on.
    """

    def __init__(self, request: Request, seconds: float) -> None:
        self.request, self.seconds = request, seconds
        self.end = time.monotonic() + seconds

    async def wait(self, future: Future[Made]) -> Made:
        """What a thread makes; the thread is told if nobody waits for it any more.

        Raises:
            Refusal: ``timeout`` or ``client_gone``.
        """
        made = asyncio.wrap_future(future)
        gone = asyncio.ensure_future(_gone(self.request))
        try:
            left = max(0.0, self.end - time.monotonic())
            waited: set[asyncio.Future[Any]] = {made, gone}
            await asyncio.wait(waited, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if made.done():
                return made.result()
            if gone.done():
                raise Refusal("client_gone", "the client left before it was answered")
            raise Refusal("timeout", f"not done within {self.seconds:g} s; ask for less, or try again later")
        finally:
            made.cancel()
            gone.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _shown(caption: Caption) -> CaptionText:
    log_prob = round(caption.log_prob, 4) if math.isfinite(caption.log_prob) else None
    return CaptionText(text=caption.text, log_prob=log_prob, cut=caption.cut)
