"""Results on standard output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.processes import rank
from utils.io import encode_json


def print_results(results: Mapping[str, Any]) -> None:
    """One JSON object on the last line, by one process of those that work together."""
    if rank() == 0:
        print(encode_json(results).decode(), flush=True)
