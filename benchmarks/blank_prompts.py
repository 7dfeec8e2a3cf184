"""Masked captions for a language model, which has no token for what is masked: blanks in words, or a borrowed token.

    python benchmarks/blank_prompts.py --out work_dir/blank_prompts --seeds 3 --epochs 30

Trains a tiny SmolVLM of random weights on drawn scenes in three ways: without masked captions, with the prompt that
language models get (``fill in every ____ of ...``), and with OFA's prompt and ``<|endoftext|>`` for what is masked.
Prints one JSON object a run: nats per token of masked captions in the first and last ten steps; of masked validation
captions after the training, masked in the same places for all; of validation captions with their pictures; CIDEr.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import random
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

import finetune
import models.hf.smolvlm as smolvlm
from models import open_captioner
from preprocessors.pictures.drawn_scenes import write_drawn_scenes
from preprocessors.text.masking import CaptionMasker
from preprocessors.text.styles import StyleRegistry
from tests.hf_folders import WORDS, write_smolvlm
from utils.io import encode_json, read_json, read_jsonl, write_json

WAYS = ("without", "blanks", "borrowed")
BORROWED = "<|endoftext|>"
STEPS = 10


def main() -> None:
    """Train each way with each seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for data and runs")
    for name, default in (("seeds", 3), ("epochs", 30), ("pictures", 60)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--weight", type=float, default=0.5, help="of the masked captions (default: %(default)s)")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    scenes = options.out / "scenes"
    write_drawn_scenes(scenes, num_train=options.pictures, num_val=20, size=32, val_size=32)
    captions = [text for _, row in read_jsonl(scenes / "train.jsonl") for text in row["captions"]]
    write_smolvlm(options.out / "start", [*captions, *WORDS], hidden_size=48, num_hidden_layers=3)
    for seed in range(1, options.seeds + 1):
        for way in options.ways:
            with _token_for_masks(BORROWED if way == "borrowed" else None):
                weight = 0.0 if way == "without" else options.weight
                found = measure(way, weight, seed, options.epochs, options.out)
            sys.stdout.write(encode_json(found).decode() + "\n")
            sys.stdout.flush()


@contextlib.contextmanager
def _token_for_masks(token: str | None) -> Iterator[None]:
    kept = smolvlm.TOKENS
    smolvlm.TOKENS = kept._replace(mask=token)
    try:
        yield
    finally:
        smolvlm.TOKENS = kept


def measure(way: str, weight: float, seed: int, epochs: int, out: Path) -> dict[str, Any]:
    """A run, and what became of it."""
    run, conf = out / f"{way}_{seed}", out / f"{way}_{seed}.json"
    write_json(conf, _document(out, run, weight, seed, epochs))
    with contextlib.redirect_stdout(io.StringIO()):
        if finetune.main(["--conf", str(conf)]):
            raise SystemExit(f"{run}: did not finish; see its log.txt")
    rows = [row for _, row in read_jsonl(run / "metrics.jsonl")]
    masked = [row["train/masked_lm"] for row in rows if "train/masked_lm" in row]
    return {
        "way": way,
        "weight": weight,
        "seed": seed,
        "masked_first": statistics.fmean(masked[:STEPS]) if masked else None,
        "masked_last": statistics.fmean(masked[-STEPS:]) if masked else None,
        "masked_validation": masked_nll(run / "output", out / "scenes"),
        "validation": [row["val/nll"] for row in rows if "val/nll" in row][-1],
        "CIDEr": read_json(run / "eval/val.json")["overall"]["CIDEr"],
    }


def _document(out: Path, run: Path, weight: float, seed: int, epochs: int) -> dict[str, Any]:
    scenes = out / "scenes"
    return {
        "model": {"name": str(out / "start")},
        "data": {
            "format": "jsonl",
            "annotations": str(scenes),
            "images": str(scenes / "images"),
            "picture_record": str(out / "pictures"),
        },
        "image": {"size": 32},
        "style": {"inject": "token"},
        "train": {"epochs": epochs, "batch_size": 24, "lr": 3e-3, "seed": seed},
        "masked_lm": {"weight": weight},
        "decode": {"num_beams": 1, "max_length": 24},
        "eval": {"batch_size": 24, "samples": 2, "report_images": 2, "metrics": ["CIDEr"]},
        "work_dir": str(run),
    }


@torch.no_grad()
def masked_nll(folder: Path, scenes: Path) -> float:
    """Nats per token of the validation captions behind their masked prompts."""
    captioner = open_captioner(folder)
    registry = StyleRegistry.load_from_dir(folder)
    rates = {"mask_rate": 0.3, "style_word_rate": 0.3, "mask_style_rate": 0.0}
    masker = CaptionMasker(captioner.tokenizer, registry, {}, max_source_length=200, **rates)
    generator, total, tokens = random.Random(0), 0.0, 0
    for _, row in read_jsonl(scenes / "val.jsonl"):
        for caption in row["captions"]:
            source = torch.tensor([masker.mask(caption, row["style"], generator)])
            said = [*captioner.tokenizer.encode_text(caption), captioner.tokenizer.eos_token_id]
            logits = captioner.logits(captioner.encode({"input_ids": source}), torch.tensor([said]))[0]
            total += torch.nn.functional.cross_entropy(logits, torch.tensor(said), reduction="sum").item()
            tokens += len(said)
    return total / tokens


if __name__ == "__main__":
    main()
