from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from metrics.style.features import BUCKETS, count_features

REPOSITORY = Path(__file__).resolve().parents[3]


def test_count_features_by_hand():
    counts = count_features(["a a b", ""])

    # Different words a, b; different pairs (begin a) (a a) (a b) (b end): 6. Characters " a " and " b ": 2.
    assert counts.shape == (2, 2 * BUCKETS)
    assert counts[:, :BUCKETS].sum(axis=1).tolist() == [6, 1]  # Nothing but begin and end beside each other.
    assert counts[:, BUCKETS:].sum(axis=1).tolist() == [2, 0]


def test_count_features_related_words_share_characters_but_not_words():
    lover, lovers, zebra = count_features(["lover", "lovers", "zebra"]).toarray()

    # " lover" and "lovers " have " lo" "lov" "ove" "ver", " lov" "love" "over" and " love" "lover" in common.
    assert (lover[BUCKETS:] * lovers[BUCKETS:]).sum() == 9
    assert (lover[BUCKETS:] * zebra[BUCKETS:]).sum() == 0
    assert (lover[:BUCKETS] * lovers[:BUCKETS]).sum() == 0


def test_count_features_are_the_same_in_every_process_and_for_any_text():
    captions = ["a dog é \ud800 runs", "<s> 雪 </s>"]
    program = (
        "from metrics.style.features import count_features\n"
        f"print(*count_features({captions!r}).indices)\n"
        "import sys; print(*{'torch', 'sklearn'} & set(sys.modules))"
    )
    output = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, check=True, capture_output=True, text=True
    ).stdout

    buckets, heavy = output.split("\n")[:2]
    assert [int(number) for number in buckets.split()] == count_features(captions).indices.tolist()
    assert heavy == ""
