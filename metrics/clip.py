"""CLIPScore and RefCLIPScore of captions as written, from a local CLIP folder of transformers.

Source:
    Hessel et al. 2021, "CLIPScore: A Reference-free Evaluation Metric for Image Captioning", arXiv:2104.08718.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from metrics.scores.examples import check_same_ids
from metrics.scores.measurement import MetricUnavailable
from utils.errors import first_line

if TYPE_CHECKING:
    from PIL.Image import Image

FloatArray = NDArray[np.float64]
PROMPT = "A photo depicts "
"""Begins every caption, as in the paper."""
WEIGHT = 2.5
"""The paper's w, which stretches the cosines to about [0, 1]."""
BATCH = 32


def clip_score(cosines: FloatArray) -> FloatArray:
    """CLIPScore, in [0, 2.5], from the cosines of captions and their pictures."""
    return WEIGHT * np.maximum(cosines, 0.0)


def ref_clip_score(scores: FloatArray, nearest: FloatArray) -> FloatArray:
    """RefCLIPScore, in [0, 10/7]: harmonic means of CLIPScore and each caption's highest cosine to a reference."""
    nearest = np.maximum(nearest, 0.0)
    total = scores + nearest
    return np.divide(2 * scores * nearest, total, out=np.zeros_like(total), where=total > 0)


class Clip:
    """A CLIP model that scores captions.

    Args:
        model: ``transformers.CLIPModel``.
        tokenizer: Its tokenizer.
        processor: Its image processor.
    """

    def __init__(self, model: Any, tokenizer: Any, processor: Any) -> None:
        self.model, self.tokenizer, self.processor = model.eval(), tokenizer, processor

    @classmethod
    def open(cls, folder: Path) -> Clip:
        """Open a folder of transformers; nothing is downloaded, and no code of the folder runs.

        Raises:
            MetricUnavailable: If it is no whole CLIP; says why.
        """
        if not (folder / "config.json").is_file():
            raise MetricUnavailable(f"{folder} has no config.json; give the folder of a CLIP model of transformers")
        with _unavailable(f"{folder} cannot be opened as a CLIP model"):
            # This processor needs no torchvision.
            from transformers import AutoTokenizer, CLIPImageProcessorPil, CLIPModel

            local: dict[str, Any] = {"local_files_only": True}
            model, info = CLIPModel.from_pretrained(folder, output_loading_info=True, **local)
            if missing := sorted(info["missing_keys"]):
                raise ValueError(f"the weights lack {missing[0]} ({len(missing)} in all)")
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, **local)
            return cls(model, tokenizer, CLIPImageProcessorPil.from_pretrained(folder, **local))

    def score(
        self,
        references: Mapping[str, Sequence[str]],
        hypotheses: Mapping[str, str],
        open_picture: Callable[[str], Image],
    ) -> dict[str, FloatArray]:
        """Both scores of each example; a caption without words scores 0, as in every other metric.

        Args:
            references: Human captions by example_id, as written.
            hypotheses: The caption to score by example_id, as written.
            open_picture: Opens an example's picture, RGB.

        Returns:
            ``CLIPScore`` and ``RefCLIPScore``. Shape (N,), in the order of the references.

        Raises:
            ValueError: If the ids differ.
            MetricUnavailable: If a picture cannot be opened.
        """
        check_same_ids(references, hypotheses, "hypothesis")
        ids = list(references)
        texts = self._texts([hypotheses[key] for key in ids])
        # Features of length 1, so that products are cosines; those of no words are 0.
        scores = clip_score(np.sum(texts * self._pictures(ids, open_picture), axis=1))
        nearest = [
            max((self._texts(references[key]) @ text).tolist(), default=0.0)
            for key, text in zip(ids, texts, strict=True)
        ]
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
            )
            with torch.inference_mode():
                features = self.model.get_text_features(inputs["input_ids"], inputs["attention_mask"]).pooler_output
            has_words = np.array([bool(text.strip()) for text in batch])
            parts.append(_unit(features) * has_words[:, np.newaxis])
        return np.concatenate(parts)

    def _pictures(self, ids: Sequence[str], open_picture: Callable[[str], Image]) -> FloatArray:
        import torch

        parts = [np.zeros((0, self.model.config.projection_dim))]
        for start in range(0, len(ids), BATCH):
            with _unavailable("a picture cannot be opened"):
                pictures = [open_picture(key) for key in ids[start : start + BATCH]]
            pixels = self.processor(pictures, return_tensors="pt")["pixel_values"]
            with torch.inference_mode():
                parts.append(_unit(self.model.get_image_features(pixels).pooler_output))
        return np.concatenate(parts)


def _unit(features: Any) -> FloatArray:
    rows: FloatArray = features.numpy().astype(np.float64)
    unit: FloatArray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


@contextmanager
def _unavailable(fault: str) -> Iterator[None]:
    """Libraries raise whatever they do; to the user all of it means that there is no score."""
    try:
        yield
    except Exception as error:
        raise MetricUnavailable(f"{fault}: {first_line(error)}") from error
