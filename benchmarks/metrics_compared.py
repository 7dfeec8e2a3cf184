"""Our caption metrics beside other packages': which there are, whether they are equal, how long they take.

    pip install --no-deps --target PEERS aac-metrics==0.6.0 pythonwrench==0.3.0 torchmetrics==1.9.0 lightning-utilities
    python benchmarks/metrics_compared.py --data ../shared/data --peers PEERS --turns 3

Each image of Flickr8k has its first caption scored against the other four, tokenised before. Every package computes in
a process of its own, the packages in turn; those that cannot be imported are left out and named. Prints one JSON: by
package its version and by metric the corpus score, how far it is from pycocoevalcap's, and the median seconds of a
process that computes it, start of Python and Java included.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from benchmarks.metrics_speed import read_flickr8k, timed, tokenized  # noqa: E402

MOST_SECONDS = 1800
_BEGIN = """
import json, sys
with open(sys.argv[1], encoding="utf-8") as file:
    references, hypotheses = json.load(file)
sys.stdout, stdout = sys.stderr, sys.stdout
"""
_END = """
print(json.dumps({name: float(value) for name, value in found.items()}), file=stdout)
"""
# What it imports at its start and needs for other metrics would take gigabytes; its METEOR refuses Java above 13.
_AAC = """
import os
from unittest.mock import MagicMock
sys.modules |= {name: MagicMock() for name in ("msclap", "sentence_transformers")}
from aac_metrics.functional import bleu, cider_d, meteor, rouge_l
sys.modules["aac_metrics.functional.meteor"].check_java_path = lambda path: True
captions, listed = [texts[0] for texts in hypotheses.values()], list(references.values())
"""
_TORCH = """
from torchmetrics.functional.text import bleu_score, rouge_score
captions, listed = [texts[0] for texts in hypotheses.values()], list(references.values())
"""
_OURS = """
from metrics.coco import score_captions
found = score_captions(references, {key: texts[0] for key, texts in hypotheses.items()}, metrics=METRICS).overall
"""


class Package(NamedTuple):
    """Somebody's metrics."""

    module: str
    distribution: str | None
    programs: Mapping[str, str]
    """By what is measured in one process the program that leaves its numbers in ``found``."""


PACKAGES = {
    "ours": Package(
        "metrics",
        None,
        {
            "BLEU": _OURS.replace("METRICS", "['Bleu_1', 'Bleu_2', 'Bleu_3', 'Bleu_4']"),
            "ROUGE-L": _OURS.replace("METRICS", "['ROUGE_L']"),
            "CIDEr": _OURS.replace("METRICS", "['CIDEr']"),
            "METEOR": _OURS.replace("METRICS", "['METEOR']"),
        },
    ),
    "pycocoevalcap": Package(
        "pycocoevalcap",
        "pycocoevalcap",
        {
            "BLEU": """
from pycocoevalcap.bleu.bleu import Bleu
scores = Bleu(4).compute_score(references, hypotheses)[0]
found = {f"Bleu_{n}": score for n, score in enumerate(scores, start=1)}
""",
            "ROUGE-L": """
from pycocoevalcap.rouge.rouge import Rouge
found = {"ROUGE_L": Rouge().compute_score(references, hypotheses)[0]}
""",
            "CIDEr": """
from pycocoevalcap.cider.cider import Cider
found = {"CIDEr": Cider().compute_score(references, hypotheses)[0]}
""",
            "METEOR": """
from pycocoevalcap.meteor.meteor import Meteor
found = {"METEOR": Meteor().compute_score(references, hypotheses)[0]}
""",
        },
    ),
    "aac-metrics": Package(
        "aac_metrics",
        "aac-metrics",
        {
            "BLEU": _AAC + "values = bleu(captions, listed, return_1_to_n=True)[0]['bleu_1_to_4'].tolist()\n"
            'found = {f"Bleu_{n}": value for n, value in enumerate(values, start=1)}\n',
            "ROUGE-L": _AAC + 'found = {"ROUGE_L": rouge_l(captions, listed)[0]["rouge_l"]}\n',
            "CIDEr": _AAC + 'found = {"CIDEr": cider_d(captions, listed)[0]["cider_d"]}\n',
            "METEOR": _AAC
            + 'found = {"METEOR": meteor(captions, listed, cache_path=os.environ["METEOR_CACHE"])[0]["meteor"]}\n',
        },
    ),
    "torchmetrics": Package(
        "torchmetrics",
        "torchmetrics",
        {
            "BLEU": _TORCH + 'found = {f"Bleu_{n}": bleu_score(captions, listed, n_gram=n) for n in (1, 2, 3, 4)}\n',
            "ROUGE-L": _TORCH
            + 'found = {"ROUGE_L": rouge_score(captions, listed, rouge_keys="rougeL")["rougeL_fmeasure"]}\n',
        },
    ),
}


def main() -> None:
    """Measure all packages that are there."""
    shared = Path(os.environ.get("STYLECAP_SHARED", REPOSITORY.parent / "shared"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=shared / "data", help="folder with flickrstyle/ and the others")
    parser.add_argument("--peers", type=Path, help="folder of packages that are not installed here")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--images", type=int, help="the first so many; all if not given")
    options = parser.parse_args()
    captions = dict(list(read_flickr8k(options.data)[0].items())[: options.images])
    references = tokenized({image: own[1:] for image, own in captions.items()})
    hypotheses = tokenized({image: own[:1] for image, own in captions.items()})
    if options.peers is not None:
        sys.path.append(str(options.peers.resolve()))
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "captions.json"
        written.write_text(json.dumps([references, hypotheses]), encoding="utf-8")
        print(json.dumps({"images": len(captions), **compare(written, options.turns)}))


def compare(written: Path, turns: int) -> dict[str, Any]:
    """What is printed of these captions.

    Args:
        written: JSON of references and hypotheses.
        turns: How often each is measured.
    """
    there = {name: package for name, package in PACKAGES.items() if find_spec(package.module) is not None}
    cache = meteor_cache(written.parent)
    taken: dict[tuple[str, str], list[float]] = {}
    values: dict[str, dict[str, float]] = {}
    for _ in range(turns):
        for measured in ("BLEU", "ROUGE-L", "CIDEr", "METEOR"):
            for name, package in there.items():
                if measured in package.programs:
                    seconds, found = timed(lambda p=package, m=measured: run(p.programs[m], written, cache))
                    taken.setdefault((name, measured), []).append(seconds)
                    values.setdefault(name, {}).update(found)
    expected = values["pycocoevalcap"]
    return {
        "missing": [name for name in PACKAGES if name not in there],
        "packages": {
            name: {
                "version": package.distribution and version(package.distribution),
                "seconds": {m: statistics.median(times) for (own, m), times in taken.items() if own == name},
                "values": values[name],
                "differences": {metric: abs(value - expected[metric]) for metric, value in values[name].items()},
            }
            for name, package in there.items()
        },
    }


def run(program: str, written: Path, cache: Path) -> dict[str, float]:
    """What a program finds, in a process of its own."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "METEOR_CACHE": str(cache)}
    command = [sys.executable, "-c", _BEGIN + program + _END, str(written)]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, env=environment, cwd=REPOSITORY, check=True, timeout=MOST_SECONDS
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def meteor_cache(folder: Path) -> Path:
    """A folder in which aac-metrics finds METEOR, which it would download: pycocoevalcap's."""
    package = find_spec("pycocoevalcap")
    if package is None or not package.submodule_search_locations:
        raise FileNotFoundError("pycocoevalcap is not installed; run `pip install pycocoevalcap==1.2`")
    place = folder / "cache" / "aac-metrics"
    place.mkdir(parents=True)
    (place / "meteor").symlink_to(Path(package.submodule_search_locations[0]) / "meteor")
    return folder / "cache"


if __name__ == "__main__":
    main()
