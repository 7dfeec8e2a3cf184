"""Time our caption metrics against pycocoevalcap's in alternating pairs, and compare what they give.

    python benchmarks/metrics_speed.py --data ../shared/data --pairs 3

Prints one JSON object. A ratio is pycocoevalcap's time over ours in the same pair, the median of all pairs:
`cider_ratio` CIDEr of tokenised captions; `reward_ratio` the CIDEr reward of a training step, 5 samples of 24 images;
`coco_ratio` BLEU, ROUGE-L and CIDEr with tokenizing; `ptb_ratio` tokenizing with the start of Java or Python;
`meteor_ratio` METEOR of each image's first caption against the other four, tokenised, start of Java or Python included.
`meteor_reward_ms` is a call of the reward `meteor` for 5 samples of 24 images. Needs Java, which pycocoevalcap's
tokenizer and METEOR are written in. Run it once before: METEOR's paraphrases are compiled at the first use.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer as JavaTokenizer

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from metrics.coco import score_captions  # noqa: E402
from metrics.scores.cider import PreparedReferences, cider  # noqa: E402
from metrics.scores.document_frequency import DocumentFrequency  # noqa: E402
from metrics.tokenizers.ptb import TOKENIZER_NAME, tokenize_many  # noqa: E402
from trainers.rewards.terms import RewardData  # noqa: E402
from trainers.rewards.terms import meteor as meteor_term  # noqa: E402
from utils.io import read_json  # noqa: E402

METRICS = ("Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4", "ROUGE_L", "CIDEr")
REWARD_IMAGES, REWARD_SAMPLES, REWARD_CALLS = 24, 5, 50
LINE_ENDS = re.compile("[\n\r\v\f\u2028\u2029]")
"""Where the Java tokenizer begins a new line. Within a caption it would shift all that follow; ours sees a space."""
TOKENIZE_FILE = """
import json, sys
from metrics.tokenizers.ptb import tokenize_many
tokenize_many(json.load(open(sys.argv[1], encoding="utf-8")))
"""

METEOR_FILE = """
import json, sys
from metrics.coco import score_captions
references, hypotheses = json.load(open(sys.argv[1], encoding="utf-8"))
found = score_captions(references, {key: texts[0] for key, texts in hypotheses.items()}, metrics=["METEOR"])
print(json.dumps([found.overall["METEOR"], found.per_example["METEOR"].tolist()]))
"""
JAVA_METEOR_FILE = """
import json, sys
from pycocoevalcap.meteor.meteor import Meteor
print(json.dumps(Meteor().compute_score(*json.load(open(sys.argv[1], encoding="utf-8")))))
"""

Captions = dict[str, list[str]]
Pair = tuple[float, float]
"""Seconds of ours and of theirs."""


def main() -> None:
    """Run all comparisons."""
    shared = Path(os.environ.get("STYLECAP_SHARED", REPOSITORY.parent / "shared"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=shared / "data", help="folder with flickrstyle/ and the others")
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()
    # Some of pycocoevalcap's classes print.
    with contextlib.redirect_stdout(sys.stderr):
        results = measure(options.data, options.pairs)
    print(json.dumps(results))


def measure(data: Path, pairs: int) -> dict[str, Any]:
    """Everything that is printed."""
    captions, texts = read_flickr8k(data)
    references = {image: own[1:] for image, own in captions.items()}
    hypotheses = {image: own[:1] for image, own in captions.items()}
    everything = [LINE_ENDS.sub(" ", text) for text in [*texts, *read_others(data)]]
    cider_pairs, cider_difference = compare_cider(tokenized(references), tokenized(hypotheses), pairs)
    coco_pairs, coco_difference = compare_coco(references, hypotheses, pairs)
    meteor_pairs, meteor_difference = compare_meteor(tokenized(references), tokenized(hypotheses), pairs)
    seconds = {
        "cider_ratio": cider_pairs,
        "meteor_ratio": meteor_pairs,
        "reward_ratio": compare_reward(references, hypotheses, pairs),
        "coco_ratio": coco_pairs,
        "ptb_ratio": compare_tokenizers(texts, pairs),
    }
    ratios = {name: [theirs / ours for ours, theirs in both] for name, both in seconds.items()}
    return {
        **{name: round(statistics.median(found), 2) for name, found in ratios.items()},
        "cider_max_abs_diff": cider_difference,
        "coco_max_abs_diff": coco_difference,
        "meteor_max_abs_diff": meteor_difference,
        "meteor_reward_ms": time_meteor_reward(tokenized(references), tokenized(hypotheses)),
        "ptb_differences": count_differences(everything),
        "counts": {"images": len(captions), "ptb_ratio": len(texts), "ptb_differences": len(everything)},
        "pairs": pairs,
        "ranges": {name: [round(min(found), 2), round(max(found), 2)] for name, found in ratios.items()},
        "seconds": {
            name: dict(zip(("ours", "theirs"), map(statistics.median, zip(*both, strict=True)), strict=True))
            for name, both in seconds.items()
        },
    }


def compare_cider(references: Captions, hypotheses: Captions, pairs: int) -> tuple[list[Pair], float]:
    """CIDEr of all images, captions tokenised; and the largest difference of a caption's score."""
    reference_lists, first = list(references.values()), [texts[0] for texts in hypotheses.values()]
    times = []
    for _ in range(pairs):
        ours, scores = timed(lambda: cider(reference_lists, first))
        theirs, (_, expected) = timed(lambda: Cider().compute_score(references, hypotheses))
        times.append((ours, theirs))
    return times, float(np.abs(scores - expected).max())


def compare_meteor(references: Captions, hypotheses: Captions, pairs: int) -> tuple[list[Pair], float]:
    """METEOR of all images in a process of its own; and the largest difference of a score, the corpus's included."""
    # pycocoevalcap's class cannot score an image without references; one name in the file has a single caption.
    keys = [key for key, texts in references.items() if texts]
    given = [{key: texts[key] for key in keys} for texts in (references, hypotheses)]
    times = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "captions.json"
        path.write_text(json.dumps(given), encoding="utf-8")
        for _ in range(pairs):
            (ours, found), (theirs, expected) = (
                timed(lambda program=program: run_program(program, path)) for program in (METEOR_FILE, JAVA_METEOR_FILE)
            )
            times.append((ours, theirs))
    return times, float(np.abs(np.subtract([found[0], *found[1]], [expected[0], *expected[1]])).max())


def run_program(program: str, path: Path) -> Any:
    """What a Python program prints as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], cwd=REPOSITORY, check=True, stdout=subprocess.PIPE
    )
    return json.loads(done.stdout)


def time_meteor_reward(references: Captions, hypotheses: Captions) -> float:
    """Milliseconds of a call, the median of many."""
    known, pool = list(references.values()), [texts[0] for texts in hypotheses.values()]
    term = meteor_term(RewardData(known))
    draw = random.Random(0)
    calls = []
    for _ in range(REWARD_CALLS):
        rows, samples = draw_samples(pool, draw)
        samples = tokenize_many(samples)
        calls.append(timed(lambda rows=rows, samples=samples: term(samples, rows, [True] * len(rows)))[0])
    return round(1000 * statistics.median(calls), 1)


def compare_reward(references: Captions, hypotheses: Captions, pairs: int) -> list[Pair]:
    """CIDEr of the samples of one training step; ours knows the references of all images before."""
    known = list(tokenized(references).values())
    document_frequency = DocumentFrequency.from_references(known, tokenizer=TOKENIZER_NAME, eos="<eos>")
    prepared = PreparedReferences(known, document_frequency)
    images, pool = list(references), [texts[0] for texts in hypotheses.values()]
    draw = random.Random(0)
    times = []
    for _ in range(pairs):
        calls = []
        for _ in range(REWARD_CALLS):
            rows, samples = draw_samples(pool, draw)
            calls.append(timed(lambda rows=rows, samples=samples: prepared.score(tokenize_many(samples), rows))[0])
        # Two calls of the tokenizer and one of the scorer, as the original project's training step makes them.
        gts = {sample: references[images[row]] for sample, row in enumerate(rows)}
        res = {sample: [text] for sample, text in enumerate(samples)}
        theirs, _ = timed(
            lambda gts=gts, res=res: Cider().compute_score(tokenized_by_java(gts), tokenized_by_java(res))
        )
        times.append((statistics.median(calls), theirs))
    return times


def draw_samples(pool: list[str], draw: random.Random) -> tuple[list[int], list[str]]:
    """What a captioner in training might say of some images: human captions with two words of others in them."""
    rows = [row for row in draw.sample(range(len(pool)), REWARD_IMAGES) for _ in range(REWARD_SAMPLES)]
    samples = []
    for row in rows:
        words = pool[row].split()
        for _ in range(2):
            words[draw.randrange(len(words))] = draw.choice(
                [w for w in draw.choice(pool).split() if w.isalpha()] or words
            )
        samples.append(" ".join(words))
    return rows, samples


def compare_coco(references: Captions, hypotheses: Captions, pairs: int) -> tuple[list[Pair], float]:
    """The metrics without Java, captions as written; and the largest difference of a metric."""
    times = []
    for _ in range(pairs):
        # In a new process, where the tokenizer remembers nothing.
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            ours, scores = pool.apply(score_ours, (references, hypotheses))
        theirs, expected = timed(lambda: score_theirs(references, hypotheses))
        times.append((ours, theirs))
    return times, max(abs(scores[name] - expected[name]) for name in METRICS)


def score_ours(references: Captions, hypotheses: Captions) -> tuple[float, dict[str, float]]:
    """Seconds and scores."""
    return timed(
        lambda: (
            score_captions(
                tokenized(references), {key: texts[0] for key, texts in tokenized(hypotheses).items()}, metrics=METRICS
            ).overall
        )
    )


def score_theirs(references: Captions, hypotheses: Captions) -> dict[str, float]:
    """The same from pycocoevalcap."""
    gts, res = tokenized_by_java(references), tokenized_by_java(hypotheses)
    bleu, _ = Bleu(4).compute_score(gts, res, verbose=0)
    scores = [*bleu, Rouge().compute_score(gts, res)[0], Cider().compute_score(gts, res)[0]]
    return dict(zip(METRICS, scores, strict=True))


def compare_tokenizers(texts: list[str], pairs: int) -> list[Pair]:
    """Captions to words; ours with the start of a program that reads them from a file."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "captions.json"
        file.write_text(json.dumps(texts), encoding="utf-8")
        command = [sys.executable, "-c", TOKENIZE_FILE, str(file)]
        times = []
        for _ in range(pairs):
            ours, _ = timed(lambda: subprocess.run(command, check=True, cwd=REPOSITORY))
            theirs, _ = timed(lambda: tokenized_by_java({"all": texts}))
            times.append((ours, theirs))
    return times


def count_differences(texts: list[str]) -> int:
    """How many captions the Java tokenizer splits in another way; the first five are told."""
    expected = tokenized_by_java({"all": texts})["all"]
    rows = [
        row for row, (ours, theirs) in enumerate(zip(tokenize_many(texts), expected, strict=True)) if ours != theirs
    ]
    for row in rows[:5]:
        print(f"tokenised differently: {texts[row]!r}, by Java as {expected[row]!r}", file=sys.stderr)
    return len(rows)


def tokenized(captions: Captions) -> Captions:
    """By our tokenizer."""
    words = iter(tokenize_many(text for texts in captions.values() for text in texts))
    return {key: [next(words) for _ in texts] for key, texts in captions.items()}


def tokenized_by_java(captions: dict[Any, list[str]]) -> dict[Any, list[str]]:
    """By pycocoevalcap's tokenizer."""
    return JavaTokenizer().tokenize({key: [{"caption": text} for text in texts] for key, texts in captions.items()})


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds that a call takes, and its result."""
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def read_flickr8k(data: Path) -> tuple[Captions, list[str]]:
    """The captions of each photo that has five, and all captions."""
    lines = (data / "flickrstyle" / "Flickr8k.token.txt").read_text(encoding="utf-8").strip("\n").split("\n")
    captions: Captions = {}
    for name, text in (line.split("\t") for line in lines):
        captions.setdefault(name.split("#")[0], []).append(text)
    texts = [text for own in captions.values() for text in own]
    return {image: own for image, own in captions.items() if len(own) == 5}, texts


def read_others(data: Path) -> Iterator[str]:
    """The captions of FlickrStyle, Personality-Captions, SentiCap and COCO."""
    for row in read_json(data / "flickrstyle" / "captions.json"):
        yield from (row["humorous"], row["romantic"])
    for name in ("pcap_test_derived.json", "pcap_valid_derived.json"):
        for row in read_json(data / "personality_captions" / name):
            yield from (row["comment"], *row.get("additional_comments_tok16", ()))
    for image in read_json(data / "senticap" / "senticap.json")["images"]:
        yield from (sentence["raw"] for sentence in image["sentences"])
    coco = data / "coco_fakecap"
    yield from (row["caption"] for row in read_json(coco / "captions_val2014_fakecap1000.json")["annotations"])
    yield from (row["caption"] for row in read_json(coco / "captions_val2014_fakecap_results.json"))


if __name__ == "__main__":
    main()
