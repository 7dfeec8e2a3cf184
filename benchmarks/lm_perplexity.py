r"""Does a language model of styles foretell people's captions better than n-grams do, word for word?

    python finetune.py --conf conf/lm.json
    python benchmarks/lm_perplexity.py --conf conf/lm.json --model work_dir/lm/output

Held-out documents of each style are read by the language model, by the Kneser-Ney trigram of the style's training
documents, and by that of all training documents together, all of the same words. Prints one JSON object, by style:
perplexity per word (the end of a caption is one) in three ways.

``known``: of the words, and ends, that the style's training documents have, each given whatever stands before it; this
is what decides whether ``lm_perplexity`` stands in results. ``spelt``: of all words. The language model spells every
word; the trigram says that an unknown one comes, and a 6-gram of the letters of training words that occur once then
spells it. ``unspelt``: the trigram alone, for which all unknown words are one.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from metrics.style.language_model import FloatArray, NgramLanguageModel
from metrics.tokenizers.ptb import tokenize_many

if TYPE_CHECKING:
    from models.style_lm import StyleLM
    from preprocessors.readers import SplitName

LETTERS = 6
"""Characters of the longest n-gram of spellings."""


def main() -> None:
    """Read the documents and print what each model says of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--conf", required=True, type=Path, help="of the language model's run: its documents")
    parser.add_argument("--model", required=True, type=Path, help="folder of the language model")
    parser.add_argument("--split", choices=("val", "test"), default="val", help="what is read (%(default)s)")
    options = parser.parse_args()
    from models.style_lm import StyleLM

    lm = StyleLM.load_from_dir(options.model)
    print(json.dumps(compare(lm, texts_of(options.conf, "train"), texts_of(options.conf, options.split))))


def texts_of(conf: Path, split: SplitName) -> dict[str, list[str]]:
    """Tokenised documents of a split of a configuration by style."""
    from configuration.loading import load_config
    from pipeline.documents import open_source
    from preprocessors.documents.reading import BadDocument

    source = open_source(load_config(conf), split)
    assert source is not None
    documents = [read.document for read in source.read() if not isinstance(read.document, BadDocument)]
    found: dict[str, list[str]] = {}
    for document, text in zip(documents, tokenize_many([document.body for document in documents]), strict=True):
        found.setdefault(document.meta[0], []).append(text)
    return found


def compare(
    lm: StyleLM, train: Mapping[str, Sequence[str]], held_out: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, Any]]:
    """Perplexities of held-out texts by style."""
    from pipeline.lm_perplexity import word_nats

    together = NgramLanguageModel.fit([*chain(*train.values())])
    letters = spelling_model([*chain(*train.values())])
    found: dict[str, dict[str, Any]] = {}
    for style, every in held_out.items():
        texts = readable(lm, every, style)
        own = NgramLanguageModel.fit(train[style])
        words = [word for text in texts for word in (*text.split(), None)]
        known = np.array([word is None or own.knows(word) for word in words])
        nats = word_nats(lm, texts, style)
        found[style] = {"captions": len(texts), "too_long": len(every) - len(texts), "words": len(words)}
        found[style]["unknown"] = round(1 - float(known.mean()), 4)
        found[style]["lm"] = {"known": perplexity(nats[known]), "spelt": perplexity(nats)}
        for name, ngrams in (("trigram", own), ("trigram_of_all_styles", together)):
            unspelt = -ngrams.word_log_probabilities(texts)
            spelt = unspelt + np.array([spelling_nats(letters, ngrams, word) for word in words])
            found[style][name] = {
                "known": perplexity(unspelt[known]),
                "spelt": perplexity(spelt),
                "unspelt": perplexity(unspelt),
            }
    return found


def readable(lm: StyleLM, texts: Sequence[str], style: str) -> list[str]:
    """Those that the language model has positions for; no model reads the others."""
    most = math.inf if lm.positions is None else lm.positions - len(lm.prompt(style))
    return [text for text, ids in zip(texts, lm.tokenizer.encode_batch(texts), strict=True) if len(ids) <= most]


def spelling_model(texts: Sequence[str]) -> NgramLanguageModel:
    """Of the words that occur once: the nearest thing to unknown words that training texts hold."""
    counts = Counter(chain.from_iterable(text.split() for text in texts))
    return NgramLanguageModel.fit([" ".join(word) for word, count in counts.items() if count == 1], LETTERS)


def spelling_nats(letters: NgramLanguageModel, words: NgramLanguageModel, word: str | None) -> float:
    """What the letters of a word cost that a word model does not know; 0 of others and of an end."""
    if word is None or words.knows(word):
        return 0.0
    return -float(letters.log_probabilities([" ".join(word)])[0])


def perplexity(nats: FloatArray) -> float:
    """Exponential of the mean."""
    return round(math.exp(float(nats.mean())), 1)


if __name__ == "__main__":
    main()
