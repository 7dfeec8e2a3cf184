from __future__ import annotations

import string

import pytest

from metrics.text import normalize_caption


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("A dog , running  FAST .", "a dog running fast"),
        ("it's a t-shirt!", "its a tshirt"),
        ("\tÉtoile — naïve\n", "étoile — naïve"),
        (string.punctuation, ""),
        ("", ""),
    ],
)
def test_normalize_caption_mixed_text_becomes_plain_words(written, expected):
    assert normalize_caption(written) == expected
