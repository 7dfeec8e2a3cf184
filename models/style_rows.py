"""Where the rows of new style tokens start."""

from __future__ import annotations

from collections.abc import Mapping

from models.captioner import Captioner


def start_style_rows(captioner: Captioner, names: Mapping[str, str]) -> None:
    """Have the row of each style token start as the mean of its name's sub-words.

    A projection onto the vocabulary of its own too: a library's first values for its new rows are random, and adapters
    keep them.

    Args:
        captioner: Has the tokens and their rows.
        names: Of the styles, by token.
    """
    tokenizer = captioner.tokenizer
    for table in (module.get_parameter("weight").data for module in captioner.parts()["embeddings"]):
        for token, name in names.items():
            table[tokenizer.encode_text(token)] = table[tokenizer.encode_text(f" {name.lower()}")].mean(0)
