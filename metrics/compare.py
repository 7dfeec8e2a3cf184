"""Is one captioner better than another? A paired test on two results files over the same references.

    python -m metrics.compare A.json B.json
    python -m metrics.compare A.json B.json --metrics CIDEr Bleu_4 --resamples 100000

Both files come from `python -m metrics.evaluate ... --per-image --out FILE`. The last line on standard output is one
JSON object with, for each metric, a, b, their difference (b - a), its 95% bootstrap interval over images (low, high),
and p: how often a difference as large comes up when the captions of random images change places. The p of several
metrics are not corrected for their number. A table for people goes to standard error.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from metrics.command_line import run_command, show_path
from metrics.table import METRICS, measurements_of
from utils.trees import find_at

if TYPE_CHECKING:
    from metrics.confidence import FloatArray, ImageSums, PairedTest

logger = logging.getLogger(__name__)

SEED = 0

MUST_AGREE = {"tokenizer", "references_sha256"}
"""Without these in common, scores are of different things."""

MAX_RESAMPLES = 1_000_000
TOLERANCE = 1e-9
"""Of a file's ``overall`` from what its ``per_image`` adds up to."""


class ScoredFile(NamedTuple):
    """What a comparison needs of a results file."""

    path: Path
    overall: dict[str, Any]
    names: list[str]
    """The metrics that are not null."""
    per_image: dict[str, dict[str, Any]]
    """The scores of each example by example_id."""
    images: dict[str, str]
    """Image by example_id, sorted by the latter."""
    metrics: dict[str, Any]
    """Where the numbers come from: tokenizer, versions, hash of the references."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        Exit code: 0, 2 for a fault of the input, told in one line on standard error, 130 if interrupted.
    """
    parser = argparse.ArgumentParser(
        prog="python -m metrics.compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("a", type=Path, metavar="A.json", help="results of one captioner")
    parser.add_argument("b", type=Path, metavar="B.json", help="results of the other, over the same references")
    parser.add_argument("--metrics", nargs="+", metavar="NAME", help="all that both files have, if not given")
    parser.add_argument("--resamples", type=int, default=10_000, metavar="N", help="of each test; 10000 if not given")
    options = parser.parse_args(arguments)
    return run_command(lambda: compare(options.a, options.b, options.metrics, options.resamples))


def compare(path_a: Path, path_b: Path, metrics: Sequence[str] | None, resamples: int) -> dict[str, Any]:
    """Compare two results files as :func:`compare_files` does, and show a table on standard error.

    Raises:
        ValueError: If a file is no results file with ``per_image``, or the two cannot be compared.
    """
    from metrics.confidence import PairedTest

    if not 100 <= resamples <= MAX_RESAMPLES:
        raise ValueError(f"--resamples {resamples}: from 100, for an interval, to {MAX_RESAMPLES:,}.")
    found = compare_files(path_a, path_b, metrics, resamples)
    sys.stderr.write(format_table({name: PairedTest(**test) for name, test in found["metrics"].items()}))
    return found


def compare_files(
    path_a: Path, path_b: Path, metrics: Sequence[str] | None = None, resamples: int = 10_000
) -> dict[str, Any]:
    """A paired test on two results files.

    Args:
        path_a: Results with ``per_image``.
        path_b: Results with ``per_image`` of the same examples.
        metrics: Which metrics to compare; None takes those that both have.
        resamples: How often to draw, for p and for the interval each.

    Returns:
        ``n`` (examples), ``images``, ``a`` and ``b`` (the files), ``resamples``, ``level``, ``seed``, ``metrics``.

    Raises:
        ValueError: If a file is no results file with ``per_image``, or the two cannot be compared.
    """
    from metrics.confidence import LEVEL, paired_tests

    file_a, file_b = read_results(path_a), read_results(path_b)
    check_comparable(file_a, file_b)
    check_whole(file_a)
    check_whole(file_b)
    names = choose_metrics(file_a, file_b, metrics)
    sums_a, sums_b = sum_images(file_a, names), sum_images(file_b, names)
    tests = paired_tests(sums_a, sums_b, resamples=resamples, seed=SEED)
    return {
        "n": len(file_a.per_image),
        "images": len(sums_a.columns),
        "a": show_path(path_a),
        "b": show_path(path_b),
        "resamples": resamples,
        "level": LEVEL,
        "seed": SEED,
        "metrics": {name: test._asdict() for name, test in tests.items()},
    }


def read_results(path: Path) -> ScoredFile:
    """Read a results file that has the scores of each example.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is something else, or lacks ``per_image``.
    """
    from utils.io import read_json

    results = read_json(path)
    if not isinstance(results, dict) or not isinstance(results.get("overall"), dict):
        raise ValueError(f"{path}: is not a results file of metrics.evaluate.")
    per_image = results.get("per_image")
    if not per_image and results["overall"] and all(value is None for value in results["overall"].values()):
        reasons = sorted({str(reason) for reason in dict(results.get("unavailable") or {}).values()})
        raise ValueError(f"{path}: there is nothing to compare, every metric is null ({'; '.join(reasons)}).")
    if not per_image:
        raise ValueError(f"{path}: has no scores of single images; make it again with metrics.evaluate --per-image.")
    try:
        metrics = dict(results["provenance"]["metrics"])
        images = {key: str(row["image"]) for key, row in sorted(per_image.items())}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path}: is not as metrics.evaluate --per-image writes it ({error!r}).") from error
    if not metrics.keys() >= MUST_AGREE:
        raise ValueError(f"{path}: does not say which references it is about; make it again with metrics.evaluate.")
    names = [name for name in METRICS if results["overall"].get(name) is not None]
    return ScoredFile(path, results["overall"], names, per_image, images, metrics)


def check_whole(file: ScoredFile) -> None:
    """Refuse a file whose ``per_image`` does not give its own ``overall``: it was cut or edited.

    Raises:
        ValueError: Naming the metric.
    """
    if not file.names:
        return
    sums = sum_images(file, file.names)
    for name, value in sums.metrics(sums.columns.sum(axis=0)).items():
        told = file.overall[name]
        if not isinstance(told, int | float) or not abs(value - told) < TOLERANCE:
            raise ValueError(
                f"{file.path}: {name} is {told!r}, but per_image gives {value:.6g}: the file was cut or edited; "
                "make it again."
            )


def check_comparable(a: ScoredFile, b: ScoredFile) -> None:
    """Refuse files over other examples, other references or other words; warn of other versions.

    Raises:
        ValueError: Counting and listing what differs.
    """
    from metrics.caption_files import count_and_list

    only_a, only_b = [key for key in a.images if key not in b.images], [key for key in b.images if key not in a.images]
    if only_a or only_b:
        faults = [f"{count_and_list(ids)} only in {path}" for ids, path in ((only_a, a.path), (only_b, b.path)) if ids]
        raise ValueError(f"the files score other examples: {'; '.join(faults)}.")
    differing = [name for name in {**a.metrics, **b.metrics} if a.metrics.get(name) != b.metrics.get(name)]
    values = "; ".join(f"{name}: {a.metrics.get(name)!r} and {b.metrics.get(name)!r}" for name in differing)
    if MUST_AGREE & set(differing):
        raise ValueError(f"the files were scored against other references or with another tokenizer ({values}).")
    if differing:
        logger.warning("the files were scored with other versions: %s", values)
    moved = [key for key, image in a.images.items() if image != b.images[key]]
    if moved:
        raise ValueError(f"the files disagree about the image of {count_and_list(moved)}.")


def choose_metrics(a: ScoredFile, b: ScoredFile, asked: Sequence[str] | None) -> list[str]:
    """The metrics to compare, in the order of the first file.

    Raises:
        ValueError: If a metric was asked for that is not in both files, or there is none that is.
    """
    both = _without_other_clip([name for name in a.names if name in b.names], a, b, asked)
    missing = [name for name in asked or () if name not in both]
    if missing or not both:
        raise ValueError(
            f"{', '.join(missing) or 'metrics'}: not in both files; both have: {', '.join(both) or 'none'}."
        )
    alone = [*(name for name in a.names if name not in b.names), *(name for name in b.names if name not in a.names)]
    if alone and asked is None:
        logger.warning("left out, as they are not in both files: %s", ", ".join(alone))
    return [name for name in both if asked is None or name in asked]


def _without_other_clip(names: Sequence[str], a: ScoredFile, b: ScoredFile, asked: Sequence[str] | None) -> list[str]:
    """The metrics, without those of two CLIP models, whose cosines have nothing to do with each other.

    Raises:
        ValueError: If one of these was asked for.
    """
    weights = [find_at(file.metrics, "clip.weights_sha256") for file in (a, b)]
    of_two = [name for name in names if METRICS[name].needs_pictures and weights[0] != weights[1]]
    if unfit := [name for name in of_two if name in (asked or ())]:
        raise ValueError(f"{', '.join(unfit)}: of two CLIP models, whose numbers cannot be compared.")
    if of_two and asked is None:
        logger.warning("left out, as they are of two CLIP models: %s", ", ".join(of_two))
    return [name for name in names if name not in of_two]


def sum_images(file: ScoredFile, names: Sequence[str]) -> ImageSums:
    """What each image adds to these metrics.

    Raises:
        ValueError: If an example lacks one of them.
    """
    import numpy as np

    from metrics.confidence import ImageSums

    rows = [file.per_image[key] for key in file.images]

    def column(name: str, *shape: int) -> FloatArray:
        try:
            values = np.array([row[name] for row in rows])
        except (KeyError, TypeError, ValueError):
            values = np.array(None)
        if values.dtype.kind not in "if" or values.shape != (len(rows), *shape) or not np.isfinite(values).all():
            kind = f"{shape[0]} numbers" if shape else "a number"
            raise ValueError(f"{file.path}: not every example under per_image has {kind} as {name!r}.")
        return values.astype(np.float64)

    return ImageSums.from_examples(
        list(file.images.values()),
        {name: column(name) for name in names},
        {
            measurement.name: column(measurement.statistics_key, measurement.num_statistics)
            for measurement in measurements_of(names)
            if measurement.num_statistics
        },
    )


def format_table(tests: Mapping[str, PairedTest]) -> str:
    """The outcome for people, one line for each metric."""
    width = max([8, *map(len, tests)])
    lines = [f"{'':{width}} {'A':>8} {'B':>8} {'B - A':>8}   {'95% interval':^18} {'p':>7}"]
    lines += [
        f"{name:{width}} {a:8.4f} {b:8.4f} {difference:+8.4f}   [{low:+.4f}, {high:+.4f}] {p:7.4f}"
        for name, (a, b, difference, low, high, p) in tests.items()
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
