"""Resized pictures that a run keeps and finds again."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from configuration.groups import ImageConfig
from preprocessors.pictures.images import ImageTransform
from preprocessors.pictures.picture_cache import open_pictures

logger = logging.getLogger(__name__)


def keep_pictures(
    image: ImageConfig, transform: ImageTransform, *, training: Sequence[Path], evaluated: Sequence[Path]
) -> None:
    """Give a transform its pictures resized, if they are to be kept and fit.

    Args:
        image: Says where, and how much room there is; ``cache_mb`` 0 keeps none.
        transform: Finds them from then on.
        training: Pictures that are trained on, at the size that crops are cut from.
        evaluated: Pictures that are captioned.
    """
    if not image.cache_mb:
        return
    whole, side = (transform.height, transform.width), transform.random_crop_from
    by_size = {whole: [*evaluated]}
    by_size.setdefault(whole if side is None else (side, side), []).extend(training)
    for size, pictures in by_size.items():
        try:
            kept = open_pictures(image.cache, size, transform.resizer, pictures, limit_mb=image.cache_mb)
        except FileNotFoundError:  # a picture
            raise
        except OSError as error:
            logger.warning("%s: cannot be used (%s): pictures are opened every epoch", image.cache, error)
            return
        if kept is not None:
            transform.kept[size] = kept
