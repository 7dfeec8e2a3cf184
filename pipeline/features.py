"""Features of pictures that a run's frozen vision network makes once, and finds again in later runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from captioning.features import BATCH, FeatureSource, vision_features
from captioning.writer import CaptionWriter
from configuration.groups import RunConfig
from models.vision.network import hash_weights
from pipeline.objective import frozen_parts
from preprocessors.examples import CaptionExample
from preprocessors.pictures.feature_cache import FeatureCache, open_features

FEATURES = Path("work_dir/.features")


def keep_features(
    config: RunConfig,
    writer: CaptionWriter,
    examples: Sequence[CaptionExample],
    *,
    training: Sequence[CaptionExample] = (),
) -> FeatureCache | None:
    """Features of the examples' pictures, if they cannot change and fit.

    Args:
        config: Of the run.
        writer: With its captioner, and its picture to pixels.
        examples: All whose pictures are needed whole.
        training: Those whose pictures are trained on, in ``image.feature_views`` views.

    Raises:
        ValueError: If several views are asked for and cannot be kept.
    """
    images, trained = ([example.image_path for example in given] for given in (examples, training))
    features = _open_features(config, writer, images, trained)
    if features is None and training and config.image.feature_views > 1:
        raise ValueError(
            f"image.feature_views={config.image.feature_views}: needs a frozen vision network and room for its "
            "features; freeze it (train.freeze), raise image.feature_cache_mb, or set this to 1"
        )
    return features


def feature_source(config: RunConfig, writer: CaptionWriter) -> FeatureSource:
    """Features of any pictures: those that are kept where they are, otherwise made anew."""

    def features(pictures: Sequence[Path]) -> Iterator[Tensor]:
        kept = _open_features(config, writer, pictures)
        if kept is None:
            yield from vision_features(writer.captioner, writer.preprocessor.image_transform)(pictures)
            return
        for start in range(0, len(pictures), BATCH):
            yield torch.stack([kept.get(picture) for picture in pictures[start : start + BATCH]])

    return features


def _open_features(
    config: RunConfig, writer: CaptionWriter, images: Sequence[Path], training: Sequence[Path] = ()
) -> FeatureCache | None:
    image, captioner = config.image, writer.captioner
    is_frozen = "vision" in frozen_parts(config.train, config.scst, captioner.vision())
    if not is_frozen or image.random_crop or not image.feature_cache_mb:
        return None
    (network,) = captioner.parts()["vision"]
    return open_features(
        FEATURES,
        network,
        writer.preprocessor.image_transform,
        images,
        weights=hash_weights(network),
        training_images=training,
        views=image.feature_views,
        limit_mb=image.feature_cache_mb,
    )
