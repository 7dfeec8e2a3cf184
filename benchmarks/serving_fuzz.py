"""The service among clients that mean harm: does it answer 5xx, grow, or keep others waiting?

    python benchmarks/serving_fuzz.py --requests 10000
    python benchmarks/serving_fuzz.py --requests 300 --idle 100          the short form

Starts the service with a tiny model on loopback. Half of the requests are schemathesis's, made from /openapi.json,
valid and invalid, each answer held to what is documented; the others carry broken and hostile pictures, as files and in
base64. Then so many connections stay idle, others send a head or a body half, one byte at a time or never, while a
normal client asks. Exit 1 if anything but 503 and 504 of 5xx was answered, an answer was not as documented, a stack
trace was logged, the memory grew by more than --most-growth, or the normal client was not answered.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import itertools
import random
import sys
import tempfile
import urllib.request
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import orjson

from benchmarks.hostile_pictures import DEAR, KINDS
from benchmarks.service_process import (
    Connection,
    ServiceProcess,
    form_request,
    json_request,
    make_tiny_model,
    pictures,
    plain_request,
    wait_until_answered,
)
from utils.io import encode_json

CLIENTS = 4
LOOKS = 4
"""At the memory, after the first."""
DEAR_SHARE = 0.02
BODIES_SHARE = 8
"""How much more often operations with a body are asked than the others, which have little to get wrong."""
WARM_SHARE = 0.2
"""Of the requests, before the first look at the memory: allocators, caches and pools fill up once."""


def main() -> int:
    """Fuzz and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--idle", type=int, default=1000, help="connections that send nothing")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--most-growth", type=float, default=60.0, metavar="MB", help="between the looks at the memory")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = make_tiny_model(Path(folder))
        with ServiceProcess(["--model", str(model), "--timeout", "20"], threads=1) as service:
            found = fuzz(service, options)
    print(encode_json({**vars(options), **found}).decode())
    return 0 if found["fine"] else 1


def fuzz(service: ServiceProcess, options: argparse.Namespace) -> dict[str, Any]:
    """Everything that the benchmark does."""
    statuses: Counter[str] = Counter()
    warm = int(options.requests * WARM_SHARE)
    looks = []
    faults: list[str] = []
    parts = [warm, *[(options.requests - warm) // LOOKS] * LOOKS]
    for number, count in enumerate(parts):
        seed, before = options.seed * len(parts) + number, statuses.total()
        faults += generated_requests(service, count // 2, seed, statuses)
        asyncio.run(hostile_requests(service, count - (statuses.total() - before), seed, statuses))
        looks.append(round(service.resident_mb(), 1))
    waited = wait_beside_others(service, options.idle)
    bad = {status: count for status, count in statuses.items() if status[0] == "5" and status not in ("503", "504")}
    grown = round(looks[-1] - looks[0], 1)
    fine = not bad and not faults and not service.traces and grown <= options.most_growth
    return {
        "fine": fine,
        "statuses": dict(sorted(statuses.items())),
        "not_as_documented": faults[:5],
        "traces": service.traces,
        "mb": looks,
        "grown_mb": grown,
        "seconds_of_a_normal_client": waited,
    }


def generated_requests(service: ServiceProcess, count: int, seed: int, statuses: Counter[str]) -> list[str]:
    """Requests that the description of the service allows and forbids; what was not answered as it says."""
    import hypothesis
    import schemathesis
    from schemathesis.checks import load_all_checks

    load_all_checks()
    with urllib.request.urlopen(f"{service.url}/openapi.json", timeout=60) as answer:
        schema = schemathesis.openapi.from_dict(orjson.loads(answer.read()))
    operations = [found.ok() for found in schema.get_all_operations()]
    with_body = [operation for operation in operations if len(operation.body)]
    rounds = [*itertools.product(operations + with_body * BODIES_SHARE, schemathesis.GenerationMode)]
    faults: list[str] = []
    settings = hypothesis.settings(
        max_examples=max(1, count // len(rounds)),
        database=None,
        deadline=None,
        suppress_health_check=[*hypothesis.HealthCheck],
        phases=[hypothesis.Phase.generate],
    )
    for turn, (operation, mode) in enumerate(rounds):

        @hypothesis.seed(seed * len(rounds) + turn)
        @settings
        @hypothesis.given(operation.as_strategy(generation_mode=mode))
        def run(case: Any) -> None:
            answer = case.call(base_url=service.url, timeout=60)
            statuses[str(answer.status_code)] += 1
            faults.extend(_undocumented(case, answer))

        try:
            run()
        except hypothesis.errors.Unsatisfiable:  # an operation without anything to get wrong
            continue
    return faults


def _undocumented(case: Any, answer: Any) -> list[str]:
    from schemathesis.checks import CHECKS, not_a_server_error
    from schemathesis.core.failures import Failure, FailureGroup

    names = ("status_code_conformance", "content_type_conformance", "response_schema_conformance")
    checks = [not_a_server_error, *CHECKS.get_by_names(names)]
    try:
        case.validate_response(answer, checks=checks)
    except (Failure, FailureGroup) as error:
        return [f"{case.method} {case.path}: {error}"[:400]] if answer.status_code not in (503, 504) else []
    return []


async def hostile_requests(service: ServiceProcess, count: int, seed: int, statuses: Counter[str]) -> None:
    """Pictures that are none, as files and in base64."""
    numbers = iter(range(count))

    async def client() -> None:
        connection = Connection(service.port)
        for number in numbers:
            draw = random.Random(f"{seed}/{number}")
            data = KINDS[_kind(number, draw)](draw)
            try:
                status, _ = await connection.ask(_request(data, draw))
            except (ConnectionError, asyncio.IncompleteReadError):
                status = 0
                connection.close()
            statuses[str(status)] += 1
        connection.close()

    await asyncio.gather(*(client() for _ in range(CLIENTS)))


def _kind(number: int, draw: random.Random) -> str:
    """Each kind once, then the cheap ones mostly."""
    names = [*KINDS]
    if number < len(names):
        return names[number]
    cheap = [name for name in names if name not in DEAR]
    return draw.choice(DEAR if draw.random() < DEAR_SHARE else cheap)


def _request(data: bytes, draw: random.Random) -> bytes:
    if draw.random() < 0.5:
        return form_request(data, [("style", draw.choice(["pirate", "neutral", "../..", "\ud7ff", "a+b"]))])
    text = base64.b64encode(data).decode()
    path, more = draw.choice(
        [("/v1/captions", {}), ("/autocomplete", {"text": draw.choice(["", "a b", "\0", "x" * 500])})]
    )
    start = draw.choice(["", "data:image/png;base64,", "data:image/svg+xml;base64,", "file://"])
    return json_request(path, {"image": start + text, **more})


def wait_beside_others(service: ServiceProcess, idle: int) -> dict[str, float]:
    """Seconds that a normal client waits beside silent connections, half heads and half bodies."""

    async def crowd() -> dict[str, float]:
        picture = form_request(pictures(1)[0])
        with ExitStack() as stack:
            for sent in (
                *[b""] * idle,
                *[b"GET /healthz HTTP/1.1\r\nX-Slow: "] * 50,
                *[picture[: len(picture) // 2]] * 50,
            ):
                _, writer = await asyncio.open_connection("127.0.0.1", service.port)
                stack.callback(writer.close)
                writer.write(sent)
            asks, connection = asyncio.get_running_loop().time, Connection(service.port)
            waited = {}
            for name, request in (("models", plain_request("GET", "/v1/models")), ("captions", picture)):
                start = asks()
                status, _ = await asyncio.wait_for(connection.ask(request), 60)
                assert status == 200, f"a normal client was answered {status}"
                waited[name] = round(asks() - start, 3)
            connection.close()
            return waited

    return {**asyncio.run(crowd()), "afterwards": round(wait_until_answered(service.port), 3)}


if __name__ == "__main__":
    sys.exit(main())
