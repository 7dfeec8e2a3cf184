"""The service under load: requests a second, waiting times, memory; batches of several requests against one by one.

    python benchmarks/serving_load.py --model work_dir/demo_scst/output --seconds 15 --rounds 3
    python benchmarks/serving_load.py --tiny --seconds 2 --rounds 1 --requests 200       the short form

Two services run side by side, one with its default batches and one with --max-batch 1, and are asked by turns by
1, 8 and 32 clients, each of which asks again as soon as it has its answer. Afterwards the first is asked for so many
captions more, and its memory read before and after. Clients and service share the machine. Standard error gets a table,
standard output one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.service_process import Connection, ServiceProcess, form_request, make_tiny_model, percentile, pictures
from utils.io import encode_json

CLIENTS = (1, 8, 32)
COMPARED = 8
"""Clients at which batches are compared with one by one."""
PICTURES = 16
WARM = 20
SERVICES = {"batched": (), "one by one": ("--max-batch", "1")}


def main() -> None:
    """Measure by turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="work_dir/demo_scst/output", help="model folder")
    parser.add_argument("--tiny", action="store_true", help="a tiny model that has learnt nothing instead")
    parser.add_argument("--style", help="of the captions; the neutral one if not given")
    parser.add_argument("--seconds", type=float, default=15.0, help="of each number of clients in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=2000, help="between the two looks at the memory")
    parser.add_argument("--threads", type=int, default=1, help="of torch in the service")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = make_tiny_model(Path(folder)) if options.tiny else Path(options.model)
        print(encode_json({**vars(options), **measure(model, options)}).decode())


def measure(model: Path, options: argparse.Namespace) -> dict[str, Any]:
    """All that the benchmark says."""
    fields = [("style", options.style)] if options.style else []
    asked = [form_request(picture, fields) for picture in pictures(PICTURES)]
    rows: list[dict[str, Any]] = []
    with (
        ServiceProcess(["--model", str(model), *SERVICES["batched"]], options.threads) as batched,
        ServiceProcess(["--model", str(model), *SERVICES["one by one"]], options.threads) as single,
    ):
        ports = {"batched": batched.port, "one by one": single.port}
        for port in ports.values():
            asyncio.run(load(port, asked, clients=2, requests=WARM))
        for _ in range(options.rounds):
            for clients, (name, port) in itertools.product(CLIENTS, ports.items()):
                found = asyncio.run(load(port, asked, clients=clients, seconds=options.seconds))
                rows.append({"service": name, "clients": clients, **found})
        memory = measure_memory(batched, asked, options.requests)
    table = summarise(rows)
    show(table)
    return {"table": table, "ratio": ratio(rows), "memory": memory}


async def load(
    port: int, asked: list[bytes], *, clients: int, seconds: float | None = None, requests: int | None = None
) -> dict[str, Any]:
    """Ask for a time, or a number of requests, and tell times and statuses."""
    times: list[float] = []
    statuses: Counter[int] = Counter()
    start = time.perf_counter()
    numbers = itertools.count()

    def goes_on(number: int) -> bool:
        return number < requests if requests is not None else time.perf_counter() - start < (seconds or 0)

    async def one() -> None:
        connection = Connection(port)
        while goes_on(number := next(numbers)):
            begun = time.perf_counter()
            status, _ = await connection.ask(asked[number % len(asked)])
            times.append(time.perf_counter() - begun)
            statuses[status] += 1
        connection.close()

    await asyncio.gather(*(one() for _ in range(clients)))
    taken = time.perf_counter() - start
    return {"per_second": len(times) / taken, "times": times, "statuses": dict(statuses)}


def measure_memory(service: ServiceProcess, asked: list[bytes], requests: int) -> dict[str, Any]:
    """Resident memory before and after so many requests of eight clients, and in between."""
    looks = [service.resident_mb()]
    for _ in range(4):
        asyncio.run(load(service.port, asked, clients=COMPARED, requests=max(1, requests // 4)))
        looks.append(service.resident_mb())
    return {"requests": requests, "mb": [round(look, 1) for look in looks], "grown_mb": round(looks[-1] - looks[0], 1)}


def ratio(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Requests a second in batches over those one by one, round by round, at eight clients."""
    rates = {
        name: [row["per_second"] for row in rows if (row["service"], row["clients"]) == (name, COMPARED)]
        for name in SERVICES
    }
    found = [batched / single for batched, single in zip(*rates.values(), strict=True)]
    return {
        "clients": COMPARED,
        "median": round(statistics.median(found), 2),
        "range": [round(min(found), 2), round(max(found), 2)],
    }


def summarise(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each service and number of clients, over all rounds."""
    table = []
    for clients, name in itertools.product(CLIENTS, SERVICES):
        own = [row for row in rows if (row["service"], row["clients"]) == (name, clients)]
        times = [seconds for row in own for seconds in row["times"]]
        statuses: Counter[int] = Counter()
        for row in own:
            statuses.update(row["statuses"])
        table.append(
            {
                "service": name,
                "clients": clients,
                "per_second": round(statistics.median(row["per_second"] for row in own), 1),
                **{f"p{share}_ms": round(1000 * percentile(times, share), 1) for share in (50, 95, 99)},
                "statuses": {str(status): count for status, count in sorted(statuses.items())},
            }
        )
    return table


def show(table: list[dict[str, Any]]) -> None:
    """The table, for people."""
    print(
        f"{'clients':>7} {'service':12} {'per s':>8} {'p50 ms':>8} {'p95 ms':>8} {'p99 ms':>8}  statuses",
        file=sys.stderr,
    )
    for row in table:
        numbers = " ".join(f"{row[name]:8.1f}" for name in ("per_second", "p50_ms", "p95_ms", "p99_ms"))
        print(f"{row['clients']:7} {row['service']:12} {numbers}  {row['statuses']}", file=sys.stderr)


if __name__ == "__main__":
    main()
