"""How long who types waits: completions of the service over HTTP against transformers' ``generate``, in one run.

    python benchmarks/completion_latency.py --text-model work_dir/lm/output --texts texts.txt
    python benchmarks/completion_latency.py --tiny --keys 20 --seconds 5       the short form

A service on loopback gets every beginning of texts, a line of the file each, key by key as an annotator types them.
First one client, and by turns with it ``generate`` with 5 beams of 6 tokens here, without HTTP, for the same beginning
and model. Then eight clients, each with texts of its own: as fast as they are answered, and with a pause before each
key, as people have it. Clients and service share the machine. Standard output gets one JSON object: milliseconds that
half and 99 of a hundred do not exceed, CPU milliseconds, which other programs on the machine change less, and how many
times those of ``generate`` a completion takes.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import psutil
import torch

from benchmarks.service_process import Connection, ServiceProcess, json_request, make_tiny_model, percentile
from models.style_lm import StyleLM
from utils.io import encode_json

CLIENTS = 8
BEAMS, TOKENS = 5, 6
PAUSE = (0.1, 0.3)
"""Seconds between an answer and the next key."""
WARM = 30
"""Keys before anything is measured."""


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text-model", type=Path, help="folder of a language model")
    parser.add_argument("--texts", type=Path, help="what is typed, a text a line, which it should not have learnt from")
    parser.add_argument("--tiny", action="store_true", help="a tiny model that has learnt nothing, and its own texts")
    parser.add_argument("--style", help="of the completions; none if not given")
    parser.add_argument("--keys", type=int, default=300, help="of the one client, and a quarter of those of the eight")
    parser.add_argument("--seconds", type=float, default=120.0, help="most for each of the three parts")
    parser.add_argument("--threads", type=int, default=1, help="of torch, here and in the service")
    options = parser.parse_args()
    if not options.tiny and not (options.text_model and options.texts):
        parser.error("give --text-model and --texts, or --tiny")
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        captioner = make_tiny_model(Path(folder))
        if options.tiny:
            options.text_model, texts = make_tiny_lm(Path(folder))
        else:
            texts = [line for line in options.texts.read_text(encoding="utf-8").splitlines() if line.strip()]
        found = measure(captioner, texts, options)
        print(encode_json({key: str(value) for key, value in vars(options).items()} | found).decode())


def make_tiny_lm(folder: Path) -> tuple[Path, list[str]]:
    """A language model of random weights, and texts."""
    from preprocessors.documents.training import train_tokenizer

    kinds = itertools.product(("a dog", "two cats", "my old aunt"), ("runs", "sleeps"), ("in the yard", "on a red mat"))
    texts = [" ".join(parts) for parts in kinds]
    StyleLM.new(train_tokenizer(texts, 300), None, positions=64).save_to_dir(folder / "lm")
    return folder / "lm", texts


def measure(captioner: Path, texts: Sequence[str], options: argparse.Namespace) -> dict[str, Any]:
    """All that the benchmark says."""
    reference = reference_of(StyleLM.load_from_dir(options.text_model), options.style)
    started = ["--model", str(captioner), "--text-model", str(options.text_model)]
    with ServiceProcess(started, options.threads) as service:
        asyncio.run(type_alone(service, itertools.islice(keys_of(texts, 1), WARM), reference, options))
        alone = asyncio.run(type_alone(service, itertools.islice(keys_of(texts, 0), options.keys), reference, options))
        together = asyncio.run(type_together(service, texts, options, pause=(0.0, 0.0)))
        people = asyncio.run(type_together(service, texts, options, pause=PAUSE))
    return {"one client": alone, "eight clients": together, "eight clients with pauses": people}


def keys_of(texts: Sequence[str], seed: int) -> Iterator[str]:
    """Beginnings of texts in any order, key by key, for ever."""
    order = random.Random(seed)
    while True:
        text = order.choice(texts)
        yield from (text[:end] for end in range(1, len(text) + 1))


def reference_of(lm: StyleLM, style: str | None) -> Callable[[str], list[str]]:
    """The beams of ``generate`` behind a text."""
    prompt, network = lm.prompt(style), lm.network

    @torch.no_grad()
    def complete(text: str) -> list[str]:
        body = lm.tokenizer.encode_batch([text.rstrip()])[0]
        room = len(body) if lm.positions is None else lm.positions - len(prompt) - TOKENS
        ids = torch.tensor([[*prompt, *body[max(0, len(body) - room) :]]])
        found = network.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            num_beams=BEAMS,
            num_return_sequences=BEAMS,
            max_new_tokens=TOKENS,
            do_sample=False,
            pad_token_id=lm.tokenizer.eos_id,
        )
        return [lm.tokenizer.decode(row) for row in found[:, ids.shape[1] :].tolist()]

    return complete


async def type_alone(
    service: ServiceProcess, keys: Iterator[str], reference: Callable[[str], list[str]], options: argparse.Namespace
) -> dict[str, Any]:
    """One client and the reference, text by text."""
    connection, process = Connection(service.port), psutil.Process(service.process.pid)
    times: list[float] = []
    others: list[float] = []
    used, own = cpu_seconds(process), 0.0
    end = time.perf_counter() + options.seconds
    for text in keys:
        times.append(await ask(connection, text, options.style))
        begun, before = time.perf_counter(), time.process_time()
        reference(text)
        others.append(time.perf_counter() - begun)
        own += time.process_time() - before
        if time.perf_counter() > end:
            break
    connection.close()
    used = cpu_seconds(process) - used
    return {
        "keys": len(times),
        **told(times),
        **{f"generate_{name}": value for name, value in told(others).items()},
        "cpu_ms": round(1000 * used / len(times), 2),
        "generate_cpu_ms": round(1000 * own / len(times), 2),
        "p50_ratio": round(percentile(times, 50) / percentile(others, 50), 3),
        "cpu_ratio": round(used / own, 3),
    }


async def type_together(
    service: ServiceProcess, texts: Sequence[str], options: argparse.Namespace, *, pause: tuple[float, float]
) -> dict[str, Any]:
    """Clients that begin at the same time."""
    times: list[float] = []
    end = time.perf_counter() + options.seconds

    async def one(number: int) -> None:
        connection, waits = Connection(service.port), random.Random(number)
        for text in itertools.islice(keys_of(texts, 100 + number), options.keys // 2):
            await asyncio.sleep(waits.uniform(*pause))
            if time.perf_counter() > end:
                break
            times.append(await ask(connection, text, options.style))
        connection.close()

    start = time.perf_counter()
    await asyncio.gather(*(one(number) for number in range(CLIENTS)))
    rate = len(times) / (time.perf_counter() - start)
    ratio = percentile(times, 99) / percentile(times, 50)
    return {"keys": len(times), "per_second": round(rate, 1), **told(times), "p99_over_p50": round(ratio, 2)}


async def ask(connection: Connection, text: str, style: str | None) -> float:
    """Seconds until a text was completed."""
    request = json_request("/autocomplete", {"text": text, "style": style, "num": BEAMS})
    begun = time.perf_counter()
    status, body = await connection.ask(request)
    if status != 200:
        raise RuntimeError(f"{text!r}: was answered {status}: {body[:200]!r}")
    return time.perf_counter() - begun


def cpu_seconds(process: psutil.Process) -> float:
    """That a process has used, in hundredths."""
    times = process.cpu_times()
    return float(times.user + times.system)


def told(times: Sequence[float]) -> dict[str, float]:
    """Milliseconds."""
    return {f"p{share}_ms": round(1000 * percentile(times, share), 2) for share in (50, 99)}


if __name__ == "__main__":
    main()
