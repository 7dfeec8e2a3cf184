"""What threads save of the reward: steps that compute while captions are scored, and steps that wait for the scores.

    python benchmarks/reward_overlap.py --steps 20 --threads 2

Prints one JSON object, medians in seconds. A step submits 5 samples of 24 images (FlickrStyle; CIDEr-D and style),
computes, and collects. Two computations stand for a forward pass: `large`, few multiplications of large matrices, and
`small`, thousands of small operations, each of which gives Python's lock away and wants it back. `saved_s` is by how
much a step with threads is shorter than the step without in the same round; below 0 the threads are in the way.
At most `reward_s` can be saved, and only where a processor is free: run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from preprocessors.examples import CaptionExample  # noqa: E402
from trainers.rewards.calculator import RewardCalculator  # noqa: E402
from trainers.rewards.setup import build_rewards, tokenize_references  # noqa: E402
from trainers.rewards.terms import RewardRequest  # noqa: E402
from utils.io import read_json  # noqa: E402

IMAGES, SAMPLES = 24, 5
WORKERS = (0, 1, 2, 4)
STYLES = ("humorous", "romantic")
WEIGHTS = {"cider_d": 1.0, "style": 1.0}


def main() -> None:
    """Measure and print."""
    shared = Path(os.environ.get("STYLECAP_SHARED", REPOSITORY.parent / "shared"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=shared / "data", help="folder with flickrstyle/")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2, help="of torch")
    parser.add_argument("--seconds", type=float, default=0.2, help="of computing in a step")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(json.dumps(measure(options)))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Everything that is printed."""
    examples = read_examples(options.data)
    references, styles = tokenize_references(examples), [example.style for example in examples]
    draw = random.Random(0)
    result: dict[str, Any] = {"hypotheses": IMAGES * SAMPLES, "steps": options.steps, "torch_threads": options.threads}
    with ExitStack() as stack:
        rewards = {
            workers: stack.enter_context(build_rewards(references, WEIGHTS, styles=styles, workers=workers))
            for workers in WORKERS
        }
        for name, make_operation in (("large", large_operation), ("small", small_operation)):
            result[name] = compare(rewards, repeated(make_operation(), options.seconds), examples, options.steps, draw)
    return result


def compare(
    rewards: dict[int, RewardCalculator],
    compute: Callable[[], None],
    examples: list[CaptionExample],
    steps: int,
    draw: random.Random,
) -> dict[str, Any]:
    """Seconds of a step by number of threads, and of its parts alone."""
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    for _ in range(steps):
        request = draw_request(examples, draw)
        seconds["compute_s"].append(timed(compute))
        seconds["reward_s"].append(timed(lambda request=request: step(rewards[0], request, lambda: None)))
        for workers, calculator in rewards.items():
            seconds[f"step_{workers}_threads_s"].append(
                timed(lambda calculator=calculator, request=request: step(calculator, request, compute))
            )
    in_line = seconds["step_0_threads_s"]
    saved = {
        str(workers): statistics.median(map(float.__sub__, in_line, seconds[f"step_{workers}_threads_s"]))
        for workers in rewards
        if workers
    }
    medians = {name: round(statistics.median(times), 5) for name, times in seconds.items()}
    return medians | {"saved_s": {workers: round(value, 5) for workers, value in saved.items()}}


def step(rewards: RewardCalculator, request: RewardRequest, compute: Callable[[], None]) -> None:
    """Submit, compute, collect."""
    rewards.submit(lambda: request)
    compute()
    rewards.result()


def large_operation() -> Callable[[], None]:
    """A multiplication of some ten milliseconds."""
    matrix = torch.randn(1024, 1024)
    return lambda: torch.mm(matrix, matrix)


def small_operation() -> Callable[[], None]:
    """A multiplication of some ten microseconds."""
    matrix = torch.randn(64, 64)
    return lambda: torch.mm(matrix, matrix)


def repeated(operation: Callable[[], None], seconds: float) -> Callable[[], None]:
    """As often as it takes to compute for about so long."""

    def seconds_for(times: int) -> float:
        return timed(lambda: [operation() for _ in range(times)])

    times = 1
    while (taken := seconds_for(times)) < seconds / 2:
        times *= 2
    times = round(times * seconds / taken)

    def run() -> None:
        for _ in range(times):
            operation()

    return run


def read_examples(data: Path) -> list[CaptionExample]:
    """FlickrStyle's images, each in two styles."""
    rows = read_json(data / "flickrstyle" / "captions.json")
    return [
        CaptionExample(f"{row['image']}#{style}", Path(row["image"]), style, (row[style],))
        for row in rows
        for style in STYLES
    ]


def draw_request(examples: list[CaptionExample], draw: random.Random) -> RewardRequest:
    """Human captions with two words of others in them, as samples of a captioner in training."""
    rows = [row for row in draw.sample(range(len(examples)), IMAGES) for _ in range(SAMPLES)]
    hypotheses = []
    for row in rows:
        words = examples[row].captions[0].split()
        for _ in range(2):
            words[draw.randrange(len(words))] = draw.choice(draw.choice(examples).captions[0].split())
        hypotheses.append(" ".join(words))
    return RewardRequest(rows, hypotheses, [draw.random() < 0.9 for _ in rows])


def timed(call: Callable[[], Any]) -> float:
    """Seconds that a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
