from __future__ import annotations

import numpy as np
import pytest

from metrics.baselines import LookedUp, Resampling, neighbours_baseline, neighbours_verdict
from metrics.coco import score_captions
from metrics.confidence import ImageSums, bootstrap_intervals, paired_tests

REFERENCES = {
    "a.jpg#romantic": ["a red circle my love"],
    "a.jpg#pirate": ["arr a red circle", "a red circle ahoy"],
    "b.jpg#romantic": ["a blue star my love"],
    "b.jpg#pirate": ["arr a blue star"],
    "c.jpg#pirate": ["arr a green moon"],
}
STYLES = {key: key.split("#")[1] for key in REFERENCES}
IMAGES = {key: key.split("#")[0] for key in REFERENCES}
HYPOTHESES = {key: "arr a blue star" for key in REFERENCES}
TRAIN = {
    "romantic": ["my love a blue star", "oh a red circle", "a red circle oh my love", "hello"],
    "pirate": ["arr a blue star", "arr a red circle"],
}
PLACES = {
    "a.jpg#romantic": [3, 1, 2],
    "b.jpg#romantic": [0],
    "a.jpg#pirate": [1, 0],
    "b.jpg#pirate": [0, 1],
    "c.jpg#pirate": [1],
}
ANSWERS = {
    # Of "hello" and two about a red circle one of the two, the nearer; of two always the nearer.
    "a.jpg#romantic": "oh a red circle",
    "b.jpg#romantic": "my love a blue star",
    "a.jpg#pirate": "arr a red circle",
    "b.jpg#pirate": "arr a blue star",
    "c.jpg#pirate": "arr a red circle",
}


def looked_up(places: dict = PLACES) -> LookedUp:
    return LookedUp({key: np.array(rows, np.int64) for key, rows in places.items()}, 7)


def baseline(
    found: LookedUp | str, references: dict = REFERENCES, hypotheses: dict = HYPOTHESES, images: dict = IMAGES
):
    styles = {key: STYLES[key] for key in references}
    return neighbours_baseline(references, hypotheses, TRAIN, styles, found, Resampling(images, 40, 3))


def of_style(mapping: dict, style: str | None) -> dict:
    return {key: value for key, value in mapping.items() if style in (None, STYLES[key])}


@pytest.mark.parametrize("style", [None, "romantic", "pirate"])
def test_neighbours_baseline_is_the_cider_of_the_captions_looked_up(style):
    found, missing = baseline(looked_up())

    part = found["overall"] if style is None else found["per_style"][style]
    references = of_style(REFERENCES, style)
    scores, own = (
        score_captions(references, of_style(texts, style), metrics=("CIDEr",)) for texts in (ANSWERS, HYPOTHESES)
    )
    sums = [ImageSums.from_examples([*of_style(IMAGES, style).values()], each.per_example) for each in (scores, own)]
    test = paired_tests(*sums, resamples=40, seed=3)["CIDEr"]
    assert part == {
        "CIDEr": scores.overall["CIDEr"],
        "interval": bootstrap_intervals(scores, IMAGES, resamples=40, seed=3)["CIDEr"],
        "gain": pytest.approx(own.overall["CIDEr"] - scores.overall["CIDEr"], abs=1e-12),
        "gain_interval": [test.low, test.high],
    }
    assert missing == {}


def test_neighbours_baseline_says_how_it_was_made():
    found, _ = baseline(looked_up())

    assert list(found["per_style"]) == ["romantic", "pirate"]
    assert {name: found[name] for name in ("nearest", "agreeing", "train_pictures")} == {
        "nearest": 90, "agreeing": 125, "train_pictures": 7,
    }  # fmt: skip


def test_neighbours_baseline_two_pictures_by_hand():
    references = {"a.jpg#pirate": ["arr a red circle"], "b.jpg#pirate": ["arr a blue star"]}
    found, _ = baseline(looked_up({"a.jpg#pirate": [1], "b.jpg#pirate": [1]}), references)
    # Both are told of the red circle, right for one of two; the captioner says "blue star", right for the other.
    assert found["overall"]["CIDEr"] == pytest.approx(5.0)
    assert found["overall"]["gain"] == pytest.approx(0.0)
    assert found["overall"]["gain_interval"] == pytest.approx([-10.0, 10.0])


def test_neighbours_baseline_style_without_neighbours_has_none_but_a_reason():
    found, missing = baseline(looked_up(PLACES | {"b.jpg#romantic": []}))

    assert found["overall"] == found["per_style"]["romantic"] == {"CIDEr": None}
    assert found["per_style"]["pirate"]["CIDEr"] > 0
    assert missing == {"baseline_neighbours/romantic": "no training picture with a caption in this style was looked at"}


def test_neighbours_baseline_that_could_not_be_looked_up_is_none_with_its_reason():
    assert baseline("no memory") == (None, {"baseline_neighbours": "no memory"})


def test_neighbours_baseline_of_one_image_has_no_interval_but_a_reason():
    found, missing = baseline(looked_up(), images=dict.fromkeys(IMAGES, "a.jpg"))

    assert set(found["overall"]) == {"CIDEr"}
    assert found["overall"]["CIDEr"] > 0
    assert "only one image" in missing["baseline_neighbours/overall"]


def test_neighbours_baseline_style_without_a_word_does_not_stop_the_others():
    found, missing = baseline(looked_up(), REFERENCES | {key: [""] for key in of_style(STYLES, "romantic")})

    assert found["per_style"]["romantic"] == {"CIDEr": None}
    assert "reference with a word" in missing["baseline_neighbours/romantic"]
    assert found["per_style"]["pirate"]["CIDEr"] > 0
    assert found["overall"]["CIDEr"] > 0


def test_neighbours_baseline_other_examples_are_refused():
    with pytest.raises(ValueError, match=r"1 of 5 examples have no list of neighbours \(c.jpg#pirate\)"):
        baseline(looked_up({key: rows for key, rows in PLACES.items() if key != "c.jpg#pirate"}))


@pytest.mark.parametrize(
    ("gain", "interval", "said"),
    [
        (0.05, [0.01, 0.09], ""),
        (
            -0.064,
            [-0.08, -0.05],
            "The captioner does not beat the captions of the nearest training pictures (CIDEr 0.149 against 0.213, a "
            "difference of -0.064 [-0.080, -0.050]): it has learnt nothing that looking up would not give.",
        ),
        (
            0.01,
            [-0.005, 0.025],
            "The captioner does not beat the captions of the nearest training pictures (CIDEr 0.223 against 0.213, a "
            "difference of +0.010 [-0.005, +0.025]): it is not certain to have learnt more than looking up would give.",
        ),
    ],
)
def test_neighbours_verdict_is_about_a_captioner_that_does_not_beat_them(gain, interval, said):
    overall = {"CIDEr": 0.213, "interval": [0.2, 0.23], "gain": gain, "gain_interval": interval}
    assert neighbours_verdict({"baseline_neighbours": {"overall": overall}}) == said


@pytest.mark.parametrize(
    "results", [{}, {"baseline_neighbours": None}, {"baseline_neighbours": {"overall": {"CIDEr": 0.2}}}]
)
def test_neighbours_verdict_where_nothing_is_known_is_none(results):
    assert neighbours_verdict(results) == ""
