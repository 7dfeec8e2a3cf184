"""Compare our METEOR with the Java program, segment by segment and as a corpus, and count the differences.

    python benchmarks/meteor_parity.py --data ../shared/data
    python benchmarks/meteor_parity.py --corpora senticap mixtures --kept /tmp/answers

Prints one JSON object: by corpus how many segments there are, in how many the score differs by more than 1e-9, in how
many one of the 23 counts behind it does, and the difference of the corpus's score. Captions go in as they are written.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from metrics.scores.java_metrics import running_meteor as running_java  # noqa: E402
from metrics.scores.meteor import meteor_from_statistics, meteor_statistics  # noqa: E402
from utils.io import read_json  # noqa: E402

TOLERANCE = 1e-9
MIXTURES = 50_000
AWKWARD = (
    *(
        " . ",
        ", ",
        "'",
        "''",
        "``",
        '"',
        "-",
        "--",
        " - ",
        "...",
        "?",
        "!",
        "(",
        "|||",
        "|",
        "\t",
        "\n",
        "\r\n",
        "\x00",
    ),
    *(" a", " the", " the", " of", "'s", "n't", " e.g.", " U.S.", " Mr.", " No. 5", " 1,000", " 3.5", "$", "%", "_"),
    *("é", "ß", "İ", "Σ", "ς", "Ж", "你好", "😀", "𝐀", "\u200b", "\u0301", "\xa0", "\u2028", "–", "—", "‘", "’", "“"),
)


class Segment(NamedTuple):
    """One line to score."""

    references: list[str]
    hypothesis: str


def main() -> None:
    """Compare all corpora, or those that are named."""
    shared = Path(os.environ.get("STYLECAP_SHARED", REPOSITORY.parent / "shared"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=shared / "data", help="folder with flickrstyle/ and the others")
    parser.add_argument("--corpora", nargs="+", choices=CORPORA, default=list(CORPORA))
    parser.add_argument("--kept", type=Path, help="folder for the Java program's answers, to be taken from there again")
    parser.add_argument("--limit", type=int, help="segments of each corpus, drawn at random; default: all")
    options = parser.parse_args()
    found = {}
    for name in options.corpora:
        segments = list(CORPORA[name](options.data))
        if options.limit is not None and options.limit < len(segments):
            segments = random.Random(0).sample(segments, options.limit)
        found[name] = compare(segments, options.kept and options.kept / f"{name}_{len(segments)}.npy")
        print(f"{name}: {found[name]}", file=sys.stderr)
    print(json.dumps(found))


def compare(segments: list[Segment], kept: Path | None) -> dict[str, Any]:
    """Where ours and the Java program's differ."""
    references, hypotheses = [each.references for each in segments], [each.hypothesis for each in segments]
    if kept is not None and kept.is_file():
        expected = np.load(kept, allow_pickle=False)
    else:
        with running_java(references, hypotheses) as wait:
            expected = wait()
        if kept is not None:
            np.save(kept, expected)
    ours = meteor_statistics(references, hypotheses)
    scores, java_scores = meteor_from_statistics(ours), meteor_from_statistics(expected)
    differs = np.abs(scores - java_scores) > TOLERANCE
    totals = [float(meteor_from_statistics(each.sum(axis=0))) for each in (ours, expected)]
    examples = [[*segments[row], ours[row].tolist(), expected[row].tolist()] for row in np.flatnonzero(differs)[:3]]
    return {
        "segments": len(segments),
        "scores_differ": int(differs.sum()),
        "counts_differ": int((ours != expected).any(axis=1).sum()),
        "corpus": totals[0],
        "corpus_difference": abs(totals[0] - totals[1]),
        **({"examples": examples} if examples else {}),
    }


def flickr8k(data: Path) -> Iterator[Segment]:
    """Each caption of an image against the other four."""
    own = list(flickr8k_captions(data).values())
    for captions in own:
        for place, caption in enumerate(captions):
            if len(captions) > 1:  # one name in the file has a single caption
                yield Segment(captions[:place] + captions[place + 1 :], caption)


def flickr8k_captions(data: Path) -> dict[str, list[str]]:
    """Captions by image."""
    captions: dict[str, list[str]] = {}
    for line in (data / "flickrstyle" / "Flickr8k.token.txt").read_text(encoding="utf-8").splitlines():
        key, caption = line.split("\t", 1)
        captions.setdefault(key.rpartition("#")[0], []).append(caption)
    return captions


def flickrstyle(data: Path) -> Iterator[Segment]:
    """Each styled caption against all other captions of its image."""
    for row in read_json(data / "flickrstyle" / "captions.json"):
        yield Segment([row["romantic"], *row["factual"]], row["humorous"])
        yield Segment([row["humorous"], *row["factual"]], row["romantic"])


def personality_captions(data: Path) -> Iterator[Segment]:
    """Each comment against the others on its image, or against its neighbours' where there are none."""
    for name in ("test", "valid"):
        rows = read_json(data / "personality_captions" / f"pcap_{name}_derived.json")
        comments = [row["comment"] for row in rows]
        for place, row in enumerate(rows):
            others = row.get("additional_comments_tok16") or [comments[place - 1], comments[place - 2]]
            yield Segment(others, row["comment"])


def senticap(data: Path) -> Iterator[Segment]:
    """Each sentence against the others of its image."""
    for image in read_json(data / "senticap" / "senticap.json")["images"]:
        texts = [sentence["raw"] for sentence in image["sentences"]]
        for place, text in enumerate(texts):
            yield Segment(texts[:place] + texts[place + 1 :] or [text], text)


def coco(data: Path) -> Iterator[Segment]:
    """The example results of COCO's evaluation against their references."""
    references: dict[int, list[str]] = {}
    for row in read_json(data / "coco_fakecap" / "captions_val2014_fakecap1000.json")["annotations"]:
        references.setdefault(row["image_id"], []).append(row["caption"])
    for row in read_json(data / "coco_fakecap" / "captions_val2014_fakecap_results.json"):
        yield Segment(references[row["image_id"]], row["caption"])


def mixtures(data: Path) -> Iterator[Segment]:
    """Random captions: of pieces of others, shuffled, doubled, with odd characters, empty, very long."""
    pool = [caption for captions in flickr8k_captions(data).values() for caption in captions]
    pool += [segment.hypothesis for segment in (*personality_captions(data), *senticap(data))]
    draw = random.Random(16)
    for _ in range(MIXTURES):
        base = draw.sample(pool, 3)
        texts = [mixture(base, pool, draw) for _ in range(draw.randint(2, 4))]
        yield Segment(texts[1:], texts[0])


def mixture(base: list[str], pool: list[str], draw: random.Random) -> str:
    """A caption made of others."""
    kind = draw.random()
    if kind < 0.01:
        return draw.choice(["", " ", ".", "a"])
    words = " ".join(draw.choices(base, k=draw.choice([1, 1, 2]))).split()
    if kind < 0.012:
        words = " ".join(draw.choices(pool, k=draw.randint(5, 15))).split()
    elif kind < 0.3:
        draw.shuffle(words)
    elif kind < 0.5:
        words = draw.choices(words or ["a"], k=len(words) + 3)
    elif kind < 0.7:
        start = draw.randrange(len(words) + 1)
        words = words[start:] + draw.choice(pool).split() + words[:start]
    for _ in range(draw.choice([0, 0, 0, 1, 3])):
        place = draw.randrange(len(words) + 1)
        words.insert(place, draw.choice(AWKWARD) + draw.choice(["", draw.choice(AWKWARD)]))
    return draw.choice([" ", " ", "  "]).join(words)


CORPORA: Mapping[str, Callable[[Path], Iterator[Segment]]] = {
    "coco": coco,
    "senticap": senticap,
    "personality_captions": personality_captions,
    "flickrstyle": flickrstyle,
    "flickr8k": flickr8k,
    "mixtures": mixtures,
}


if __name__ == "__main__":
    main()
