"""Trains a byte-level BPE in the layout of the published OFA checkpoints."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from preprocessors.text.captions import Punctuation, clean_caption
from utils.io import write_json, write_text

FIRST_TOKENS = ("<s>", "<pad>", "</s>", "<unk>")  # ids 0-3 in every published vocabulary
LAST_TOKEN = "<mask>"
NUM_BYTES = 256
SMALLEST_SIZE = len(FIRST_TOKENS) + NUM_BYTES + 1


def train_bpe(
    captions: Iterable[str],
    folder: Path,
    vocab_size: int,
    *,
    extra_texts: Sequence[str] = (),
    punctuation: Punctuation = "strip",
) -> int:
    """Train a BPE on captions and write ``vocab.json`` and ``merges.txt``.

    Words are cut out as RoBERTa's tokenizer does, without a space put before the text. Captions are learnt as they are
    trained on (:func:`preprocessors.text.captions.clean_caption`), both as they are and with a leading space, so that
    their first words get tokens of their own. The result depends on the texts alone.

    Args:
        captions: Training captions.
        folder: Model folder; made if it is not there.
        vocab_size: Most entries the vocabulary may have, at least 261: four special tokens first, the 256 bytes, and
            ``<mask>`` last. There are fewer where the captions have no more to merge.
        extra_texts: Texts that go with every caption, i.e. the prompts. Each counts as often as if the captions were
            shared out among them, so that a prompt becomes few tokens.
        punctuation: Rule for the captions.

    Returns:
        Number of entries.

    Raises:
        ValueError: If ``vocab_size`` is too small or there are no captions.
    """
    if vocab_size < SMALLEST_SIZE:
        raise ValueError(
            f"model.bpe_size={vocab_size}: must be at least {SMALLEST_SIZE} (special tokens and 256 bytes)."
        )
    cleaned = [text for text in (clean_caption(caption, punctuation=punctuation) for caption in captions) if text]
    if not cleaned:
        raise ValueError(f"{folder}: no captions to train a BPE on. Check the training split.")
    corpus = [*cleaned, *(f" {text}" for text in cleaned)]
    corpus += list(extra_texts) * max(1, len(cleaned) // max(1, len(extra_texts)))
    tokenizer = Tokenizer(models.BPE(unk_token=FIRST_TOKENS[-1]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 1,
        special_tokens=list(FIRST_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    return _write_bpe(tokenizer, Path(folder))


def _write_bpe(tokenizer: Tokenizer, folder: Path) -> int:
    model = json.loads(tokenizer.to_str())["model"]
    vocabulary = sorted(model["vocab"], key=model["vocab"].__getitem__) + [LAST_TOKEN]
    merges = [" ".join(pair) for pair in model["merges"]]
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "vocab.json", {token: number for number, token in enumerate(vocabulary)})
    write_text(folder / "merges.txt", "\n".join(["#version: 0.2", *merges, ""]))
    return len(vocabulary)
