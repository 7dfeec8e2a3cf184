"""Documents to ids in a file: `finetune.py encode` against the classic way and against `datasets`' map.

    python benchmarks/encode_speed.py --tokenizer ../shared/data/ofa_bpe --megabytes 12 50
    python benchmarks/encode_speed.py --tokenizer ../shared/data/ofa_bpe --megabytes 200 1000 --ways ours
    python benchmarks/encode_speed.py --tokenizer ../shared/data/ofa_bpe --text my/documents.jsonl

The classic way reads all documents, encodes one after the other, joins the ids and saves them with `np.savez`. With
`datasets` a fast tokenizer is mapped over the documents one by one, as `map` does unless it is told otherwise, or
(`datasets_batched`) over batches in as many processes as cores, and Arrow is written; both are left out where the
library cannot be imported (`--datasets FOLDER` is looked into as well). All read the same JSON Lines, with the same
tokenizer, each in a process of its own, whose whole time counts, imports included. Without `--text` the documents are
made up, of two kilobytes in the median: sentences of words that recur by Zipf's law, with new ones as often as in
English (Heaps' law).

Prints one JSON object: MB of bodies (10^6 bytes of UTF-8) a second, and a second of all processors' time, which a busy
machine changes less; the most memory of the process and its children together (MB of PSS, which counts once what they
share; Linux), that of a Python which has imported what encoding needs and does nothing, and by how many MB the memory
grows with each MB of text, between the smallest and the largest size.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))
LOOK_EVERY = 0.05
IDLE = "import numpy, orjson, tokenizers, pydantic, time; time.sleep(1)"
SYLLABLES = [a + b + c for a in "bcdfglmnprstvw" for b in "aeiou" for c in ("", "n", "r", "st")]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", type=Path, required=True, help="model folder with a byte-level BPE")
    parser.add_argument("--megabytes", type=float, nargs="+", default=[12.0], help="sizes of the text that is made up")
    parser.add_argument("--text", type=Path, help="JSON Lines with a body in each line, instead")
    parser.add_argument("--ways", nargs="+", choices=[*WAYS, "ours"], default=["ours", *WAYS])
    parser.add_argument("--datasets", type=Path, help="folder in which `datasets` was installed (pip --target)")
    parser.add_argument("--turns", type=int, default=1, help="each way so often, by turns; the fastest counts")
    options = parser.parse_args()
    print(json.dumps(measure(options)))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Every way on every size."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        save_tokenizer(options.tokenizer, folder / "tokenizer")
        found: dict[str, Any] = {"idle_mb": run([sys.executable, "-c", IDLE])[2], "sizes": {}}
        texts = [options.text] if options.text else options.megabytes
        for text in texts:
            path, size = (text, body_bytes(text)) if options.text else made_up(folder / "text.jsonl", text)
            ways = {way: measure_way(way, path, size, folder, options) for way in options.ways}
            ways = {way: value for way, value in ways.items() if value is not None}
            found["sizes"][round(size / 1e6, 1)] = ways | ratios(ways)
        found["growth"] = {way: growth(found["sizes"], way) for way in options.ways if len(found["sizes"]) > 1}
    return found


def measure_way(way: str, text: Path, size: int, scratch: Path, options: argparse.Namespace) -> dict[str, float] | None:
    """Speed and memory of one way; None if it cannot run here."""
    command = command_of(way, text, scratch, options)
    best = None
    for _ in range(options.turns):
        for left in scratch.glob("run*"):
            subprocess.run(["rm", "-rf", left], check=True)
        seconds, worked, memory, code = run(command)
        if code:
            return None
        if best is None or seconds < best["seconds"]:
            best = {"seconds": seconds, "mb_per_second": size / 1e6 / seconds, "mb_per_cpu_second": size / 1e6 / worked}
            best["peak_mb"] = memory
    return {name: round(value, 2) for name, value in best.items()} if best else None


def command_of(way: str, text: Path, scratch: Path, options: argparse.Namespace) -> list[str]:
    """What runs a way in a process of its own."""
    if way != "ours":
        folders = json.dumps([str(path) for path in (text, scratch / "tokenizer", scratch / "run_theirs")])
        more = repr(str(options.datasets)) if options.datasets else "None"
        program = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import encode_speed as e; "
        return [sys.executable, "-c", program + f"e.run_way({way!r}, {folders}, {more})"]
    conf = scratch / "conf.json"
    documents = {"format": "jsonl", "train": str(text), "tokenizer": str(scratch / "tokenizer")}
    run_folder = str(scratch / "run_ours" / "a")
    described = {"task": "text", "model": {"preset": "nano"}, "documents": documents, "work_dir": run_folder}
    conf.write_text(json.dumps(described))
    return [sys.executable, str(REPOSITORY / "finetune.py"), "encode", "--conf", str(conf)]


def run(command: list[str]) -> tuple[float, float, float, int]:
    """Seconds, those of processors, the most memory of a program and its children in MB, and its exit code."""
    start, before, most = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN), 0.0
    program = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=REPOSITORY)
    while program.poll() is None:
        most = max(most, memory_of(program.pid))
        time.sleep(LOOK_EVERY)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    worked = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, worked, round(most, 1), program.returncode


def memory_of(process: int) -> float:
    """PSS of a process and those that it started, MB."""
    total = 0
    try:
        family = [psutil.Process(process)]
        family += family[0].children(recursive=True)
        for member in family:
            lines = Path(f"/proc/{member.pid}/smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    except (psutil.NoSuchProcess, OSError):  # gone while it was looked at
        return 0.0
    return total * 1024 / 1e6


def run_way(way: str, folders: list[str], datasets: str | None) -> None:
    """Encode in another way; called in a process of its own."""
    if datasets:
        sys.path.append(datasets)
    WAYS[way](*map(Path, folders))


def classic(text: Path, tokenizer: Path, out: Path) -> None:
    """Read all, encode one by one, join, save."""
    import numpy as np
    from transformers import AutoTokenizer

    encode = AutoTokenizer.from_pretrained(tokenizer).encode
    documents = [json.loads(line)["body"] for line in text.open(encoding="utf-8")]
    arrays = [np.array(encode(document)) for document in documents]
    out.mkdir()
    np.savez(out / "tokens.npz", *[np.concatenate(arrays)])


def datasets_map(text: Path, tokenizer: Path, out: Path) -> None:
    """A fast tokenizer mapped over documents."""
    _map(text, tokenizer, out)


def datasets_map_batched(text: Path, tokenizer: Path, out: Path) -> None:
    """The same over batches, in as many processes as cores."""
    _map(text, tokenizer, out, batched=True, num_proc=len(os.sched_getaffinity(0)))


def _map(text: Path, tokenizer: Path, out: Path, **how: Any) -> None:
    os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
    from datasets import load_dataset
    from transformers import AutoTokenizer

    encode = AutoTokenizer.from_pretrained(tokenizer)
    read = load_dataset("json", data_files=str(text), split="train", cache_dir=str(out / "cache"))
    mapped = read.map(lambda held: {"ids": encode(held["body"])["input_ids"]}, remove_columns=read.column_names, **how)
    mapped.save_to_disk(str(out / "saved"))


WAYS: dict[str, Callable[[Path, Path, Path], None]] = {
    "classic": classic,
    "datasets": datasets_map,
    "datasets_batched": datasets_map_batched,
}


def save_tokenizer(source: Path, folder: Path) -> None:
    """The same tokenizer for all, in the form that transformers opens."""
    from preprocessors.documents.folders import open_text_tokenizer

    open_text_tokenizer(source).save_to_dir(folder)


def made_up(path: Path, megabytes: float) -> tuple[Path, int]:
    """Write documents that nobody wrote; the file and the bytes of their bodies."""
    draw, size = random.Random(0), 0
    words = made_up_words(draw)
    with path.open("w", encoding="utf-8") as file:
        while size < megabytes * 1e6:
            body = "".join(next(words) for _ in range(max(20, int(draw.lognormvariate(math.log(350), 1)))))
            file.write(json.dumps({"body": body, "meta": "made up"}) + "\n")
            size += len(body.encode())
    return path, size


def made_up_words(draw: random.Random) -> Iterator[str]:
    """Words without end, with the signs between them; of n words about 40 n^0.55 differ, as in English (Heaps' law)."""

    def fresh() -> str:
        return "".join(draw.choices(SYLLABLES, k=draw.choice((1, 2, 2, 3, 3, 4))))

    known, begins = [fresh()], True
    for number in itertools.count(1):
        if draw.random() < min(1, 22 * number**-0.45):
            known.append(fresh())
        word = known[int(len(known) ** draw.random()) - 1]  # the r-th is drawn with a probability near 1 / r
        word = word.capitalize() if begins else word
        sign = draw.choices((" ", ", ", ". ", "'s ", ".\n\n", f" {draw.randrange(3000)} "), (80, 8, 8, 2, 1, 1))[0]
        begins = sign.startswith(".")
        yield word + sign


def body_bytes(path: Path) -> int:
    """Bytes of the bodies in a file of one's own."""
    return sum(len(json.loads(line)["body"].encode()) for line in path.open(encoding="utf-8"))


def ratios(ways: dict[str, Any]) -> dict[str, float]:
    """How many times as fast as each other way ours is, by the clock and by the processors' time."""
    found = {}
    for kind, name in (("mb_per_second", "times"), ("mb_per_cpu_second", "cpu_times")):
        for way in [way for way in ways if way != "ours" and "ours" in ways]:
            found[f"{name}_{way}"] = round(ways["ours"][kind] / ways[way][kind], 2)
    return found


def growth(sizes: dict[float, Any], way: str) -> float | None:
    """MB of memory for each MB of text."""
    known = sorted(size for size, ways in sizes.items() if way in ways)
    if len(known) < 2:
        return None
    more = sizes[known[-1]][way]["peak_mb"] - sizes[known[0]][way]["peak_mb"]
    return round(more / (known[-1] - known[0]), 4)


if __name__ == "__main__":
    main()
