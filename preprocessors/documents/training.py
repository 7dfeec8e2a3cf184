"""Trains a byte-level BPE on a sample of documents, in the memory of the sample."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from tokenizers.decoders import ByteLevel

from preprocessors.documents.byte_pairs import BYTES, BytePairTokenizer
from preprocessors.text.bpe_files import SPECIAL

SMALLEST_SIZE = len(SPECIAL) + len(BYTES)
SAMPLE_BYTES = 16_000_000
"""Most of the texts that a BPE is learnt from: words that are worth an entry stand many times in much less."""


class TextSample:
    """An even sample of texts that come one by one, whatever their number; which ones depends on their order alone.

    Args:
        most_bytes: That the sample may hold, in UTF-8.
    """

    def __init__(self, most_bytes: int = SAMPLE_BYTES) -> None:
        self.most_bytes = most_bytes
        self._kept: list[tuple[int, str, int]] = []
        self._bytes, self._below, self._seen = 0, 1 << 64, 0

    def add(self, text: str) -> None:
        """Look at the next text. Once the sample is full, half of it goes, and half as many are kept from then on."""
        rank = int.from_bytes(hashlib.sha256(str(self._seen).encode()).digest()[:8], "big")
        self._seen += 1
        if rank >= self._below:
            return
        size = len(text.encode("utf-8", "surrogatepass"))
        self._kept.append((rank, text, size))
        self._bytes += size
        while self._bytes > self.most_bytes and len(self._kept) > 1:
            self._below //= 2
            self._kept = [entry for entry in self._kept if entry[0] < self._below] or self._kept[:1]
            self._bytes = sum(entry[2] for entry in self._kept)

    def texts(self) -> list[str]:
        """The sample, in the order of the texts."""
        return [text for _, text, _ in self._kept]


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> BytePairTokenizer:
    """Learn a BPE in the way of GPT-2, with BOS and EOS of its own.

    Args:
        texts: To learn from, such as :meth:`TextSample.texts`.
        vocab_size: Most entries, at least 260: four special tokens, the 256 bytes, then what is merged. There are fewer
            where the texts have no more to merge.

    Raises:
        ValueError: If ``vocab_size`` is too small.
    """
    if vocab_size < SMALLEST_SIZE:
        raise ValueError(f"model.bpe_size={vocab_size}: must be at least {SMALLEST_SIZE} (special ones, bytes)")
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=[*SPECIAL], initial_alphabet=sorted(BYTES), show_progress=False
    )
    backend.train_from_iterator(texts, trainer)
    return BytePairTokenizer(json.loads(backend.to_str()), bos=SPECIAL[0], eos=SPECIAL[2])
