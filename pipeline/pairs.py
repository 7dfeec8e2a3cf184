"""The pairs of captions that a run learns in place of its training rows."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from configuration.groups import RunConfig
from models.captioner import Captioner
from pipeline.data import annotations_of
from preprocessors.formats.shards import root_of
from preprocessors.formats.table import FORMATS
from preprocessors.interface import CaptionPreprocessor
from preprocessors.pairs import CaptionPair, read_pairs
from preprocessors.pictures.images import verify_images
from preprocessors.pictures.record import PictureRecord

logger = logging.getLogger(__name__)


def prepare_pairs(
    config: RunConfig, captioner: Captioner, preprocessor: CaptionPreprocessor
) -> Sequence[CaptionPair] | None:
    """The pairs of ``preference.pairs``, their pictures beside those of the training rows; None if there is no file.

    Every picture that the record does not know is opened.

    Raises:
        FileNotFoundError: As :func:`preprocessors.pairs.read_pairs`.
        ValueError: The same, and if a picture cannot be read, or a caption not be written.
    """
    data, path = config.data, config.preference.pairs
    if path is None or not config.preference.enabled:
        return None
    annotations = annotations_of(data)
    images = root_of(annotations) if FORMATS[data.format].holds_pictures else data.images or annotations / "images"
    pairs = read_pairs(path, images, preprocessor, styles=data.styles, allow_outside=data.allow_outside)
    verify_images([pair.example for pair in pairs], "error", PictureRecord(data.picture_record).find_faults)
    _check_writable(pairs, captioner, preprocessor)
    logger.info("%s: %d pairs are learnt in place of the training rows", path, len(pairs))
    return pairs


def _check_writable(pairs: Sequence[CaptionPair], captioner: Captioner, preprocessor: CaptionPreprocessor) -> None:
    """Refuse captions with a token that is never drawn: their probability is 0, and no number comes of two of them."""
    pieces = captioner.tokenizer.pieces()
    for pair in pairs:
        for caption in (*pair.example.captions, pair.rejected):
            *written, _ = preprocessor.target_ids(caption)
            if not all(pieces[token_id] for token_id in written):
                raise ValueError(
                    f"{pair.example.source}, line {pair.example.row}: the model has no token for something in "
                    f"{caption!r}. Correct or remove the line."
                )
