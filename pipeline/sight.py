"""What looks at the pictures of a split for the metrics that need them."""

from __future__ import annotations

from collections.abc import Sequence

from metrics.clip import Clip, Sight
from metrics.scores.clip import NO_CLIP
from metrics.scores.measurement import MetricUnavailable
from preprocessors.examples import CaptionExample
from preprocessors.pictures.images import load_image
from utils.errors import first_line
from utils.hub import resolve_model_folder


def check_clip(name: str | None) -> None:
    """Refuse a CLIP model that cannot be used, before a training is over whose captions it is to score.

    Args:
        name: Its folder or hub id; None for none.

    Raises:
        ValueError: If it is not there or is no CLIP model.
    """
    found = None if name is None else _open(name)
    if isinstance(found, str):
        raise ValueError(f"eval.clip={name}: {found}")


def open_sight(name: str | None, examples: Sequence[CaptionExample]) -> Sight | str:
    """What looks at the pictures of these examples, or why nothing can.

    Args:
        name: Folder or hub id of a CLIP model; None for none.
        examples: Their pictures are asked for by ``image_name``.
    """
    clip = NO_CLIP if name is None else _open(name)
    paths = {example.image_name: example.image_path for example in examples}
    return clip if isinstance(clip, str) else Sight(clip, lambda image: load_image(paths[image]))


def _open(name: str) -> Clip | str:
    try:
        return Clip.open(resolve_model_folder(name), name)
    except (MetricUnavailable, OSError, ValueError) as error:
        return first_line(error)
