"""Two ways of training, several seeds each: means with intervals over photos and seeds, and their difference.

    python benchmarks/over_seeds.py --first work_dir/b7 work_dir/b8 --second work_dir/c7 work_dir/c8

Takes ``eval/test.json`` and ``eval/test.captions.json`` of each run, in the same order of seeds. Prints one JSON
object: of CIDEr and of the share that the independent judge (``independent_judge.py``) takes for their style, the
seeds, the mean, the difference of the second from the first, and 95% intervals by resampling photos (with all their
captions) and seeds (with both their runs) 2,000 times.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPOSITORY), str(Path(__file__).resolve().parent)]

from independent_judge import read_people, train_judge  # noqa: E402

from metrics.tokenizers.ptb import tokenize_many  # noqa: E402
from utils.io import read_json  # noqa: E402

RESAMPLES, LEVEL = 2000, 0.95
Table = NDArray[np.float64]


def main() -> None:
    """Read, resample, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = Path(os.environ.get("STYLECAP_SHARED", REPOSITORY.parent / "shared"))
    parser.add_argument("--first", nargs="+", type=Path, required=True, help="run folders, one a seed")
    parser.add_argument("--second", nargs="+", type=Path, required=True, help="run folders of the same seeds")
    parser.add_argument("--data", type=Path, default=shared / "data/flickrstyle", help="default: %(default)s")
    options = parser.parse_args()
    judge = train_judge(*read_people(options.data, "train"))
    result = {}
    for name, read in (("CIDEr", cider_of_photos), ("judge", lambda run: hits_of_photos(run, judge))):
        first, second = (np.stack([read(run) for run in runs]) for runs in (options.first, options.second))
        result[name] = compare(first, second)
    print(json.dumps(result))


def cider_of_photos(run: Path) -> Table:
    """Mean CIDEr of each photo's captions, in the order of their names."""
    rows = read_json(run / "eval/test.json")["per_image"].values()
    return _by_photo([row["image"] for row in rows], [row["CIDEr"] for row in rows])


def hits_of_photos(run: Path, judge: Any) -> Table:
    """Share of each photo's captions that the judge takes for their own style, in the order of their names."""
    rows = read_json(run / "eval/test.captions.json")
    found = judge.predict(tokenize_many([row["caption"] for row in rows]))
    return _by_photo([row["image_id"] for row in rows], found == [row["style"] for row in rows])


def _by_photo(photos: Sequence[str], values: Any) -> Table:
    names, places = np.unique(photos, return_inverse=True)
    sums = np.bincount(places, weights=np.asarray(values, float), minlength=len(names))
    return np.asarray(sums / np.bincount(places))


def compare(first: Table, second: Table, seed: int = 0) -> dict[str, Any]:
    """Means, their difference and intervals.

    Args:
        first: Values (seeds, photos); every photo has as many captions.
        second: The same of the other way.
        seed: Of the resampling.
    """
    draws, (seeds, photos) = np.random.default_rng(seed), first.shape
    means = []
    for _ in range(RESAMPLES):
        chosen = np.ix_(draws.integers(seeds, size=seeds), draws.integers(photos, size=photos))
        means.append((first[chosen].mean(), second[chosen].mean()))
    drawn = np.array(means)
    return {
        "first": _describe(first, drawn[:, 0]),
        "second": _describe(second, drawn[:, 1]),
        "difference": _told(second.mean() - first.mean(), drawn[:, 1] - drawn[:, 0]),
    }


def _describe(values: Table, drawn: Table) -> dict[str, Any]:
    return {"seeds": [round(float(mean), 4) for mean in values.mean(1)], **_told(values.mean(), drawn)}


def _told(mean: float, drawn: Table) -> dict[str, Any]:
    ends = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return {"mean": round(float(mean), 4), "interval": [round(float(end), 4) for end in ends]}


if __name__ == "__main__":
    main()
