from __future__ import annotations

import random

import pytest
from pycocoevalcap.cider.cider import Cider

from metrics.scores.constant import best_constant_caption
from metrics.tokenizers.ptb import tokenize_many
from utils.io import read_json


def random_captions(count: int, seed: int) -> list[str]:
    """Short captions over few words, so that n-grams repeat within and across captions; some are empty."""
    draw = random.Random(seed)
    return [
        " ".join(draw.choices("a a a dog cat runs in the red sun".split(), k=draw.randint(0, 11))) for _ in range(count)
    ]


def official_cider(references: dict[str, list[str]], caption: str) -> float:
    """pycocoevalcap's CIDEr of one caption for all examples."""
    return Cider().compute_score(references, dict.fromkeys(references, [caption]))[0]


@pytest.fixture
def references() -> dict[str, list[str]]:
    captions = random_captions(66, seed=1)
    # Uneven numbers of references: 1, 2, 3, 1, 2, 3, ...
    return {f"{i}#x": [captions.pop() for _ in range(1 + i % 3)] for i in range(33)}


def test_best_constant_caption_each_candidate_has_pycocoevalcaps_cider(references):
    for caption in random_captions(25, seed=2):
        expected = official_cider(references, caption)
        assert best_constant_caption(references, [caption]).cider == pytest.approx(expected, abs=1e-12)


def test_best_constant_caption_is_the_best_of_all_candidates(references):
    candidates = random_captions(30, seed=3)
    ciders = [official_cider(references, text) for text in candidates]

    best = best_constant_caption(references, candidates)

    assert best.cider == pytest.approx(max(ciders), abs=1e-12)
    assert best.caption == candidates[ciders.index(max(ciders))]


def test_best_constant_caption_two_examples_by_hand():
    references = {"a#x": ["red circle"], "b#x": ["blue star"], "c#x": ["red circle"], "d#x": ["red circle"]}

    best = best_constant_caption(references, ["blue star", "red circle", "red circle"])

    # Cosine 1 for unigrams and bigrams in three examples of four: 10 * 2/4 * 3/4.
    assert best == ("red circle", pytest.approx(3.75))


def test_best_constant_caption_equal_scores_keep_the_first():
    references = {"a#x": ["red circle"], "b#x": ["blue star"]}

    assert best_constant_caption(references, ["blue star", "red circle"]).caption == "blue star"


def test_best_constant_caption_single_example_is_zero_as_its_words_are_in_every_example():
    assert best_constant_caption({"a#x": ["red circle"]}, ["red circle"]).cider == 0


@pytest.mark.parametrize(("references", "candidates"), [({}, ["red"]), ({"a#x": ["red"]}, [])])
def test_best_constant_caption_nothing_to_choose_is_refused(references, candidates):
    with pytest.raises(ValueError, match=f"{len(references)} examples and {len(candidates)} candidate captions"):
        best_constant_caption(references, candidates)


def test_best_constant_caption_flickrstyle_finds_a_romantic_floor(shared):
    rows = read_json(shared / "data" / "flickrstyle" / "captions.json")
    captions: dict[str, dict[str, str]] = {"train": {}, "dev": {}}
    for row, caption in zip(rows, tokenize_many(row["romantic"] for row in rows), strict=True):
        captions[row["flickr8k_split"]][row["image"]] = caption
    references = {image: [caption] for image, caption in captions["dev"].items()}

    best = best_constant_caption(references, captions["train"].values())

    assert best.caption == "a brown and white dog is running on the grass to meet his lover"
    official = official_cider(references, best.caption)
    assert best.cider == pytest.approx(official, abs=1e-12)
    assert f"{official:.4f}" == "0.1539"
