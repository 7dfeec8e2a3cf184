from __future__ import annotations

import math
import random
from collections import Counter

import numpy as np
import pytest

from metrics import neighbours
from metrics.neighbours import consensus_rows, nearest_rows

# Their mean is (1, 1): less that, they point right, up, down and left.
CROSS = np.array([[3, 1], [1, 3], [1, -1], [-1, 1]], np.float32)


def nearest(features: list[list[float]], **options) -> list[list[int]]:
    found = nearest_rows(np.array(features, np.float32), CROSS, **options)
    assert all(rows.dtype == np.int64 for rows in found)
    return [rows.tolist() for rows in found]


def test_nearest_rows_by_hand_are_those_in_the_same_direction_from_the_mean():
    # (2, 1.5) lies right of the mean and a little above; (0.9, 0.9) below and left, where without subtracting the mean
    # rows 0 and 1 would come first; equal cosines stay in order.
    assert nearest([[2, 1.5], [0.9, 0.9]], count=4) == [[0, 1, 2, 3], [2, 3, 0, 1]]
    assert nearest([[2, 1.5], [0.9, 0.9]], count=1) == [[0], [2]]


def test_nearest_rows_length_of_features_does_not_matter():
    assert nearest([[1 + 1e-3, 1 + 5e-4], [1e5, 5e4]], count=3) == [[0, 1, 2]] * 2


def test_nearest_rows_a_training_picture_does_not_find_itself():
    assert nearest([[3, 1], [3, 1], [1, 3]], own=np.array([0, -1, 1]), count=1) == [[1], [0], [0]]
    assert nearest([[3, 1]], own=np.array([0]), count=4) == [[1, 2, 3]]


@pytest.mark.parametrize(("pictures", "found"), [(1, 1), (19, 1), (200, 20), (2000, 90)])
def test_nearest_rows_of_few_training_pictures_are_few(pictures, found):
    train = np.random.default_rng(1).standard_normal((pictures, 3))
    assert [len(rows) for rows in nearest_rows(train[:1] + 0.1, train)] == [found]


def test_nearest_rows_one_training_picture_is_the_nearest_of_all_but_itself():
    found = nearest_rows(np.eye(2), np.ones((1, 2)), own=np.array([-1, 0]))
    assert [rows.tolist() for rows in found] == [[0], []]


def test_nearest_rows_in_parts_equal_a_sort_of_all_cosines(monkeypatch):
    monkeypatch.setattr(neighbours, "CHUNK", 4)
    generator = np.random.default_rng(3)
    train, features = generator.standard_normal((23, 5)), generator.standard_normal((11, 5))
    train[7] = train[2]

    found = nearest_rows(features, train, 6)

    centre = train.mean(axis=0)
    cosines = np.array([[(f - centre) @ (t - centre) / np.linalg.norm(t - centre) for t in train] for f in features])
    assert np.array_equal(found, np.argsort(-cosines.round(6), axis=1, kind="stable")[:, :6])


def plain_similarity(a: str, b: str, corpus: list[str]) -> float:
    """CIDEr of Vedantam et al. 2015, equations 1 and 2, over 10, n-gram by n-gram."""

    def count(text: str, n: int) -> Counter:
        words = text.split()
        return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))

    total = 0.0
    for n in range(1, 5):
        counted = [count(text, n) for text in corpus]
        first, second = (
            {gram: times * math.log(len(corpus) / sum(gram in one for one in counted)) for gram, times in found.items()}
            for found in (count(a, n), count(b, n))
        )
        lengths = [math.sqrt(sum(value**2 for value in vector.values())) for vector in (first, second)]
        if all(lengths):
            total += sum(value * second.get(gram, 0.0) for gram, value in first.items()) / math.prod(lengths)
    return total / 4


def plain_consensus(captions: list[str], rows: list[int], agreeing: int) -> int:
    fellows = min(agreeing, len(rows) - 1)
    scores = []
    for place, row in enumerate(rows):
        others = [other for at, other in enumerate(rows) if at != place]
        found = sorted((plain_similarity(captions[row], captions[o], captions) for o in others), reverse=True)
        scores.append(round(sum(found[:fellows]), 9))
    return rows[scores.index(max(scores))]


@pytest.mark.parametrize("agreeing", [1, 4, 125])
def test_consensus_rows_equal_those_found_one_by_one(agreeing):
    draw = random.Random(4)
    words = "a a a dog cat runs in the red sun".split()
    captions = [" ".join(draw.choices(words, k=draw.randint(0, 9))) for _ in range(30)]
    candidates = [draw.sample(range(30), size) for size in (1, 2, 3, 8, 13, 30)]

    found = consensus_rows(captions, [np.array(rows) for rows in candidates], agreeing)

    assert found.tolist() == [plain_consensus(captions, rows, agreeing) for rows in candidates]


def test_consensus_rows_by_hand_count_the_most_similar_fellows_only():
    captions = ["red sun", "red sun", "blue dog", "blue cat", "blue sky", "one", "two", "three"]
    # 0 and 1 are the same: 1 for one word, 1 for two. "blue" is in three captions of eight, "dog" in one: 2, 3 and 4
    # are alike by log(8/3)^2 / (log(8/3)^2 + log(8)^2) = 0.18 for one word, 0 for two.
    candidates = [np.array([2, 1, 0, 3, 4])]
    assert consensus_rows(captions, candidates, agreeing=1).tolist() == [1]  # 2 / 4 against 0.18 / 4
    # Of all four fellows: 2 / 16 against 2 * 0.18 / 16. Without the twin no caption is like 1, but two are like 2.
    assert consensus_rows(captions, candidates, agreeing=4).tolist() == [1]
    assert consensus_rows(captions, [np.array([1, 2, 3, 4])], agreeing=4).tolist() == [2]


def test_consensus_rows_equal_candidates_keep_their_order():
    captions = ["red sun", "red sun", "blue dog"]
    candidates = [np.array(rows) for rows in ([0, 1, 2], [1, 0, 2], [2], [2, 0], [0, 2])]
    assert consensus_rows(captions, candidates).tolist() == [0, 1, 2, 2, 0]


def test_consensus_rows_words_of_all_captions_agree_on_nothing():
    assert consensus_rows(["a", "a", ""], [np.array([1, 0, 2])]).tolist() == [1]
    assert consensus_rows(["a"], [np.array([0])]).tolist() == [0]
