"""In what two runs differ: settings, data, environment and code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runs.files import Record
from runs.folder import Run
from runs.source import differing_files
from utils.trees import flatten

Differences = dict[str, tuple[Any, Any]]
"""By dotted place the value in either run, None where there is none."""


def compare_records(a: tuple[Run, Record], b: tuple[Run, Record]) -> dict[str, Any]:
    """In what two runs differ.

    Returns:
        ``configuration``, ``data`` and ``environment`` (each the differing places with both values), and ``source``:
        the files of the code that differ, None if a run has no copy of its code.
    """
    records = a[1], b[1]
    environments = [{**record.environment, "data": {}} for record in records]
    data = [record.environment.get("data") or {} for record in records]
    return {
        "configuration": differences(records[0].config, records[1].config, leave_out=("work_dir",)),
        "data": differences(data[0], data[1]),
        "environment": differences(environments[0], environments[1]),
        "source": differing_files(a[0], b[0]),
    }


def differences(a: Mapping[str, Any], b: Mapping[str, Any], leave_out: tuple[str, ...] = ()) -> Differences:
    """The places at which two trees differ, in the order of the first."""
    flat_a, flat_b = dict(flatten(a)), dict(flatten(b))
    places = [place for place in dict.fromkeys([*flat_a, *flat_b]) if place not in leave_out]
    return {place: (flat_a.get(place), flat_b.get(place)) for place in places if flat_a.get(place) != flat_b.get(place)}
