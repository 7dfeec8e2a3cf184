from __future__ import annotations

import itertools
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest

from metrics import confidence
from metrics.confidence import ImageSums, bootstrap_intervals, paired_tests
from metrics.scores.bleu import bleu_from_statistics, bleu_statistics
from metrics.scores.java_metrics import METEOR_STATISTICS, meteor_from_statistics

WORDS = "a red blue dog cat runs sits on the grass".split()


def scored(values: dict[str, float], **others: object) -> SimpleNamespace:
    """Scores with one metric, as far as intervals need them."""
    return SimpleNamespace(
        ids=tuple(values),
        per_example={"CIDEr": np.array(list(values.values())), **others},
        statistics={},
    )


def own_images(scores: SimpleNamespace) -> dict[str, str]:
    return {key: key for key in scores.ids}


def random_captions(count: int, seed: int) -> list[str]:
    draw = np.random.default_rng(seed)
    return [" ".join(draw.choice(WORDS, size=draw.integers(12))) for _ in range(count)]


def means(values: np.ndarray) -> ImageSums:
    """One image for each value of one metric that is a mean."""
    images = [f"{number:05}" for number in range(len(values))]
    per_example = {"CIDEr": np.asarray(values, dtype=float)}
    return ImageSums.from_examples(images, per_example)


def bleus(hypotheses: list[str]) -> ImageSums:
    """One image for each caption against the same references."""
    references = [[text] for text in random_captions(len(hypotheses), seed=9)]
    statistics = bleu_statistics(references, hypotheses)
    per_example = {"Bleu_4": bleu_from_statistics(statistics)[:, 3]}
    images = [f"{number:05}" for number in range(len(hypotheses))]
    return ImageSums.from_examples(images, per_example, {"BLEU": statistics})


def test_bootstrap_intervals_two_images_by_hand():
    scores = scored({"a": 0.0, "b": 1.0})

    # Of the draws aa, ab, ba, bb a quarter gives 0, half 1/2, a quarter 1.
    assert bootstrap_intervals(scores, own_images(scores)) == {"CIDEr": [0.0, 1.0]}
    assert bootstrap_intervals(scores, own_images(scores), level=0.4) == {"CIDEr": [0.5, 0.5]}


def test_bootstrap_intervals_styles_of_an_image_are_drawn_together():
    scores = scored({"a#x": 1.0, "b#x": 0.0, "a#y": 1.0})
    images = {"a#x": "a", "a#y": "a", "b#x": "b", "c#x": "of no interest"}

    # a and b together are three examples with two points: half of the draws gives 2/3.
    assert bootstrap_intervals(scores, images, level=0.4) == {"CIDEr": [pytest.approx(2 / 3)] * 2}


def test_bootstrap_intervals_equal_a_loop_over_resamples():
    draw = np.random.default_rng(1)
    ids = [f"{number % 8}.jpg#{number // 8}" for number in range(20)]  # The images 0 to 3 have three styles.
    images = {key: key.split("#")[0] for key in ids}
    statistics = bleu_statistics([[text] for text in random_captions(20, seed=2)], random_captions(20, seed=3))
    meteor = draw.integers(1, 9, size=(20, METEOR_STATISTICS))
    ciders = draw.random(20)
    scores = SimpleNamespace(
        ids=tuple(ids),
        per_example={"Bleu_2": np.zeros(20), "METEOR": np.zeros(20), "CIDEr": ciders},
        statistics={"BLEU": statistics, "METEOR": meteor},
    )

    found = bootstrap_intervals(scores, images, resamples=50, seed=4)

    generator, names = np.random.default_rng(4), sorted(set(images.values()))
    drawn: dict[str, list[float]] = {"Bleu_2": [], "METEOR": [], "CIDEr": []}
    for _ in range(50):
        chosen = [names[number] for number in generator.integers(8, size=8)]
        rows = [row for name in chosen for row, key in enumerate(ids) if images[key] == name]
        drawn["Bleu_2"].append(bleu_from_statistics(statistics[rows].sum(axis=0))[1])
        drawn["METEOR"].append(float(meteor_from_statistics(meteor[rows].sum(axis=0))))
        drawn["CIDEr"].append(sum(ciders[row] for row in rows) / len(rows))
    expected = {name: list(np.quantile(values, [0.025, 0.975])) for name, values in drawn.items()}
    assert list(found) == ["Bleu_2", "METEOR", "CIDEr"]
    assert found == {name: pytest.approx(ends, rel=1e-12) for name, ends in expected.items()}


def test_bootstrap_intervals_order_of_examples_changes_nothing():
    values = {f"{number}": float(number**2) for number in range(30)}
    forward, backward = scored(values), scored(dict(reversed(values.items())))

    found = bootstrap_intervals(forward, own_images(forward), resamples=100)

    assert found == bootstrap_intervals(backward, own_images(backward), resamples=100)


def test_bootstrap_intervals_chunks_change_nothing(monkeypatch):
    scores = scored({f"{number}": float(number**2) for number in range(30)})
    whole = bootstrap_intervals(scores, own_images(scores), resamples=101)

    monkeypatch.setattr(confidence, "CHUNK_CELLS", 10 * 30)

    assert bootstrap_intervals(scores, own_images(scores), resamples=101) == whole


def test_bootstrap_intervals_seed_decides_the_draws():
    scores = scored({f"{number}": float(number**2) for number in range(30)})
    first, again, other = (bootstrap_intervals(scores, own_images(scores), seed=seed) for seed in (1, 1, 2))

    assert first == again
    assert first != other


def test_bootstrap_intervals_many_images_need_bounded_memory():
    scores = scored({f"{number}": 1.0 for number in range(100_000)})
    tracemalloc.start()
    try:
        bootstrap_intervals(scores, own_images(scores), resamples=50)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    # At once, drawn images, counts and their floats would be 3 x 50 x 100,000 x 8 bytes = 114 MiB.
    assert peak < 80 * 2**20


def test_bootstrap_intervals_one_image_is_refused():
    scores = scored({"a#x": 1.0, "a#y": 0.0})

    with pytest.raises(ValueError, match="only one image"):
        bootstrap_intervals(scores, dict.fromkeys(scores.ids, "a"))


def test_paired_tests_every_swap_of_twelve_images_gives_the_exact_p():
    a, b = np.zeros(12), np.array([3, 1, 4, -1, 5, 9, -2, 6, -5, 3, -5, 8]) / 4
    # Under each of the 4,096 swaps the sum of the differences has other signs; quarters are exact.
    sums = [abs(sum(signs * b)) for signs in itertools.product([1, -1], repeat=12)]
    exact = sum(value >= sum(b) for value in sums) / 4096

    test = paired_tests(means(a), means(b))["CIDEr"]

    assert 0.05 < exact < 0.5
    assert test.difference == pytest.approx(sum(b) / 12, rel=1e-12)
    # Four standard errors of a share that is estimated from 10,000 draws.
    assert test.p == pytest.approx(exact, abs=4 * (exact * (1 - exact) / 10_000) ** 0.5)


def test_paired_tests_equal_a_loop_that_swaps_captions():
    a, b = random_captions(9, seed=5), random_captions(9, seed=6)
    references = [[text] for text in random_captions(9, seed=9)]

    test = paired_tests(bleus(a), bleus(b), resamples=200, seed=7)["Bleu_4"]

    def difference(first: list[str], second: list[str]) -> float:
        totals = [bleu_statistics(references, texts).sum(axis=0) for texts in (first, second)]
        return float(bleu_from_statistics(totals[1])[3] - bleu_from_statistics(totals[0])[3])

    swaps = np.random.default_rng(7).integers(2, size=(200, 9), dtype=np.uint8)
    swapped = [
        difference(
            [y if s else x for x, y, s in zip(a, b, row, strict=True)],
            [x if s else y for x, y, s in zip(a, b, row, strict=True)],
        )
        for row in swaps
    ]
    assert test.difference == pytest.approx(difference(a, b), abs=1e-15)
    assert test.p == (sum(abs(value) >= abs(difference(a, b)) - 1e-12 for value in swapped) + 1) / 201
    assert 2 / 201 < test.p < 1

    draws = np.random.default_rng(7).integers(9, size=(200, 9))
    drawn = []
    for rows in draws:
        totals = [bleu_statistics([references[i] for i in rows], [texts[i] for i in rows]) for texts in (a, b)]
        drawn.append(np.subtract(*(bleu_from_statistics(total.sum(axis=0))[3] for total in reversed(totals))))
    assert [test.low, test.high] == pytest.approx(list(np.quantile(drawn, [0.025, 0.975])), rel=1e-12)


def test_paired_tests_same_captions_do_not_differ():
    captions = random_captions(20, seed=8)

    assert paired_tests(bleus(captions), bleus(captions))["Bleu_4"][2:] == (0.0, 0.0, 0.0, 1.0)


def test_paired_tests_equal_sums_of_other_values_do_not_differ():
    a, b = means(np.array([0.1, 0.2, 0.3, 0.7])), means(np.array([0.7, 0.3, 0.2, 0.1]))

    # The sums are the same but for rounding; every swap is at least as far apart.
    assert paired_tests(a, b)["CIDEr"].p == 1.0


def test_paired_tests_other_order_turns_the_signs_only():
    a, b = bleus(random_captions(20, seed=10)), bleus(random_captions(20, seed=11))

    one, other = paired_tests(a, b)["Bleu_4"], paired_tests(b, a)["Bleu_4"]

    assert (other.a, other.b, other.p) == (one.b, one.a, one.p)
    assert (other.difference, other.low, other.high) == pytest.approx((-one.difference, -one.high, -one.low), rel=1e-12)


def test_paired_tests_clear_difference_has_the_smallest_p():
    # Of 2 ** 40 swaps two keep 40 differences of the same sign together.
    assert paired_tests(means(np.zeros(40)), means(np.ones(40)), resamples=999)["CIDEr"].p == 1 / 1000
