"""CLIPScore and RefCLIPScore of captions as written, from a local CLIP folder of transformers."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from metrics.scores.clip import clip_score, ref_clip_score
from metrics.scores.examples import check_same_ids
from metrics.scores.measurement import MetricUnavailable
from metrics.table import METRICS
from utils.errors import first_line
from utils.hub import refuse_adapters

if TYPE_CHECKING:
    from PIL.Image import Image

FloatArray = NDArray[np.float64]
PROMPT = "A photo depicts "
"""Begins every caption, as in the paper."""
BATCH = 32
_EXAMPLES = 1024  # whose captions' features are held at once


class Clip:
    """A CLIP model that scores captions, on the GPU where there is one.

    Args:
        model: ``transformers.CLIPModel``.
        tokenizer: Its tokenizer.
        processor: Its image processor.
        name: What results call it.
    """

    def __init__(self, model: Any, tokenizer: Any, processor: Any, name: str = "") -> None:
        import torch

        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model, self.tokenizer, self.processor = model.eval().to(self._device), tokenizer, processor
        self.name = name

    @classmethod
    def open(cls, folder: Path, name: str | None = None) -> Clip:
        """Open a folder of transformers; nothing is downloaded, and no code of the folder runs.

        Args:
            folder: With configuration, weights, tokenizer and image processor.
            name: What results call it; None for the folder's own name.

        Raises:
            MetricUnavailable: If it is no whole CLIP; says why.
        """
        if not (folder / "config.json").is_file():
            raise MetricUnavailable(f"{folder} has no config.json; give the folder of a CLIP model of transformers")
        with _unavailable(f"{folder} cannot be opened as a CLIP model"):
            import torch

            # This processor needs no torchvision.
            from transformers import AutoTokenizer, CLIPImageProcessorPil, CLIPModel

            refuse_adapters(folder)
            local: dict[str, Any] = {"local_files_only": True}
            model, info = CLIPModel.from_pretrained(folder, dtype=torch.float32, output_loading_info=True, **local)
            if missing := sorted(info["missing_keys"]):
                raise ValueError(f"the weights lack {missing[0]} ({len(missing)} in all)")
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, **local)
            processor = CLIPImageProcessorPil.from_pretrained(folder, **local)
            return cls(model, tokenizer, processor, folder.resolve().name if name is None else name)

    def describe(self) -> dict[str, str]:
        """Its name, and a hash of its weights, whatever file they lie in."""
        digest = hashlib.sha256()
        for name, values in sorted(self.model.state_dict().items()):
            digest.update(name.encode())
            digest.update(values.cpu().contiguous().numpy().tobytes())
        return {"model": self.name, "weights_sha256": digest.hexdigest()}

    def score(
        self,
        references: Mapping[str, Sequence[str]],
        hypotheses: Mapping[str, str],
        open_picture: Callable[[str], Image],
        images: Mapping[str, str] | None = None,
    ) -> dict[str, FloatArray]:
        """Both scores of each example; a caption without words scores 0, as in every other metric.

        Args:
            references: Human captions by example_id, as written; of an example without any RefCLIPScore is 0.
            hypotheses: The caption to score by example_id, as written.
            open_picture: Opens an image, RGB; asked once for each.
            images: Image by example_id; None takes every example for an image of its own.

        Returns:
            ``CLIPScore`` and ``RefCLIPScore``. Shape (N,), in the order of the references.

        Raises:
            ValueError: If the ids differ.
            MetricUnavailable: If a picture cannot be opened, or the model gives no numbers.
        """
        check_same_ids(references, hypotheses, "hypothesis")
        ids = list(references)
        shown = {key: key if images is None else images[key] for key in ids}
        listed = list(dict.fromkeys(shown.values()))
        # Features of length 1, so that products are cosines; those of no words are 0.
        looks = dict(zip(listed, self._pictures(listed, open_picture), strict=True))
        cosines, nearest = [], []
        for start in range(0, len(ids), _EXAMPLES):
            part = ids[start : start + _EXAMPLES]
            texts = list(dict.fromkeys(text for key in part for text in (hypotheses[key], *references[key])))
            features = dict(zip(texts, self._texts(texts), strict=True))
            for key in part:
                own = features[hypotheses[key]]
                cosines.append(float(own @ looks[shown[key]]))
                nearest.append(max((float(own @ features[text]) for text in references[key]), default=0.0))
        scores = clip_score(np.array(cosines))
        if not np.isfinite([*cosines, *nearest]).all():
            raise MetricUnavailable(f"the CLIP model {self.name} gives no numbers; its weights are not fit for use")
        return {"CLIPScore": scores, "RefCLIPScore": ref_clip_score(scores, np.array(nearest))}

    def _texts(self, captions: Sequence[str]) -> FloatArray:
        import torch

        parts = [np.zeros((0, self.model.config.projection_dim))]
        for start in range(0, len(captions), BATCH):
            batch = captions[start : start + BATCH]
            longest = self.model.config.text_config.max_position_embeddings
            inputs = self.tokenizer(
                [PROMPT + text.strip() for text in batch],
                return_tensors="pt",
                padding=True,
                truncation=True,
                max_length=longest,
            ).to(self._device)
            with torch.inference_mode():
                features = self.model.get_text_features(inputs["input_ids"], inputs["attention_mask"]).pooler_output
            has_words = np.array([bool(text.strip()) for text in batch])
            parts.append(_unit(features) * has_words[:, np.newaxis])
        return np.concatenate(parts)

    def _pictures(self, images: Sequence[str], open_picture: Callable[[str], Image]) -> FloatArray:
        import torch

        parts = [np.zeros((0, self.model.config.projection_dim))]
        with tqdm(total=len(images), desc="pictures", disable=not sys.stderr.isatty(), leave=False) as bar:
            for start in range(0, len(images), BATCH):
                with _unavailable("a picture cannot be opened"):
                    pictures = [open_picture(image) for image in images[start : start + BATCH]]
                pixels = self.processor(pictures, return_tensors="pt")["pixel_values"].to(self._device)
                with torch.inference_mode():
                    parts.append(_unit(self.model.get_image_features(pixels).pooler_output))
                bar.update(len(pictures))
        return np.concatenate(parts)


class Sight(NamedTuple):
    """What looks at the pictures of captions, and where they are."""

    clip: Clip
    open_picture: Callable[[str], Image]
    """Opens an image, RGB."""


def look(
    sight: Sight | str,
    metrics: Collection[str],
    references: Mapping[str, Sequence[str]],
    hypotheses: Mapping[str, str],
    images: Mapping[str, str],
) -> dict[str, FloatArray | str]:
    """What :func:`metrics.coco.score_captions` takes beside captions, for those of the metrics that need pictures.

    Args:
        sight: What looks, or why nothing can.
        metrics: Names from ``metrics.table.METRICS``.
        references: As of :meth:`Clip.score`.
        hypotheses: Likewise.
        images: Likewise.

    Returns:
        By metric its values, shape (N,), or why there are none.
    """
    wanted = [name for name in metrics if METRICS[name].needs_pictures]
    if not wanted or isinstance(sight, str):
        return dict.fromkeys(wanted, str(sight))
    try:
        found = sight.clip.score(references, hypotheses, sight.open_picture, images)
    except MetricUnavailable as error:
        return dict.fromkeys(wanted, str(error))
    return {name: found[name] for name in wanted}


def describe_sight(sight: Sight | str, metrics: Collection[str]) -> dict[str, Any]:
    """Under ``clip`` which model looked, for the provenance of results; None where none of the metrics needs one."""
    if isinstance(sight, str) or not any(METRICS[name].needs_pictures for name in metrics):
        return {"clip": None}
    return {"clip": sight.clip.describe()}


def _unit(features: Any) -> FloatArray:
    rows: FloatArray = features.cpu().numpy().astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        unit: FloatArray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


@contextmanager
def _unavailable(fault: str) -> Iterator[None]:
    """Libraries raise whatever they do; to the user all of it means that there is no score."""
    try:
        yield
    except Exception as error:
        raise MetricUnavailable(f"{fault}: {first_line(error)}") from error
