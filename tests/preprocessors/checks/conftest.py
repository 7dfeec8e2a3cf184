from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from preprocessors.checks.findings import Findings
from preprocessors.examples import CaptionExample, make_example_id


@pytest.fixture
def make() -> Callable[..., CaptionExample]:
    """An example from its picture, style and captions; the row is counted."""
    count = 0

    def build(image: str, style: str, *captions: str, source: str = "train.jsonl") -> CaptionExample:
        nonlocal count
        count += 1
        return CaptionExample(make_example_id(image, style), Path("images") / image, style, captions, source, count)

    return build


@pytest.fixture
def found() -> Callable[..., dict[str, list[str]]]:
    """Runs a check; by kind the values of its cases."""

    def run(check, *arguments) -> dict[str, list[str]]:
        findings = Findings()
        check(*arguments, findings)
        return {finding.kind: [case.value for case in finding.cases] for finding in findings.sorted()}

    return run
