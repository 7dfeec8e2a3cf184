"""A tokenizer of 300 entries, learnt on a few sentences."""

from __future__ import annotations

import pytest

from preprocessors.documents.byte_pairs import BytePairTokenizer
from preprocessors.documents.training import train_tokenizer

SENTENCES = [
    f"the {animal} sat on the {thing} ." for animal in ("cat", "dog", "hen") for thing in ("mat", "roof", "sea")
]


@pytest.fixture(scope="package")
def tokenizer() -> BytePairTokenizer:
    return train_tokenizer(SENTENCES, 300)
