"""The pairs of captions that a run learns in place of its training rows."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from configuration.groups import RunConfig
from pipeline.data import annotations_of
from preprocessors.formats.shards import root_of
from preprocessors.formats.table import FORMATS
from preprocessors.interface import CaptionPreprocessor
from preprocessors.pairs import CaptionPair, read_pairs
from preprocessors.pictures.images import verify_images
from preprocessors.pictures.record import PictureRecord

logger = logging.getLogger(__name__)


def prepare_pairs(config: RunConfig, preprocessor: CaptionPreprocessor) -> Sequence[CaptionPair] | None:
    """The pairs of ``preference.pairs``, their pictures beside those of the training rows; None if there is no file.

    Every picture that the record does not know is opened.

    Raises:
        FileNotFoundError: As :func:`preprocessors.pairs.read_pairs`.
        ValueError: The same, and if a picture cannot be read.
    """
    data, path = config.data, config.preference.pairs
    if path is None or not config.preference.enabled:
        return None
    annotations = annotations_of(data)
    images = root_of(annotations) if FORMATS[data.format].holds_pictures else data.images or annotations / "images"
    pairs = read_pairs(path, images, preprocessor, styles=data.styles, allow_outside=data.allow_outside)
    verify_images([pair.example for pair in pairs], "error", PictureRecord(data.picture_record).find_faults)
    logger.info("%s: %d pairs are learnt in place of the training rows", path, len(pairs))
    return pairs
