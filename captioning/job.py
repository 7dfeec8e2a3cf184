"""A whole job of captioning: what is missing, picture after picture into an output."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TextIO

from tqdm import tqdm

from captioning.batches import caption_pictures
from captioning.model import CaptionModel
from captioning.outputs.target import Output
from captioning.wanted import WantedPicture
from captioning.writing import Writing
from utils.signals import StopRequested, stop_requested, waiting

logger = logging.getLogger(__name__)

BATCH_SIZE = 16


@dataclass
class Outcome:
    """What a job came to.

    Attributes:
        pictures: That were captioned now.
        captions: Of those, in every style.
        failed: Pictures that could not be captioned.
        there: Pictures of which everything was there already.
    """

    pictures: int = 0
    captions: int = 0
    failed: int = 0
    there: int = 0


def caption_into(
    output: Output,
    model: CaptionModel,
    pictures: Sequence[WantedPicture],
    writing: Writing,
    *,
    batch_size: int = BATCH_SIZE,
    progress: TextIO | None = None,
) -> Outcome:
    """Caption what an output does not have; a picture that cannot be captioned is told, and the rest goes on.

    A signal, or a fault of the model, leaves what was captioned before in the output.

    Args:
        output: Opened for these pictures; closed here.
        model: What captions.
        pictures: In styles that the model has.
        writing: How, for all of them.
        batch_size: Pictures, and captions, that are worked on at once.
        progress: Terminal for a progress bar.

    Raises:
        StopRequested: If a signal asked for it.
    """
    left = _missing(output, pictures)
    outcome = Outcome(there=len(pictures) - len(left))
    total = sum(len(picture.styles()) for picture in left)
    bar = tqdm(total=total, desc="captions", unit="cap", file=progress, disable=progress is None, leave=False)
    is_whole = False
    try:
        with bar:
            for answer in caption_pictures(model, left, writing, batch_size=batch_size):
                with waiting(), tqdm.external_write_mode(nolock=progress is None):
                    output.add(answer)
                    _count(outcome, answer.error, sum(map(len, answer.captions.values())))
                    if answer.error:  # here, or it would stand behind the bar in its line
                        logger.warning("%s: %s", answer.picture.name, answer.error)
                bar.update(len(answer.picture.styles()))
                if stop_requested():
                    raise StopRequested
        is_whole = True
    finally:
        if is_whole or outcome.pictures or outcome.failed:
            with waiting():
                output.close()
    return outcome


def _missing(output: Output, pictures: Sequence[WantedPicture]) -> list[WantedPicture]:
    """Pictures with the requests that the output has no caption for."""
    left = []
    for picture in pictures:
        there = {style for style in picture.styles() if output.has(picture, style)}
        requests = tuple(request for request in picture.requests if request.style not in there)
        if requests:
            left.append(replace(picture, requests=requests))
    return left


def _count(outcome: Outcome, error: str, captions: int) -> None:
    outcome.failed += bool(error)
    outcome.pictures += not error
    outcome.captions += captions
