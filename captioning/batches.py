"""Many pictures to captions: decoded in threads ahead of the model, and captioned in batches across their styles."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from torch import Tensor

from captioning.model import CaptionModel
from captioning.wanted import Answer, WantedPicture
from captioning.writing import Writing
from preprocessors.pictures.images import UnreadablePicture

BATCHES_AT_ONCE = 4
"""Most batches of captions that are written before their pictures are handed out: what a stop loses."""
MOST_READERS = 8
"""Threads that decode pictures; each may hold a whole one."""


def caption_pictures(
    model: CaptionModel, pictures: Iterable[WantedPicture], writing: Writing, *, batch_size: int
) -> Iterator[Answer]:
    """Caption pictures in their styles; each passes the vision network once.

    Args:
        model: What captions.
        pictures: With styles as the model writes them; asked for one after another, somewhat ahead.
        writing: How, for all of them.
        batch_size: Pictures, and captions, that are worked on at once.

    Yields:
        Of every picture, in order, its captions, or why it could not be read.

    Raises:
        ValueError: If an option is none of the model's.
        NoNumbers: If scores are NaN or infinite.
        OutOfMemory: If one row alone does not fit.
    """
    group: list[tuple[WantedPicture, Tensor | str]] = []
    rows = 0
    for picture, pixels in _read_ahead(model, pictures, batch_size):
        added = 0 if isinstance(pixels, str) else len(picture.styles())
        if len(group) == batch_size or (rows and rows + added > BATCHES_AT_ONCE * batch_size):
            yield from _captioned(model, group, writing, batch_size)
            group, rows = [], 0
        group.append((picture, pixels))
        rows += added
    yield from _captioned(model, group, writing, batch_size)


def _captioned(
    model: CaptionModel, group: Sequence[tuple[WantedPicture, Tensor | str]], writing: Writing, batch_size: int
) -> Iterator[Answer]:
    requests = [
        (pixels, style) for picture, pixels in group if not isinstance(pixels, str) for style in picture.styles()
    ]
    written = iter(model.write(requests, writing, batch_size=batch_size) if requests else [])
    for picture, pixels in group:
        if isinstance(pixels, str):
            yield Answer(picture, error=pixels)
        else:
            yield Answer(picture, {style: next(written) for style in picture.styles()})


def _read_ahead(
    model: CaptionModel, pictures: Iterable[WantedPicture], batch_size: int
) -> Iterator[tuple[WantedPicture, Tensor | str]]:
    """Pictures with their pixels, or what is wrong with them; two batches are decoded ahead."""
    pool = ThreadPoolExecutor(max_workers=min(MOST_READERS, os.cpu_count() or 1), thread_name_prefix="picture")
    waiting: deque[tuple[WantedPicture, Future[Tensor]]] = deque()
    try:
        for picture in pictures:
            waiting.append((picture, pool.submit(model.read, picture.path)))
            if len(waiting) > 2 * batch_size:
                yield _read(*waiting.popleft())
        while waiting:
            yield _read(*waiting.popleft())
    finally:  # also where nobody asks for more, after Ctrl-C
        pool.shutdown(wait=False, cancel_futures=True)


def _read(picture: WantedPicture, pixels: Future[Tensor]) -> tuple[WantedPicture, Tensor | str]:
    try:
        return picture, pixels.result()
    except FileNotFoundError:
        return picture, "picture not found; check the path"
    except UnreadablePicture as error:
        return picture, f"the picture cannot be read; {error.reason}"
    except (OSError, ValueError) as error:
        return picture, f"the picture cannot be read; {error}"
