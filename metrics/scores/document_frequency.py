"""In how many images' captions each n-gram occurs, which is what CIDEr weighs n-grams with."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray

from metrics.scores.ngrams import MAX_NGRAM, CaptionNgrams, DocumentNgrams, FloatArray, IntArray, NgramTree
from metrics.scores.pickled_counts import read_counts
from utils.io import encode_json, write_bytes

FORMAT = "StyleCap document frequency 1"
"""Names the layout of a saved file; another layout gets another number."""

EOS = "<eos>"
"""The end of a caption as a word, in rewards and in their document frequencies, as in self-critical.pytorch's files."""


@dataclass(frozen=True, eq=False)
class DocumentFrequency:
    """The n-grams of a corpus with the number of documents that have them; an image with its captions is a document.

    Made by ``from_references``, ``load`` or ``read_pickle``.
    """

    tree: NgramTree
    documents: FloatArray
    """In how many documents each n-gram of ``tree`` is. Shape (tree.size,)."""
    num_documents: int
    tokenizer: str
    """Name of what made words of the captions, such as ``metrics.tokenizers.ptb.TOKENIZER_NAME``."""
    eos: str | None
    """The word that ends every caption, as rewards for captioners need it; None where captions end without one. With
    it an empty caption has one word, but still scores 0, since a word of all documents weighs nothing."""

    @classmethod
    def from_references(
        cls, references: Iterable[Sequence[str]], *, tokenizer: str, eos: str | None
    ) -> DocumentFrequency:
        """Count over the captions of a corpus.

        Args:
            references: The captions of each image, tokenised, without ``eos``; at least one each.
            tokenizer: Name of what tokenised them.
            eos: A word to append to every caption; None for none.

        Raises:
            ValueError: If there are no images, an image has no captions, or ``eos`` is not a single word.
        """
        if eos is not None and eos.split() != [eos]:
            raise ValueError(f"eos={eos!r} must be a single word such as '<eos>', or None.")
        captions, sizes = flatten_references(list(references))
        ngrams = CaptionNgrams(captions, eos)
        groups = DocumentNgrams(ngrams.entries, np.repeat(np.arange(len(sizes)), sizes), ngrams.tree.size)
        return cls(ngrams.tree, groups.document_counts.astype(np.float64), len(sizes), tokenizer, eos)

    @cached_property
    def idf(self) -> FloatArray:
        """What ``inverse_document_frequency`` gives."""
        return inverse_document_frequency(self.documents, self.num_documents)

    def lookup(self, ngram: str) -> float:
        """In how many documents an n-gram is, given as 1 to 4 words with spaces between; 0 if in none.

        Raises:
            ValueError: If it has another number of words.
        """
        asked = CaptionNgrams([ngram])
        if not 1 <= asked.lengths[0] <= MAX_NGRAM:
            raise ValueError(f"{ngram!r} has {asked.lengths[0]} words; n-grams of 1 to {MAX_NGRAM} are counted.")
        rank = self.tree.find(asked.tree)[-1]  # The n-gram itself comes after its parts.
        return float(self.documents[rank]) if rank >= 0 else 0.0

    def save(self, path: Path) -> None:
        """Write compressed arrays (``.npz``), at once: readers see the old file or the new one, never a part."""
        header = {
            "format": FORMAT,
            "tokenizer": self.tokenizer,
            "eos": self.eos,
            "num_documents": self.num_documents,
            "bounds": self.tree.bounds,
        }
        # Words may be no valid Unicode, such as half of a surrogate pair.
        words = " ".join(self.tree.words).encode(errors="surrogatepass")
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            header=np.frombuffer(encode_json(header), np.uint8),
            words=np.frombuffer(words, np.uint8),
            edges=self.tree.edges,
            documents=self.documents,
        )
        write_bytes(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path, *, tokenizer: str, eos: str | None) -> DocumentFrequency:
        """Read what ``save`` wrote.

        Args:
            path: The file.
            tokenizer: Name of the tokenizer that is in use.
            eos: The word that is put at the end of every caption, or None.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file is something else or damaged, or was counted under another tokenizer or EOS rule.
        """
        _check_file(path)
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                header = orjson.loads(arrays["header"].tobytes())
                words = arrays["words"].tobytes().decode(errors="surrogatepass").split()
                edges, documents = arrays["edges"], arrays["documents"]
            if header["format"] != FORMAT:
                raise ValueError(f"its format is {header['format']!r}, not {FORMAT!r}")
            counted_with = header["tokenizer"], header["eos"]
            bounds, num_documents = header["bounds"], header["num_documents"]
            if (len(documents), len(edges) - 1, len(words)) != (bounds[-1], bounds[-1] - bounds[1], bounds[1]):
                raise ValueError("its arrays do not belong together")
            if not 1 <= documents.min(initial=1) <= documents.max(initial=1) <= num_documents:
                raise ValueError("its counts are no numbers of documents")
        except Exception as error:  # Foreign and damaged files raise anything, from BadZipFile to TypeError.
            raise ValueError(f"{path}: not a document frequency of StyleCap, or damaged ({error}).") from error
        if counted_with != (tokenizer, eos):
            raise ValueError(
                f"{path}: counted with tokenizer {counted_with[0]!r} and end of caption {counted_with[1]!r}; in use "
                f"are {tokenizer!r} and {eos!r}. Count it again over the captions, or use what it was counted with."
            )
        tree = NgramTree({word: rank for rank, word in enumerate(words)}, edges, tuple(bounds))
        return cls(tree, documents, num_documents, tokenizer, eos)

    @classmethod
    def read_pickle(cls, path: Path, *, tokenizer: str, eos: str | None) -> DocumentFrequency:
        """Read self-critical.pytorch's ``{"document_frequency": {words: count}, "ref_len": n}`` without executing it.

        N-grams with white space inside a word are left out, as no caption has them.

        Args:
            path: A ``.p`` file, of any pickle protocol.
            tokenizer: Name of the tokenizer that made the file's words; the file does not tell.
            eos: The word that ends every caption in the file ("<eos>" in those of self-critical.pytorch), or None.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file is something else, asks for anything to be run, or does not know ``eos``.
        """
        _check_file(path)
        counts, num_documents = read_counts(path)
        texts = [" ".join(ngram) if all(word.split() == [word] for word in ngram) else "" for ngram in counts]
        ngrams = CaptionNgrams(texts)
        numbers, documents = np.array(list(counts.values()), np.float64), np.zeros(ngrams.tree.size)
        for n, (ranks, rows, _) in enumerate(ngrams.by_order, start=1):
            whole = ngrams.lengths[rows] == n
            documents[ranks[whole]] = numbers[rows[whole]]
        found = cls(ngrams.tree, documents, num_documents, tokenizer, eos)
        if eos is not None and not found.lookup(eos):
            raise ValueError(f"{path}: none of its captions has the word {eos!r}; name the file's own end of caption.")
        return found


def flatten_references(references: Sequence[Sequence[str]]) -> tuple[list[str], IntArray]:
    """The captions of all images in one list, and how many each image has.

    Raises:
        ValueError: If there are no images, or an image has no captions or a string in place of a list.
    """
    if not references:
        raise ValueError("no references; at least one image with one caption is needed.")
    faulty = [row for row, texts in enumerate(references) if isinstance(texts, str) or not texts]
    if faulty:
        rows = ", ".join(map(str, faulty[:5])) + (", ..." if len(faulty) > 5 else "")
        raise ValueError(f"{len(faulty)} of {len(references)} images have no list of captions (rows {rows}).")
    return [text for texts in references for text in texts], np.array([len(texts) for texts in references])


def inverse_document_frequency(documents: NDArray[np.integer | np.floating], num_documents: int) -> FloatArray:
    """Logarithm of the number of all documents over those with an n-gram: what CIDEr weighs the n-gram with.

    Args:
        documents: How many documents have each n-gram. Shape (N,).
        num_documents: How many there are; no n-gram is in more of them.

    Returns:
        The weights, not negative, and a last one for n-grams that no document has. Shape (N + 1,).
    """
    # One function takes both logarithms, as an n-gram of all documents has to weigh exactly nothing.
    idf: FloatArray = np.log(float(num_documents)) - np.log(np.maximum(1.0, np.append(documents, 0)))
    return idf


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; check the path (it is relative to {Path.cwd()})")
