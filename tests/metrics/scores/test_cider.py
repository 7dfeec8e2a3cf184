from __future__ import annotations

import math
import pickle
import random
import sys
import tracemalloc
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocoevalcap.cider.cider import Cider

from metrics.scores.cider import PreparedReferences, cider, cider_d
from metrics.scores.document_frequency import DocumentFrequency
from utils.io import read_json

WORDS = ["a", "a", "a", "dog", "runs", "狗", "\0", "e\u0301", "é", "\ud800", "<eos>"]
CAPTION = st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join)
IMAGES = st.lists(st.tuples(st.lists(CAPTION, min_size=1, max_size=4), CAPTION), min_size=1, max_size=8)


def pycocoevalcap_cider(references: list[list[str]], hypotheses: list[str]) -> np.ndarray:
    return Cider().compute_score(dict(enumerate(references)), {i: [text] for i, text in enumerate(hypotheses)})[1]


@pytest.fixture(scope="module")
def published() -> Any:
    """The module ``modelscope.metrics.ciderD.ciderD``, without the seconds that modelscope takes to import."""
    folder = Path(find_spec("modelscope").submodule_search_locations[0]) / "metrics" / "ciderD"
    with pytest.MonkeyPatch.context() as patch:
        # It takes two names from six, which is not among our requirements.
        six, moves = ModuleType("six"), ModuleType("six.moves")
        six.PY3, moves.cPickle = True, pickle
        patch.setitem(sys.modules, "six", six)
        patch.setitem(sys.modules, "six.moves", moves)
        patch.syspath_prepend(folder.parent)
        return import_module("ciderD.ciderD")


def published_cider_d(published: Any, references: list[list[str]], hypotheses: list[str], df: Path | str = "corpus"):
    results = [{"image_id": i, "caption": [text]} for i, text in enumerate(hypotheses)]
    return published.CiderD(df=str(df)).compute_score(dict(enumerate(references)), results)[1]


def random_captions(count: int, seed: int, words: int = 12) -> list[str]:
    """Captions of 0 to 14 words, the first ones the most frequent; some are empty."""
    draw = random.Random(seed)
    vocabulary = [f"w{i}" for i in range(words)]
    weights = [1 / (i + 1) for i in range(words)]
    return [" ".join(draw.choices(vocabulary, weights, k=draw.randint(0, 14))) for _ in range(count)]


def random_images(count: int, seed: int) -> tuple[list[list[str]], list[str]]:
    """1 to 5 references of each image, and its hypothesis."""
    captions = random_captions(5 * count, seed)
    references = [captions[5 * i : 5 * i + 1 + i % 5] for i in range(count)]
    return references, random_captions(count, seed + 1)


def test_cider_two_images_by_hand():
    # Each word is in one of two documents: weight log 2, which cancels out of all cosines.
    # Image 1: "red" against "red star" (1 and 2 words, so 0 and 1 bigrams): unigram cosine 1 / sqrt(2), no bigrams in
    # the hypothesis, penalty exp(-1 / 72). Mean over n = 1 to 4, times 10.
    # Image 2: both cosines are 1, triples and quadruples do not exist.
    scores = cider([["red star"], ["blue moon"]], ["red", "blue moon"])

    assert scores == pytest.approx([10 / 4 * math.exp(-1 / 72) / math.sqrt(2), 10 * 2 / 4], abs=1e-14)


def test_cider_clips_repeated_words_by_hand():
    # "red red" against "red": 2 log 2 clipped to log 2, so log^2 2 / (2 log 2 * log 2) = 1/2; lengths 1 and 0.
    scores = cider([["red"], ["blue"]], ["red red", ""])

    assert scores == pytest.approx([10 / 4 * math.exp(-1 / 72) / 2, 0], abs=1e-14)


@settings(max_examples=100, deadline=None)
@given(IMAGES)
def test_cider_any_captions_equal_pycocoevalcap(images):
    references, hypotheses = [list(texts) for texts, _ in images], [text for _, text in images]
    if any(text for texts in references for text in texts):  # It takes the largest of all counts, if there is one.
        expected = pycocoevalcap_cider(references, hypotheses)
    else:
        expected = np.zeros(len(images))

    np.testing.assert_allclose(cider(references, hypotheses), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_cider_large_corpus_equals_pycocoevalcap(seed):
    references, hypotheses = random_images(150, seed)

    expected = pycocoevalcap_cider(references, hypotheses)

    assert expected.max() > 1
    np.testing.assert_allclose(cider(references, hypotheses), expected, rtol=0, atol=1e-12)


def test_cider_d_without_document_frequency_equals_published(published):
    references, hypotheses = random_images(100, seed=7)
    # The same image three times, as with several samples, so that its n-grams are in more documents.
    references, hypotheses = references + 2 * references[:1], [*hypotheses, "w0 w1", "w1 w2"]

    expected = published_cider_d(published, references, hypotheses)

    np.testing.assert_allclose(cider_d(references, hypotheses), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("ref_len", [60, 1000])
def test_cider_d_with_document_frequency_equals_published(published, tmp_path, ref_len):
    corpus, _ = random_images(60, seed=8)
    documents = DocumentFrequency.from_references(corpus, tokenizer="words", eos=None)
    counts = defaultdict(float, {(word,): documents.lookup(word) for word in documents.tree.words})
    counts |= {(a, b): documents.lookup(f"{a} {b}") for a in documents.tree.words for b in documents.tree.words}
    path = tmp_path / "words.p"
    path.write_bytes(pickle.dumps({"document_frequency": counts, "ref_len": ref_len}))
    references = [["w0 w1 unseen words", "w1"], ["w2 unseen words here"], [""], *corpus[:20]]
    hypotheses = ["w0 unseen words", "unseen words here", "w1 w1", *random_captions(20, seed=9)]

    expected = published_cider_d(published, references, hypotheses, path)
    read = DocumentFrequency.read_pickle(path, tokenizer="words", eos=None)

    assert expected.max() > 1
    np.testing.assert_allclose(cider_d(references, hypotheses, read), expected, rtol=0, atol=1e-12)


def test_cider_coco_example_gives_the_published_score(shared):
    folder = shared / "data" / "coco_fakecap"
    references = read_json(folder / "en_captions_val2014_references_after_tokenization.json")
    results = read_json(folder / "en_captions_val2014_results_after_tokenization.json")
    texts, hypotheses = [references[key] for key in results], [results[key][0] for key in results]

    scores = cider(texts, hypotheses)

    assert f"{scores.mean():.3f}" == "0.600"
    np.testing.assert_allclose(scores, pycocoevalcap_cider(texts, hypotheses), rtol=0, atol=1e-12)


def test_cider_single_image_is_zero_as_its_words_are_in_every_document():
    assert cider([["red circle", "a red circle"]], ["red circle"]).tolist() == [0]


def test_cider_words_of_all_documents_weigh_exactly_nothing():
    # Were log(n) - log(n) not exactly 0, the cosine of the two captions would be 1.
    for size in range(1, 200):
        assert not cider([["a dog"]] * size, ["a dog"] * size).any()


def test_cider_word_repeated_70000_times_equals_pycocoevalcap():
    # The square of 70,000 does not fit into 32 bits.
    references, hypotheses = [["red " * 70_000, "red"], ["blue"]], ["red " * 70_001, "blue"]

    expected = pycocoevalcap_cider(references, hypotheses)

    assert expected[0] > 3
    np.testing.assert_allclose(cider(references, hypotheses), expected, rtol=0, atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(IMAGES, st.randoms(use_true_random=False))
def test_cider_order_of_images_and_references_does_not_matter(images, draw):
    scores = cider([texts for texts, _ in images], [text for _, text in images])

    order = draw.sample(range(len(images)), len(images))
    shuffled = [draw.sample(images[i][0], len(images[i][0])) for i in order]

    np.testing.assert_allclose(cider(shuffled, [images[i][1] for i in order]), scores[order], rtol=0, atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(IMAGES, st.integers(2, 3))
def test_cider_duplicated_references_do_not_matter(images, times):
    hypotheses = [text for _, text in images]
    scores = cider([texts for texts, _ in images], hypotheses)

    np.testing.assert_allclose(cider([texts * times for texts, _ in images], hypotheses), scores, rtol=0, atol=1e-12)


@pytest.mark.parametrize("eos", [None, "<eos>"])
def test_prepared_references_samples_of_an_image_score_as_each_alone(eos):
    references, _ = random_images(40, seed=3)
    documents = DocumentFrequency.from_references(random_images(60, seed=4)[0], tokenizer="words", eos=eos)
    samples, rows = random_captions(100, seed=5), [i % 7 for i in range(100)]

    scores = PreparedReferences(references, documents).score(samples, rows)

    expected = [cider_d([references[row]], [text], documents)[0] for row, text in zip(rows, samples, strict=True)]
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-12)
    assert scores[[not text for text in samples]].tolist() == [0] * samples.count("")


def test_prepared_references_count_an_image_once_whatever_its_samples():
    references, hypotheses = random_images(30, seed=6)
    prepared = PreparedReferences(references)

    scores = prepared.score([hypotheses[3], *hypotheses, hypotheses[3]], [3, *range(30), 3])

    np.testing.assert_allclose(scores[1:-1], cider(references, hypotheses), rtol=0, atol=1e-12)
    assert scores[0] == scores[-1] == scores[4]


def test_prepared_references_eos_is_a_word_of_both_sides():
    corpus = [["a dog", "the dog"], ["a cat"]]
    documents = DocumentFrequency.from_references(corpus, tokenizer="words", eos="<eos>")
    written_out = [[f"{text} <eos>" for text in texts] for texts in corpus]
    plain = DocumentFrequency.from_references(written_out, tokenizer="words", eos=None)

    scores = PreparedReferences(corpus, documents).score(["a dog", "cat a"])

    assert scores.tolist() == PreparedReferences(written_out, plain).score(["a dog <eos>", "cat a <eos>"]).tolist()
    assert scores[0] > cider(corpus, ["a dog", "cat a"])[0]


def test_prepared_references_called_from_threads_give_the_same():
    references, _ = random_images(50, seed=10)
    prepared = PreparedReferences(references)
    calls = [(random_captions(60, seed), [seed % 50] * 60) for seed in range(24)]

    with ThreadPoolExecutor(8) as pool:
        threaded = list(pool.map(lambda call: prepared.score(*call), calls))

    for scores, call in zip(threaded, calls, strict=True):
        assert scores.tolist() == prepared.score(*call).tolist()


def test_prepared_references_memory_is_linear_in_the_corpus():
    def peak(images: int) -> int:
        # New words all along, as in the worst corpus.
        references = [[f"w{5 * i} w{5 * i + 1} a w{5 * i + 2} of w{5 * i + 3}"] * 2 for i in range(images)]
        tracemalloc.start()
        PreparedReferences(references)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    # A dictionary doubles its size at once, hence not exactly 4.
    assert peak(16_000) < 4.5 * peak(4_000)


def test_cider_numbers_of_images_that_differ_are_refused():
    with pytest.raises(ValueError, match="2 lists of references for 1 hypotheses"):
        cider([["a dog"], ["a cat"]], ["a dog"])


def test_prepared_references_no_hypotheses_give_no_scores():
    assert PreparedReferences([["a dog"]]).score([], []).tolist() == []


@pytest.mark.parametrize(
    ("references", "message"),
    [
        ([], "no references"),
        ([["a dog"], [], ["a"], []], r"2 of 4 images have no list of captions \(rows 1, 3\)"),
        (["a dog", "a cat"], r"2 of 2 images have no list of captions \(rows 0, 1\)"),
        ([[]] * 6, r"\(rows 0, 1, 2, 3, 4, \.\.\.\)"),
    ],
)
def test_prepared_references_missing_captions_are_refused(references, message):
    with pytest.raises(ValueError, match=message):
        PreparedReferences(references)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (None, "3 hypotheses, but references of 2"),
        ([0, 1], "3 hypotheses, but rows for 2"),
        ([0, 1, 2], "rows from 0 to 2; there are references 0 to 1"),
        ([0, -1, 1], "rows from -1 to 1"),
    ],
)
def test_prepared_references_rows_that_do_not_fit_are_refused(rows, message):
    with pytest.raises(ValueError, match=message):
        PreparedReferences([["a dog"], ["a cat"]]).score(["a", "b", "c"], rows)


def test_prepared_references_only_captions_that_ended_have_the_eos():
    corpus, _ = random_images(40, seed=11)
    documents = DocumentFrequency.from_references(corpus, tokenizer="words", eos="<eos>")
    written_out = [[f"{text} <eos>" for text in texts] for texts in corpus]
    plain = DocumentFrequency.from_references(written_out, tokenizer="words", eos=None)
    samples, ended = random_captions(40, seed=12), [bool(row % 3) for row in range(40)]

    scores = PreparedReferences(corpus, documents).score(samples, ended=ended)

    ends = [f"{text} <eos>" if has_ended else text for text, has_ended in zip(samples, ended, strict=True)]
    assert scores.tolist() == PreparedReferences(written_out, plain).score(ends).tolist()
    all_ended = PreparedReferences(corpus, documents).score(samples)
    assert (scores != all_ended)[[not has_ended for has_ended in ended]].sum() > 5
    assert (scores == all_ended)[ended].all()


def test_prepared_references_ended_means_nothing_without_eos():
    prepared = PreparedReferences([["a dog"], ["a cat"]])
    assert (
        prepared.score(["a dog", "dog"], [0, 0], [False, True]).tolist()
        == prepared.score(["a dog", "dog"], [0, 0]).tolist()
    )


def test_prepared_references_ended_of_another_length_is_refused():
    documents = DocumentFrequency.from_references([["a dog"]], tokenizer="words", eos="<eos>")
    with pytest.raises(ValueError, match="2 hypotheses, but ended tells of 1"):
        PreparedReferences([["a dog"]], documents).score(["a", "b"], [0, 0], [True])
