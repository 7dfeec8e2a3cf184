"""How well does a style judge know the styles? Its accuracy on people's captions that it has not learnt from.

    OMP_NUM_THREADS=1 python benchmarks/style_judges.py

Prints one JSON object. FlickrStyle (humorous or romantic) learns from the captions of Flickr8k's training photos and
is tested on those of its development photos. SentiCap (positive or negative) learns from its train and val sentences
and is tested on its test sentences. Personality-Captions has no training split here: a tenth of the images, chosen by
hash, is the test. ``baseline_accuracy`` is that of scikit-learn's hashed words and word pairs with logistic regression,
both with their default settings.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from metrics.style.judge import StyleClassifier
from metrics.tokenizers.ptb import TOKENIZER_NAME, tokenize_many
from utils.io import read_json

REPOSITORY = Path(__file__).resolve().parent.parent
CAPTIONS_TO_TIME = 120
Captions = Mapping[str, Sequence[str]]
"""By style."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = Path(os.environ.get("STYLECAP_SHARED", REPOSITORY.parent / "shared"))
    parser.add_argument(
        "--data", type=Path, default=shared / "data", help="folder of the corpora (default: %(default)s)"
    )
    data = parser.parse_args().data
    result: dict[str, Any] = {"tokenizer": TOKENIZER_NAME}
    for name, (train, test) in {"flickrstyle": read_flickrstyle(data), "senticap": read_senticap(data)}.items():
        result[name] = measure(train, test) | {"baseline_accuracy": baseline_accuracy(train, test)}
    # The baseline would need 2 GB for 215 styles.
    result["personality_captions"] = measure(*read_personality_captions(data))
    print(json.dumps(result))


def measure(train: Captions, test: Captions) -> dict[str, Any]:
    """Train a judge and ask it for the styles of the test captions."""
    start = time.process_time()
    judge = StyleClassifier.fit(train)
    seconds = time.process_time() - start
    captions, styles = flatten(test)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        judge.probabilities(captions[:CAPTIONS_TO_TIME])
        times.append(time.perf_counter() - start)
    return {
        "accuracy": share_equal(judge.predict(captions), styles),
        "chance": max(map(len, test.values())) / len(captions),
        "styles": len(judge.styles),
        "train_captions": sum(map(len, train.values())),
        "held_out_captions": len(captions),
        "train_cpu_seconds": round(seconds, 2),
        f"milliseconds_for_{CAPTIONS_TO_TIME}_captions": round(1000 * min(times), 2),
        "judge": judge.description,
    }


def baseline_accuracy(train: Captions, test: Captions) -> float:
    """Accuracy of a plain linear model."""
    from sklearn.feature_extraction.text import HashingVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(HashingVectorizer(ngram_range=(1, 2)), LogisticRegression())
    model.fit(*flatten(train))
    captions, styles = flatten(test)
    return share_equal(model.predict(captions), styles)


def share_equal(found: Iterable[str], styles: Sequence[str]) -> float:
    """Share of the styles that were found."""
    return sum(one == other for one, other in zip(found, styles, strict=True)) / len(styles)


def flatten(captions_by_style: Captions) -> tuple[list[str], list[str]]:
    """All captions, and the style of each."""
    pairs = [(caption, style) for style, captions in captions_by_style.items() for caption in captions]
    return [caption for caption, _ in pairs], [style for _, style in pairs]


def group(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Tokenised captions by style, from pairs of style and caption; those without a word are left out."""
    listed = list(pairs)
    grouped = defaultdict(list)
    for (style, _), caption in zip(listed, tokenize_many([caption for _, caption in listed]), strict=True):
        if caption:
            grouped[style].append(caption)
    return grouped


def read_flickrstyle(data: Path) -> tuple[Captions, Captions]:
    """Humorous and romantic captions of the training and the development photos."""
    rows = read_json(data / "flickrstyle" / "captions.json")
    train, dev = (
        group(
            (style, row[style]) for row in rows if row["flickr8k_split"] == split for style in ("humorous", "romantic")
        )
        for split in ("train", "dev")
    )
    return train, dev


def read_senticap(data: Path) -> tuple[Captions, Captions]:
    """Positive and negative sentences, for training and test."""
    images = read_json(data / "senticap" / "senticap.json")["images"]
    train, test = (
        group(
            ("positive" if sentence["sentiment"] else "negative", sentence["raw"])
            for image in images
            if image["split"] in splits
            for sentence in image["sentences"]
        )
        for splits in (("train", "val"), ("test",))
    )
    return train, test


def read_personality_captions(data: Path) -> tuple[Captions, Captions]:
    """Comments in 215 personalities, nine tenths of the images for training."""
    folder = data / "personality_captions"
    known = {name for names in read_json(folder / "personalities.json").values() for name in names}
    rows = [row for name in ("test", "valid") for row in read_json(folder / f"pcap_{name}_derived.json")]
    train, test = (
        group(
            (row["personality"], row["comment"])
            for row in rows
            if row["personality"] in known
            and row["comment"] != "[TIMEOUT]"
            and (zlib.crc32(row["image_hash"].encode()) % 10 == 0) == held_out
        )
        for held_out in (False, True)
    )
    return train, test


if __name__ == "__main__":
    main()
