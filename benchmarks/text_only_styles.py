r"""Does a style that was learnt from text alone, without a photo, come out in captions of photos?

    python benchmarks/text_only_styles.py corpus --out work_dir/senticap.jsonl
    python finetune.py --conf conf/flickrstyle_eyes_mlm.json --set masked_lm.corpus=work_dir/senticap.jsonl \
        --set work_dir=work_dir/flickrstyle_senticap
    python benchmarks/text_only_styles.py judge --model work_dir/flickrstyle_senticap/output

``corpus`` writes SentiCap's training sentences, as captions are learnt, with their sentiment as the style. For a
language model there are with ``--photos`` factual captions of FlickrStyle too, one of each photo: of the photos of
``conf/flickrstyle_eyes_mlm.json`` that are learnt from (train) or held out to choose on, or of the dev photos, with
SentiCap's test sentences.
``judge`` captions every fifth of FlickrStyle's dev photos, or with ``--held_out`` every tenth of those that are held
out to choose on, and prints one JSON object. By style: ``judged``, the share of captions that a judge of all five
styles, trained on people's, takes for that style; ``people``, the share of people's captions that it is right about;
``CIDEr`` to people's captions of the photos in the style, and ``CIDEr_factual`` to the five factual ones, which tells
whether a caption is about the photo still. With ``--lm`` captions are written together with a language model, once
for each pair of weights, also in the styles that it alone knows. ``neighbours`` prints the same of what looking up
gives: of people's training texts in the style the one that is most like the factual captions of the 90 training photos
nearest to a photo.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from metrics.coco import score_captions
from metrics.style.judge import StyleClassifier
from metrics.tokenizers.ptb import tokenize_many
from preprocessors.readers import hash_split
from preprocessors.text.captions import clean_caption
from utils.io import encode_json, read_json, write_bytes

if TYPE_CHECKING:
    pass

SHARED = Path(os.environ.get("STYLECAP_SHARED", Path(__file__).resolve().parent.parent.parent / "shared"))
CONF = Path(__file__).resolve().parent.parent / "conf/flickrstyle_eyes_mlm.json"
"""What the captioner is trained by."""
STRIDES = {"dev": 5, "held_out": 10}
"""Which of the photos are captioned: every fifth, every tenth."""
SENTIMENTS = ("positive", "negative")

Row = Mapping[str, Any]
"""A photo of FlickrStyle with its captions."""


def main() -> None:
    """One of the commands."""
    options = read_options()
    if options.command == "corpus":
        texts = [{"body": clean_caption(body), "meta": style} for style, body in texts_of(options.photos)]
        write_bytes(options.out, b"".join(encode_json(text) + b"\n" for text in texts))
        return
    part = "held_out" if options.held_out else "dev"
    rows = rows_of(part)[:: STRIDES[part]]
    scorer = Scorer(rows)
    if options.command == "neighbours":
        print(json.dumps(scorer.score(look_up(options.model, rows))))
    else:
        print(json.dumps([about | {"styles": scorer.score(found)} for about, found in write(options, rows)]))


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, dest="command")
    corpus = commands.add_parser("corpus")
    corpus.add_argument("--out", type=Path, required=True)
    corpus.add_argument("--photos", choices=("train", "held_out", "dev"), help="factual captions of these too")
    for name in ("judge", "neighbours"):
        command = commands.add_parser(name)
        command.add_argument("--model", required=True, help="folder of the captioner")
        command.add_argument("--held_out", action="store_true", help="photos to choose on")
        if name == "judge":
            command.add_argument("--lm", type=Path, help="folder of a language model that captions are written with")
            command.add_argument("--lm_weight", type=float, nargs="+", default=[0.0])
            command.add_argument("--lm_guidance", type=float, nargs="+", default=[0.0])
            command.add_argument("--styles", nargs="+", help="all that there are, if none is named")
            command.add_argument("--show", type=int, default=0, help="print captions of the first photos too")
    return parser.parse_args()


def texts_of(photos: str | None) -> Iterator[tuple[str, str]]:
    """Style and text: SentiCap's of the split that goes with some photos, and a plain caption of each of these."""
    yield from senticap({"held_out": (), "dev": ("test",)}.get(photos or "", ("train", "val")))
    for row in rows_of(photos) if photos else ():
        yield "factual", row["factual"][0]


def senticap(splits: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Sentiment and sentence."""
    for image in read_json(SHARED / "data/senticap/senticap.json")["images"]:
        if image["split"] in splits:
            for sentence in image["sentences"]:
                yield SENTIMENTS[not sentence["sentiment"]], sentence["raw"]


def rows_of(part: str) -> list[Row]:
    """The photos of FlickrStyle that are learnt from (train), chosen on (held_out) or reported (dev)."""
    rows: list[Row] = read_json(SHARED / "data/flickrstyle/captions.json")
    if part == "dev":
        return [row for row in rows if row["flickr8k_split"] == "dev"]
    wanted = {"train": False, "held_out": True}[part]
    return [row for row in rows if row["flickr8k_split"] == "train" and (hash_split(row["image"]) == "val") == wanted]


def flickrstyle(rows: Iterable[Row]) -> Iterator[tuple[str, str]]:
    """Style and caption; of the factual ones the first of each photo."""
    for row in rows:
        yield from (("humorous", row["humorous"]), ("romantic", row["romantic"]), ("factual", row["factual"][0]))


def photo(row: Row) -> Path:
    """Where a photo lies."""
    return SHARED / "data/flickrstyle/photos_160" / row["image"]


class Scorer:
    """What captions of some photos are worth."""

    def __init__(self, rows: Sequence[Row]) -> None:
        learnt = [*rows_of("train"), *rows_of("held_out")]
        self.judge = StyleClassifier.fit(grouped([*flickrstyle(learnt), *senticap(("train", "val"))]))
        people = grouped([*flickrstyle(rows_of("dev")), *senticap(("test",))])
        self.people = {style: self.share(style, texts) for style, texts in people.items()}
        self.references = {
            "humorous": references(row["humorous"] for row in rows),
            "romantic": references(row["romantic"] for row in rows),
            "factual": {str(number): tokenize_many(row["factual"]) for number, row in enumerate(rows)},
        }

    def share(self, style: str, captions: Sequence[str]) -> float:
        """Of tokenised captions that are taken for the style."""
        return round(sum(found == style for found in self.judge.predict(captions)) / len(captions), 4)

    def score(self, captions: Mapping[str, Sequence[str]]) -> dict[str, dict[str, float]]:
        """By style what its captions, one for each photo, are worth."""
        found: dict[str, dict[str, float]] = {}
        for style, texts in captions.items():
            tokenised = tokenize_many(texts)
            found[style] = {"judged": self.share(style, tokenised), "people": self.people[style]}
            if style in self.references:
                found[style]["CIDEr"] = self.cider(style, tokenised)
            found[style] |= {"CIDEr_factual": self.cider("factual", tokenised), "different": len({*tokenised})}
        return found

    def cider(self, style: str, captions: Sequence[str]) -> float:
        """To people's captions in a style."""
        hypotheses = {str(number): caption for number, caption in enumerate(captions)}
        return round(score_captions(self.references[style], hypotheses, metrics=["CIDEr"]).overall["CIDEr"] or 0.0, 4)


def references(captions: Iterable[str]) -> dict[str, list[str]]:
    """One for each photo, tokenised."""
    return {str(number): [text] for number, text in enumerate(tokenize_many([*captions]))}


def grouped(pairs: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    """Tokenised captions by style."""
    found: dict[str, list[str]] = {}
    for (style, _), text in zip(pairs, tokenize_many([text for _, text in pairs]), strict=True):
        found.setdefault(style, []).append(text)
    return found


def write(options: argparse.Namespace, rows: Sequence[Row]) -> Iterator[tuple[dict[str, Any], dict[str, list[str]]]]:
    """What is told of a way of writing, and the captions by style, for each pair of weights."""
    from captioning.model import CaptionModel

    model = CaptionModel.open(options.model)
    for weight, guidance in itertools.product(options.lm_weight, options.lm_guidance):
        if options.lm is not None:
            model.fuse(options.lm, weight=weight, guidance=guidance)
        only_text = SENTIMENTS if options.lm is not None else ()
        styles = options.styles or list(dict.fromkeys([*model.styles, *only_text]))
        captions = model.caption([photo(row) for row in rows], styles)
        found = {style: [each[style][0].text for each in captions] for style in styles}
        about: dict[str, Any] = {"lm_weight": weight, "lm_guidance": guidance}
        if options.show:
            about["captions"] = {style: texts[: options.show] for style, texts in found.items()}
        yield about, found


def look_up(model: str, rows: Sequence[Row]) -> dict[str, list[str]]:
    """By style the text of people for each photo that is most like what is said of the photos nearest to it."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    from captioning.features import pooled_features
    from captioning.styled import open_styled
    from configuration.loading import load_config
    from metrics.neighbours import nearest_rows
    from pipeline.captioner import make_writer
    from pipeline.features import feature_source

    config, learnt = load_config(CONF), rows_of("train")
    source = feature_source(config, make_writer(config, open_styled(model)))
    near = nearest_rows(*(pooled_features(source, [photo(row) for row in part]) for part in (rows, learnt)))
    texts = grouped([*flickrstyle(learnt), *senticap(("train", "val"))])
    factual = [tokenize_many(row["factual"]) for row in learnt]
    words = TfidfVectorizer(token_pattern=r"\S+", ngram_range=(1, 4)).fit(itertools.chain(*factual, *texts.values()))
    known = {style: words.transform(own) for style, own in texts.items()}
    found: dict[str, list[str]] = {style: [] for style in texts}
    for numbers in near:
        said = words.transform(itertools.chain(*(factual[number] for number in numbers))).sum(0)
        for style, own in texts.items():
            found[style].append(own[int((known[style] @ said.T).argmax())])
    return found


if __name__ == "__main__":
    main()
