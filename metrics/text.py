"""The text that the metrics see."""

from __future__ import annotations

import string

_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize_caption(text: str) -> str:
    """Lower-case a caption, delete ``string.punctuation`` and put single spaces between its words.

    Interim: published COCO scores come from Stanford's PTBTokenizer, which splits "it's" into two words where
    this gives "its". References and hypotheses must go through the same function, or scores mean nothing.

    Args:
        text: A caption as a person or a model wrote it; may be empty.

    Returns:
        Words separated by one space; "" if nothing but punctuation and space was there.
    """
    return " ".join(text.lower().translate(_WITHOUT_PUNCTUATION).split())
