r"""Does a style that was learnt from text alone, without a photo, come out in captions of photos?

    python benchmarks/text_only_styles.py corpus --out work_dir/senticap.jsonl
    python finetune.py --conf conf/flickrstyle_eyes_mlm.json --set masked_lm.corpus=work_dir/senticap.jsonl \
        --set work_dir=work_dir/flickrstyle_senticap
    python benchmarks/text_only_styles.py judge --model work_dir/flickrstyle_senticap/output

``corpus`` writes SentiCap's training sentences with their sentiment as the style. ``judge`` captions every fifth of
FlickrStyle's dev photos in all styles and prints one JSON object: by style the share of captions that a judge of all
five styles, trained on people's, takes for that style, beside the share of people's captions that it is right about.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from captioning.model import CaptionModel
from metrics.style.judge import StyleClassifier
from metrics.tokenizers.ptb import tokenize_many
from utils.io import append_jsonl, read_json

SHARED = Path(os.environ.get("STYLECAP_SHARED", Path(__file__).resolve().parent.parent.parent / "shared"))
STRIDE = 5
"""Every fifth photo is captioned."""


def main() -> None:
    """One of the two commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, dest="command")
    commands.add_parser("corpus").add_argument("--out", type=Path, required=True)
    commands.add_parser("judge").add_argument("--model", required=True)
    arguments = parser.parse_args()
    if arguments.command == "corpus":
        for style, sentence in senticap(("train", "val")):
            append_jsonl(arguments.out, {"body": sentence, "meta": style})
    else:
        print(json.dumps(judge_styles(arguments.model)))


def senticap(splits: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Sentiment and sentence."""
    for image in read_json(SHARED / "data/senticap/senticap.json")["images"]:
        if image["split"] in splits:
            for sentence in image["sentences"]:
                yield "positive" if sentence["sentiment"] else "negative", sentence["raw"]


def flickrstyle(split: str) -> Iterator[tuple[str, str]]:
    """Style and caption; of the factual ones the first of each photo."""
    for row in read_json(SHARED / "data/flickrstyle/captions.json"):
        if row["flickr8k_split"] == split:
            yield from (("humorous", row["humorous"]), ("romantic", row["romantic"]), ("factual", row["factual"][0]))


def judge_styles(model: str) -> dict[str, dict[str, float]]:
    """Accuracy on captions of the model and of people, by style."""
    judge = StyleClassifier.fit(grouped([*flickrstyle("train"), *senticap(("train", "val"))]))
    people = grouped([*flickrstyle("dev"), *senticap(("test",))])
    rows = [row for row in read_json(SHARED / "data/flickrstyle/captions.json") if row["flickr8k_split"] == "dev"]
    images = [SHARED / "data/flickrstyle/photos_160" / row["image"] for row in rows[::STRIDE]]
    found = CaptionModel.open(model).caption(images, "all")
    written = grouped([(style, caption.text) for row in found for style, (caption,) in row.items()])
    return {style: {"model": share(judge, style, written[style]), "people": share(judge, style, people[style])}
            for style in written if style in people}  # fmt: skip


def grouped(pairs: list[tuple[str, str]]) -> dict[str, list[str]]:
    """Tokenised captions by style."""
    found: dict[str, list[str]] = {}
    for (style, _), text in zip(pairs, tokenize_many([text for _, text in pairs]), strict=True):
        found.setdefault(style, []).append(text)
    return found


def share(judge: StyleClassifier, style: str, captions: list[str]) -> float:
    """Of the captions that are taken for the style."""
    return sum(found == style for found in judge.predict(captions)) / len(captions)


if __name__ == "__main__":
    main()
