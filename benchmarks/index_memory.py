"""Memory and time of a million examples, from the annotation file to what a run asks of all of them before it starts.

    python benchmarks/index_memory.py --rows 1000000

Prints one JSON object; sizes are MiB of resident memory (Linux), measured in a process of its own. A JSON Lines file
with so many rows is written first, into a temporary folder: a picture each, captions of FlickrStyle's length.
The pictures are not there and not looked for. `index_mb` is what the process has grown by, with the examples in memory;
`whole_mb` and `peak_mb` are all of it, torch included. `start_s` is reading, and what a start asks besides: styles, the
registry's names, the data's hash (`start_cpu_s` without waiting for a busy machine). `list` is the same with the
examples in a list, as they were kept before. `pickle` is what a worker that does not fork is sent.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import pickle
import random
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

STYLES = ("humorous", "romantic", "factual", "pirate")
WORDS = (
    "a the man dog with red in on runs beach like his of true love and water two young to find girl play grass".split()
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--list", action="store_true", help="also measure the examples in a list, as they were before")
    options = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as scratch, spawn.Pool(1, maxtasksperchild=1) as pool:
        folder = Path(scratch)
        size = write_rows(folder / "train.jsonl", options.rows)
        found: dict[str, Any] = {"rows": options.rows, "file_mb": round(size / 2**20, 1)}
        found["table"] = pool.apply(measure, (folder, False))
        if options.list:
            found["list"] = pool.apply(measure, (folder, True))
    print(json.dumps(found))


def write_rows(path: Path, rows: int) -> int:
    """Write the annotations; returns their size in bytes."""
    draw = random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        for row in range(rows):
            caption = " ".join(draw.choices(WORDS, k=draw.randint(8, 20)))
            name = f"{draw.getrandbits(32):010d}_{row:010x}.jpg"
            file.write(json.dumps({"image": name, "style": STYLES[row % 4], "captions": [caption]}) + "\n")
    return path.stat().st_size


def measure(folder: Path, as_list: bool) -> dict[str, float]:
    """What reading takes in this process."""
    from configuration.data import DataConfig
    from pipeline.data import hash_examples, read_split, styles_of
    from preprocessors.text.styles import StyleRegistry, resolve_styles

    data = DataConfig(format="jsonl", annotations=folder, images=folder)
    before, started, worked = resident_mb(), time.perf_counter(), time.process_time()
    examples = read_split(data, "train", check_pictures=False).examples
    if as_list:
        examples = list(examples)
    read_s = time.perf_counter() - started
    examples = resolve_styles(examples, StyleRegistry(styles_of(examples)))
    hash_examples(examples)
    start_s, cpu_s = time.perf_counter() - started, time.process_time() - worked
    gc.collect()
    found = {"index_mb": resident_mb() - before, "whole_mb": resident_mb(), "read_s": read_s, "start_s": start_s}
    found["start_cpu_s"] = cpu_s
    found["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    started = time.perf_counter()
    found["pickle_mb"] = len(pickle.dumps(examples)) / 2**20
    found["pickle_s"] = time.perf_counter() - started
    return {name: round(value, 2) for name, value in found.items()}


def resident_mb() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


if __name__ == "__main__":
    main()
