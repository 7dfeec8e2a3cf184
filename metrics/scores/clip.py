"""CLIPScore and RefCLIPScore: how they come from cosines, and that captions alone give none.

Source:
    Hessel et al. 2021, "CLIPScore: A Reference-free Evaluation Metric for Image Captioning", arXiv:2104.08718.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from metrics.scores.measurement import Measurement, MetricUnavailable

FloatArray = NDArray[np.float64]

WEIGHT = 2.5
"""The paper's w, which stretches the cosines to about [0, 1]."""
NO_CLIP = (
    "it looks at the pictures with a CLIP model, and none is named: give its folder with eval.clip, or with --clip "
    "beside --images"
)


def clip_score(cosines: FloatArray) -> FloatArray:
    """CLIPScore, in [0, 2.5], from the cosines of captions and their pictures."""
    return WEIGHT * np.maximum(cosines, 0.0)


def ref_clip_score(scores: FloatArray, nearest: FloatArray) -> FloatArray:
    """RefCLIPScore, in [0, 10/7]: harmonic means of CLIPScore and each caption's highest cosine to a reference."""
    nearest = np.maximum(nearest, 0.0)
    total = scores + nearest
    return np.divide(2 * scores * nearest, total, out=np.zeros_like(total), where=total > 0)


def _blind(references: Sequence[Sequence[str]], hypotheses: Sequence[str]) -> NoReturn:
    raise MetricUnavailable(NO_CLIP)


CLIP_SCORE = Measurement("CLIPScore", ("CLIPScore",), _blind)
REF_CLIP_SCORE = Measurement("RefCLIPScore", ("RefCLIPScore",), _blind)
"""What :class:`metrics.clip.Clip` gives is handed to :func:`metrics.coco.score_captions` beside the captions."""
