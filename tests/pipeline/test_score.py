"""The metric that checkpoints are chosen by."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.training import make_score
from preprocessors.examples import CaptionExample


def example(name: str, *captions: str) -> CaptionExample:
    return CaptionExample(f"{name}#calm", Path(name), "calm", captions)


def test_metric_without_a_value_on_the_validation_rows_is_refused_before_training():
    with pytest.raises(ValueError, match=r"checkpoint\.select=CIDEr: no value on .*of one picture alone"):
        make_score([example("a.png", "a red sky")], "CIDEr")


def test_score_is_that_of_the_captions():
    score = make_score([example("a.png", "a red sky"), example("b.png", "two dogs")], "Bleu_1")
    # All of the first caption's words are right, one of two of the second's.
    assert score({"a.png#calm": "A red sky.", "b.png#calm": "two cats"}) == pytest.approx(4 / 5)
