"""Memory of the prepared references, and whether reward calls let it grow.

    OMP_NUM_THREADS=1 python benchmarks/reward_memory.py --captions 200000 --calls 1000

Prints one JSON object; sizes are MiB of resident memory (Linux). The captions are FlickrStyle's humorous, romantic and
factual ones, one in a row. As they are fewer than 200,000, two words of each caption are replaced by words of others
in every further round through them: words stay the same, many longer n-grams are new. A call rewards 5 samples of 24
rows, made in the same way. `growth_mb` is what the calls add after the first 50.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import resource
import sys
import time
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from preprocessors.examples import CaptionExample  # noqa: E402
from trainers.rewards.calculator import RewardCalculator  # noqa: E402
from trainers.rewards.setup import build_rewards, tokenize_references, training_document_frequency  # noqa: E402
from trainers.rewards.terms import RewardRequest  # noqa: E402
from utils.io import read_json  # noqa: E402

IMAGES, SAMPLES, FIRST_CALLS = 24, 5, 50
STYLES = ("humorous", "romantic")


def main() -> None:
    """Measure and print."""
    shared = Path(os.environ.get("STYLECAP_SHARED", REPOSITORY.parent / "shared"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=shared / "data", help="folder with flickrstyle/")
    parser.add_argument("--captions", type=int, default=200_000)
    parser.add_argument("--calls", type=int, default=1_000)
    parser.add_argument("--terms", nargs="+", default=["cider_d", "bleu_4", "repetition", "length"])
    options = parser.parse_args()
    print(json.dumps(measure(options)))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Everything that is printed."""
    draw = random.Random(0)
    pool = read_captions(options.data)
    before = resident_mb()
    started = time.perf_counter()
    rewards = prepare(pool, options.captions, options.terms, draw)
    seconds = time.perf_counter() - started
    gc.collect()
    prepared = resident_mb()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    with rewards:
        call(rewards, pool, options.captions, FIRST_CALLS, draw)
        marks = [resident_mb()]
        for _ in range(4):
            call(rewards, pool, options.captions, options.calls // 4, draw)
            marks.append(resident_mb())
    return {
        "captions": options.captions,
        "terms": options.terms,
        "prepare_s": round(seconds, 1),
        "before_mb": round(before, 1),
        "prepared_mb": round(prepared - before, 1),
        "prepare_peak_mb": round(peak, 1),
        "calls": options.calls,
        "growth_mb": round(marks[-1] - marks[0], 2),
        "after_each_quarter_mb": [round(mark - marks[0], 2) for mark in marks[1:]],
    }


def read_captions(data: Path) -> list[str]:
    """All captions of FlickrStyle that have four words."""
    rows = read_json(data / "flickrstyle" / "captions.json")
    captions = [text for row in rows for text in (row["humorous"], row["romantic"], *row["factual"])]
    return [text for text in captions if len(text.split()) >= 4]


def prepare(pool: list[str], count: int, terms: list[str], draw: random.Random) -> RewardCalculator:
    """Rewards against this many captions; what was only needed on the way is given back."""
    captions = [pool[row] if row < len(pool) else vary(pool, row, draw) for row in range(count)]
    styles = [STYLES[row % 2] for row in range(count)]
    examples = [
        CaptionExample(f"{row}.jpg#{styles[row]}", Path(f"{row}.jpg"), styles[row], (text,))
        for row, text in enumerate(captions)
    ]
    references = tokenize_references(examples)
    found = training_document_frequency(references, Path("no cache"), None)
    weights = dict.fromkeys(terms, 1.0)
    return build_rewards(references, weights, styles=styles, document_frequency=found.document_frequency)


def vary(pool: list[str], row: int, draw: random.Random) -> str:
    """A caption with two words of others in it."""
    words = pool[row % len(pool)].split()
    for _ in range(2):
        words[draw.randrange(len(words))] = draw.choice(draw.choice(pool).split())
    return " ".join(words)


def call(rewards: RewardCalculator, pool: list[str], num_rows: int, calls: int, draw: random.Random) -> None:
    """Reward samples of random rows, again and again."""
    for _ in range(calls):
        rows = [row for row in draw.sample(range(num_rows), IMAGES) for _ in range(SAMPLES)]
        ended = [draw.random() < 0.9 for _ in rows]
        request = RewardRequest(rows, [vary(pool, row, draw) for row in rows], ended)
        rewards.submit(lambda request=request: request)
        rewards.result()


def resident_mb() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


if __name__ == "__main__":
    main()
