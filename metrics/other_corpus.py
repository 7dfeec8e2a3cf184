"""Document frequencies of another corpus than the references, to weigh CIDEr with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from metrics.caption_files import count_and_list, read_references
from metrics.scores.document_frequency import EOS, DocumentFrequency
from metrics.tokenizers.table import Tokenizer


def read_document_frequency(path: Path, tokenizer: Tokenizer) -> DocumentFrequency:
    """Document frequencies from a file of them, or counted over a file of captions.

    Args:
        path: What ``metrics.cider build-df`` wrote (``.npz``), a pickle of self-critical.pytorch (``.p``, ``.pkl``;
            taken to be tokenised as here), or human captions in any form that references may have, of
            which the training split counts where they carry splits.
        tokenizer: What makes words of the captions that are scored.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be used, or was counted over other words.
    """
    if path.suffix == ".npz":
        try:
            return DocumentFrequency.load(path, tokenizer=tokenizer.name, eos=None)
        except ValueError:
            return DocumentFrequency.load(path, tokenizer=tokenizer.name, eos=EOS)
    if path.suffix in (".p", ".pkl"):
        counted = DocumentFrequency.read_pickle(path, tokenizer=tokenizer.name, eos=None)
        return replace(counted, eos=EOS) if counted.lookup(EOS) else counted
    captions = read_references(path).of_training
    if not captions:
        raise ValueError(
            f"{path}: its training split has no captions. Name a file that has some there, or one without splits."
        )
    words = iter(tokenizer.tokenize_many(text for texts in captions.values() for text in texts))
    documents = {key: [next(words) for _ in texts] for key, texts in captions.items()}
    wordless = [key for key, texts in documents.items() if not any(texts)]
    if wordless:
        raise ValueError(f"{path}: {count_and_list(wordless)} without a word in any caption; leave them out.")
    return DocumentFrequency.from_references(documents.values(), tokenizer=tokenizer.name, eos=None)
