"""What stands in the files of a run's record, whatever state they are in: a fault is told and hides nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from runs.folder import Run
from runs.metrics_log import MetricsLog, read_metrics
from utils.errors import first_line
from utils.io import read_json, read_jsonl
from utils.trees import find_at, is_number

KINDS = {dict: "an object", list: "a list", str: "a text", bool: "a truth value", int: "a number", float: "a number"}
START = re.compile(r"^(\d{4}-\d\d-\d\dT\S+) (.+)$", re.MULTILINE)
GROUPS = ("model", "data", "train")
"""What every configuration of a run has."""


class Start(NamedTuple):
    """A line of ``command.txt``."""

    time: str
    """ISO 8601."""
    command: str


@dataclass
class Record:
    """A run's record as far as it can be read."""

    config: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    starts: list[Start] = field(default_factory=list)
    ending: Mapping[str, Any] = field(default_factory=dict)
    """Of :mod:`runs.ending`; {} if the newest training did not say how it ended."""
    metrics: MetricsLog = MetricsLog([], 0)
    evaluations: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """Results by split."""
    faults: list[str] = field(default_factory=list)
    """A sentence for each file that is missing or damaged, which it names."""


def read_record(run: Run, *, in_use: bool = False) -> Record:
    """Read the record of a run.

    Args:
        run: Its folder.
        in_use: Whether somebody may be writing there: then the last line of a file need not be whole.
    """
    record = Record()

    def read(reader: Callable[[], Any], absent: Any) -> Any:
        try:
            return reader()
        except (ValueError, OSError) as error:
            record.faults.append(first_line(error))
            return absent

    record.config = read(lambda: read_config(run), {})
    begun = run.checkpoints.is_dir() or run.output.is_dir()
    if begun or run.environment.exists():
        record.environment = read(lambda: read_environment(run), {})
    if begun or run.commands.exists():
        record.starts = read(lambda: read_starts(run), [])
    if run.ending.exists():
        record.ending = read(lambda: read_object(run.ending), {})
    record.metrics = read_metrics(run.metrics)
    record.faults += _metrics_faults(run, record.metrics, in_use=in_use)
    if run.samples.exists() and not in_use:
        read(lambda: check_samples(run), None)
    for file in evaluation_files(run):
        results = read(partial(read_evaluation, file), None)
        if results is not None:
            record.evaluations[file.stem] = results
    return record


def read_object(file: Path) -> dict[str, Any]:
    """The JSON object of a file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read, or holds something else; names the file.
    """
    content = read_json(file)
    if not isinstance(content, dict):
        raise ValueError(f"{file}: is damaged: it holds {_kind(content)}, where {KINDS[dict]} belongs")
    return content


def read_config(run: Run) -> dict[str, Any]:
    """The resolved configuration, unchecked but for its groups.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is damaged, or no run's.
    """
    config = read_object(run.config_file)
    _check_kinds(run.config_file, config, dict.fromkeys(GROUPS, dict))
    return config


def read_environment(run: Run) -> dict[str, Any]:
    """Versions, machine, commit and hashes of the data, with the types that they are written with.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged; names the file and what is wrong in it.
    """
    environment = read_object(run.environment)
    kinds = {name: dict for name in ("packages", "git", "data") if environment.get(name) is not None}
    _check_kinds(run.environment, environment, kinds)
    for name, value in (environment.get("data") or {}).items():
        if name.endswith("_sha256") and not isinstance(value, str):
            raise ValueError(f"{run.environment}: is damaged: data.{name} is {_kind(value)}, where a text belongs")
    return environment


def read_starts(run: Run) -> list[Start]:
    """The starts of a run, oldest first.

    Raises:
        FileNotFoundError: If they are not recorded.
        ValueError: If the file cannot be read, or is not as ``runs.record`` writes it.
    """
    try:
        text = run.commands.read_bytes().decode()
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{run.commands}: no such file") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{run.commands}: is damaged: it is not UTF-8") from error
    except OSError as error:
        raise ValueError(f"{run.commands}: cannot be read ({error.strerror})") from error
    found = [Start(*match.groups()) for match in START.finditer(text)]
    if not found or not START.match(text) or not text.endswith("\n") or "\0" in text:
        raise ValueError(f"{run.commands}: is damaged: it is no list of times and commands, a start in each line")
    return found


def evaluation_files(run: Run) -> list[Path]:
    """The results of the run's own model, one file for each split; not its captions and dropped rows."""
    return sorted(path for path in run.eval.glob("*.json") if path.name.count(".") == 1)


def read_evaluation(file: Path) -> dict[str, Any]:
    """Results, without the scores of single images.

    Raises:
        ValueError: If the file is damaged or no results file; names it.
    """
    results = read_object(file)
    results.pop("per_image", None)
    check_results(file, results)
    return results


def check_results(file: Path, results: Any) -> None:
    """Refuse what is no results of an evaluation; ``file`` is for messages.

    Raises:
        ValueError: Saying what is wrong in it.
    """
    if not isinstance(results, dict):
        raise ValueError(f"{file}: is damaged: it holds {_kind(results)}, where results belong")
    _check_kinds(file, results, {"overall": dict, "per_style": dict, "provenance": dict, "n": int})
    for name, value in results["overall"].items():
        if value is not None and not is_number(value):
            raise ValueError(f"{file}: is damaged: overall.{name} is no number")
    intervals = find_at(results, "confidence.overall")
    for name, ends in intervals.items() if isinstance(intervals, dict) else ():
        if ends is not None and not (isinstance(ends, list) and len(ends) == 2 and all(map(is_number, ends))):
            raise ValueError(f"{file}: is damaged: confidence.overall.{name} is no interval")


def check_samples(run: Run) -> None:
    """Look at the captions of the validations.

    Raises:
        ValueError: If a row cannot be read.
    """
    for number, row in read_jsonl(run.samples):
        if not isinstance(row, dict) or not {"global_step", "caption"} <= row.keys():
            raise ValueError(f"{run.samples}, line {number}: is no captioned row")


def _metrics_faults(run: Run, log: MetricsLog, *, in_use: bool) -> list[str]:
    if run.metrics.is_dir():
        return [f"{run.metrics}: is a folder; a file is needed here"]
    if log.damaged > (1 if in_use else 0):
        count = f"{log.damaged} line{'' if log.damaged == 1 else 's'}"
        return [f"{run.metrics}: is damaged: {count} cannot be read, {len(log.rows)} steps can"]
    if run.output.is_dir() and not log.rows:
        return [f"{run.metrics}: {'is empty' if run.metrics.exists() else 'no such file'}, and the run was trained"]
    return []


def _check_kinds(file: Path, content: Mapping[str, Any], kinds: Mapping[str, type]) -> None:
    for name, kind in kinds.items():
        if name not in content:
            raise ValueError(f"{file}: is damaged: it has no {name}")
        if not isinstance(content[name], kind) or isinstance(content[name], bool):
            raise ValueError(f"{file}: is damaged: {name} is {_kind(content[name])}, where {KINDS[kind]} belongs")


def _kind(value: Any) -> str:
    return KINDS.get(type(value), "null")
