"""Features of pictures that a run's frozen vision network makes once, and finds again in later runs."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
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
from trainers.freezing import last_stages
from utils.errors import first_line

logger = logging.getLogger(__name__)


def keep_features(
    config: RunConfig,
    writer: CaptionWriter,
    examples: Iterable[CaptionExample],
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
        ValueError: If several views are asked for and do not fit.
    """
    images, trained = ((example.image_path for example in given) for given in (examples, training))
    features = _open_features(config, writer, images, trained)
    if features is None and training and config.image.feature_views > 1:
        raise ValueError(
            f"image.feature_views={config.image.feature_views}: the features find no room; raise "
            "image.feature_cache_mb, or set this to 1"
        )
    return features


def check_vision(config: RunConfig, writer: CaptionWriter) -> None:
    """Refuse what a run asks of its vision network and cannot have; a picture passes a pretrained one to find out.

    Raises:
        ValueError: Naming the setting.
    """
    train, image, captioner = config.train, config.image, writer.captioner
    info = captioner.vision()
    is_frozen = "vision" in frozen_parts(config, captioner)
    if train.vision_stages is not None:
        if info.is_named:
            raise ValueError(
                f"train.vision_stages={train.vision_stages}: the model names the weights of its vision network and "
                "does not hold them, so they cannot be trained; start from one with model.vision_weights=kept"
            )
        last_stages(captioner, train.vision_stages)
    if train.vision_lr is not None and is_frozen:
        raise ValueError(f"train.vision_lr={train.vision_lr:g}: the vision network is frozen; set train.vision_stages")
    if image.feature_views > 1 and not (is_frozen and image.feature_cache_mb):
        raise ValueError(
            f"image.feature_views={image.feature_views}: only features of a frozen vision network are kept; freeze it "
            "(train.freeze) and leave image.feature_cache_mb above 0, or set this to 1"
        )
    if info.is_pretrained:
        _pass_a_picture(writer)


@torch.no_grad()
def _pass_a_picture(writer: CaptionWriter) -> None:
    transform, preprocessor = writer.preprocessor.image_transform, writer.preprocessor
    prompt = torch.tensor([preprocessor.prompt_ids(None)])
    try:
        writer.captioner.encode(
            {"input_ids": prompt, "patch_images": torch.zeros(1, 3, transform.height, transform.width)}
        )
    except (RuntimeError, ValueError, TypeError) as error:  # whatever a library's network raises
        size = f"image.size={transform.height}"
        raise ValueError(f"{size}: the vision network cannot take it: {first_line(error)}") from error


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
    config: RunConfig, writer: CaptionWriter, images: Iterable[Path], training: Iterable[Path] = ()
) -> FeatureCache | None:
    image, captioner = config.image, writer.captioner
    is_frozen = "vision" in frozen_parts(config, captioner)
    if not is_frozen or image.random_crop or not image.feature_cache_mb:
        return None
    (network,) = captioner.parts()["vision"]
    described: bytes = getattr(network, "described", b"")
    try:
        return open_features(
            image.feature_cache,
            network,
            writer.preprocessor.image_transform,
            [*images],
            weights=f"{hash_weights(network)} {described.decode()}".strip(),
            training_images=[*training],
            views=image.feature_views,
            limit_mb=image.feature_cache_mb,
        )
    except FileNotFoundError:  # a picture
        raise
    except OSError as error:
        logger.warning("%s: cannot be used (%s): features are computed every epoch", image.feature_cache, error)
        return None
