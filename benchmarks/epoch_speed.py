"""What a caption costs in a cross-entropy epoch on FlickrStyle: rows apart, rows that share pictures, K captions a row.

    OMP_NUM_THREADS=1 python benchmarks/epoch_speed.py --shared ../shared

Prints one JSON object. For each model and picture size, whole training steps are timed (loading, forward, backward,
clipping, AdamW; batch statistics in training), every way in turn, several times: captions a second, and ratios to the
way that they are compared with, within a turn: median, lowest, highest; by the clock, and by the CPU time of the
process, which says more on a machine that does other things meanwhile (with one thread: threads that wait for others
cost CPU time too). All ways of a model learn about as many captions a step. ``tiny`` has OFA's published vocabulary,
and random weights; ``nano`` a BPE of its own.

All styles: ``apart_before`` (rows in random order, and padding is projected onto the vocabulary too), ``apart`` (it is
not), ``pictures`` (``train.group_pictures``: a photo's three styles meet),
``pictures_lengths`` (``train.group_lengths`` as well), ``pictures_lengths_k5`` (and ``train.captions_per_row`` 5: a
photo's seven captions). The factual style alone, five captions a photo as in COCO: ``factual_before`` and
``factual`` (a caption a row), ``factual_lengths``, ``factual_k5`` and ``factual_lengths_k5``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from benchmarks.training_steps import endless, step
from configuration.loading import load_config
from models.ofa import OFAConfig, OFAForConditionalGeneration, OFATokenizer
from models.ofa.configuration_ofa import PRESETS
from models.ofa.folder import save_ofa
from pipeline.prepare import prepare
from pipeline.training import build_trainer, training_arguments


class Way(NamedTuple):
    """Settings of a way to train, and the ways that it is compared with."""

    train: dict[str, Any]
    against: tuple[str, ...] = ()
    styles: list[str] | None = None
    captions_per_row: float = 1.0
    padded: bool = False
    """Logits and losses where captions are filled up, too, as it was before the tokens that count were picked."""


class Padded(dict[str, float]):
    """No terms beside cross-entropy, but taken for some: then the trainer keeps every place of a batch."""

    def __bool__(self) -> bool:
        return True


ALL = ("apart_before", "apart")
ONE = ("factual_before", "factual")
FACTUAL = ["factual"]
K5 = {"captions_per_row": 5}
LENGTHS = {"group_lengths": True}
PICTURES = {"group_pictures": True}
WAYS = {
    "apart_before": Way({}, padded=True),
    "apart": Way({}, ALL[:1]),
    "pictures": Way(PICTURES, ALL),
    "pictures_lengths": Way(PICTURES | LENGTHS, ALL),
    "pictures_lengths_k5": Way(PICTURES | LENGTHS | K5, ALL, None, 7 / 3),
    "factual_before": Way({}, (), FACTUAL, padded=True),
    "factual": Way({}, ONE[:1], FACTUAL),
    "factual_lengths": Way(LENGTHS, ONE, FACTUAL),
    "factual_k5": Way(K5, ONE, FACTUAL, 5),
    "factual_lengths_k5": Way(LENGTHS | K5, ONE, FACTUAL, 5),
}


class Rates(NamedTuple):
    """Captions a second."""

    by_clock: float
    by_cpu: float


class Place(NamedTuple):
    """A model at a picture size."""

    preset: str
    size: int
    captions: int
    """Of a step."""


PLACES = [Place("nano", 64, 60), Place("nano", 96, 60), Place("tiny", 224, 30)]
PHOTOS = 600
"""Of the training split; an epoch of all 6,000 goes on alike."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="holds data/flickrstyle, data/ofa_bpe")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3, help="of a turn")
    parser.add_argument("--places", nargs="+", default=[f"{place.preset}-{place.size}" for place in PLACES])
    options = parser.parse_args()
    found = {"turns": options.turns, "steps": options.steps, "threads": torch.get_num_threads()}
    for place in PLACES:
        name = f"{place.preset}-{place.size}"
        if name in options.places:
            with tempfile.TemporaryDirectory() as scratch:
                found[name] = measure(place, options, Path(scratch))
    print(json.dumps(found, indent=1))


def measure(place: Place, options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """All ways at one place."""
    document = make_document(place, options.shared, scratch)
    turns = {name: training_run(document, place, way, scratch / name) for name, way in WAYS.items()}
    rates: dict[str, list[Rates]] = {name: [] for name in turns}
    for number in range(options.turns):
        for name, turn in turns.items():
            rates[name].append(turn(options.steps))
        print(f"{place.preset}-{place.size}: turn {number + 1} of {options.turns}", file=sys.stderr)
    return {name: describe(rates[name], {other: rates[other] for other in way.against}) for name, way in WAYS.items()}


def describe(rates: list[Rates], others: dict[str, list[Rates]]) -> dict[str, Any]:
    """Medians of a way, and its ratios to others."""
    found: dict[str, Any] = {}
    for clock in Rates._fields:
        own = [getattr(rate, clock) for rate in rates]
        found[clock] = round(statistics.median(own), 2)
        for name, their in others.items():
            ratios = [value / getattr(other, clock) for value, other in zip(own, their, strict=True)]
            spread = (statistics.median(ratios), min(ratios), max(ratios))
            found[f"{clock}_to_{name}"] = "{:.2f} ({:.2f}-{:.2f})".format(*spread)
    return found


def make_document(place: Place, shared: Path, scratch: Path) -> dict[str, Any]:
    """The configuration that all ways have in common, on some of the photos."""
    folder = shared / "data/flickrstyle"
    records = json.loads((folder / "captions.json").read_text())
    train = [record for record in records if record["flickr8k_split"] == "train"][:PHOTOS]
    held_out = [record for record in records if record["flickr8k_split"] == "dev"][:8]
    (scratch / "captions.json").write_text(json.dumps(train + held_out))
    model: dict[str, Any] = {"preset": place.preset, "bpe_size": 3000}
    if place.preset == "tiny":
        tokenizer = OFATokenizer.load_from_dir(shared / "data/ofa_bpe")
        torch.manual_seed(0)
        config = OFAConfig(**PRESETS["tiny"], vocab_size=len(tokenizer), text_vocab_size=tokenizer.text_vocab_size)
        save_ofa(scratch / "model", OFAForConditionalGeneration(config), tokenizer)
        model = {"name": str(scratch / "model")}
    data = {"format": "flickrstyle", "annotations": str(scratch), "images": str((folder / "photos_160").resolve())}
    return {"model": model, "data": data, "image": {"size": place.size}, "style": {"neutral": "factual"}}


def training_run(document: dict[str, Any], place: Place, way: Way, folder: Path) -> Callable[[int], Rates]:
    """A function that trains so many steps and returns captions a second."""
    rows = round(place.captions / way.captions_per_row)
    own = {"train": {"batch_size": rows, **way.train}, "work_dir": str(folder)}
    data = document["data"] | ({} if way.styles is None else {"styles": way.styles})
    folder.mkdir()
    (folder / "conf.json").write_text(json.dumps(document | own | {"data": data}))
    config = load_config(folder / "conf.json")
    trainer = build_trainer(training_arguments(config), prepare(config))
    trainer.create_optimizer_and_scheduler(10_000)
    trainer.current_gradient_accumulation_steps, trainer._tr_loss = 1, torch.zeros(())  # the loop does that
    if way.padded:
        trainer.objective = replace(trainer.objective, weights=Padded())
    batches = endless(trainer)

    def turn(steps: int) -> Rates:
        captions, start, cpu_start = 0, time.perf_counter(), time.process_time()
        for _ in range(steps):
            batch = next(batches)
            captions += int(batch["labels"][..., 0].ne(-100).sum())
            step(trainer, batch)
        return Rates(captions / (time.perf_counter() - start), captions / (time.process_time() - cpu_start))

    turn(1)
    return turn


if __name__ == "__main__":
    main()
