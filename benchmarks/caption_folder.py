"""Caption a folder of photos in three styles: ``finetune.py caption`` against one beam search per picture and style.

    python benchmarks/caption_folder.py                                  # 1,000 photos, OFA-tiny with random weights
    python benchmarks/caption_folder.py --photos 20 --parts 2 --size nano --image 64
    python benchmarks/caption_folder.py --model work_dir/demo/output

Prints one JSON object: captions a second of both, and how many times faster the command is: over everything, and of
each part. The photos are dealt into parts, and each part is captioned both ways before the next, so that both see the
same machine. Ours is the command's own code, from the folder to rows in a JSON Lines file, with log-probabilities and
whether captions were cut. The other reads a picture, encodes it, searches and decodes for every picture and style by
itself, as a loop over ``generate`` does, with the same model, rules and threads. Random weights write captions up to
the limit of their length, which is what costs most.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from captioning.job import caption_into
from captioning.model import CaptionModel
from captioning.outputs.table import open_output
from captioning.outputs.target import Target
from captioning.sources import find_pictures
from captioning.styled import StyledCaptioner, open_styled
from captioning.wanted import WantedPicture, in_styles
from captioning.writing import Writing
from models.captioner import NewModel
from models.ofa.captioner import OFACaptioner
from models.settings import CaptionerSettings, Decoding
from preprocessors.collator import CaptionCollator, encode_together, with_normalised
from preprocessors.examples import CaptionExample
from preprocessors.pictures.images import MEAN_STD
from preprocessors.text.styles import StyleRegistry
from utils.io import read_jsonl

SHARED = Path(os.environ.get("STYLECAP_SHARED", Path(__file__).resolve().parents[2] / "shared"))
STYLES = ("humorous", "romantic", "pirate")
PROMPT = " what does the image describe? write a {} reply."


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=SHARED / "data/flickrstyle/photos_160", help="of photos")
    parser.add_argument("--model", type=Path, help="trained folder; random weights if not given")
    parser.add_argument("--size", default="tiny", help="of random weights")
    for name, default in (("photos", 1000), ("parts", 10), ("image", 224), ("threads", 2), ("batch", 16)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as scratch:
        print(json.dumps(measure(options, Path(scratch))))


def measure(options: argparse.Namespace, scratch: Path) -> dict[str, object]:
    """All parts, both ways."""
    folder = options.model or random_model(scratch / "model", options.size, options.image)
    model, single = CaptionModel.open(folder), Single(folder)
    styles = model.styles[:3]
    pictures = in_styles(find_pictures([options.folder])[: options.photos], styles, model.style)
    caption(model, pictures[:2], scratch / "warm.jsonl", options.batch)
    single.caption(pictures[:2])
    seconds: dict[str, list[float]] = {"ours": [], "single": []}
    written: dict[tuple[str, str], str] = {}
    for part in range(options.parts):
        share = pictures[part :: options.parts]
        start = time.perf_counter()
        caption(model, share, scratch / "captions.jsonl", options.batch)
        between = time.perf_counter()
        written |= single.caption(share)
        seconds["ours"].append(between - start)
        seconds["single"].append(time.perf_counter() - between)
    rows = [row for _, row in read_jsonl(scratch / "captions.jsonl")]
    same = sum(row["captions"] == [written[row["image"], row["style"]]] for row in rows)
    ratios = sorted(one / ours for one, ours in zip(seconds["single"], seconds["ours"], strict=True))
    return {
        **{name: value for name, value in vars(options).items() if name not in ("folder", "model")},
        "model": "random" if options.model is None else model.name,
        "captions": len(rows),
        "same_captions": same,
        **{f"{name}_captions_per_second": round(len(rows) / sum(taken), 2) for name, taken in seconds.items()},
        "ratio": round(sum(seconds["single"]) / sum(seconds["ours"]), 2),
        "ratio_of_parts": [round(value, 2) for value in (ratios[0], statistics.median(ratios), ratios[-1])],
    }


def random_model(folder: Path, size: str, image: int) -> Path:
    """A model folder with random weights, and a BPE of no captions in particular."""
    texts = [f"a small dog number {number} runs over the green grass near a fence" for number in range(1000)]
    prompts = [PROMPT.format(style) for style in STYLES]
    captioner = OFACaptioner.new(NewModel(size, {}, texts, prompts, 1000, 0, 0))
    settings = CaptionerSettings(
        *(image, image, MEAN_STD["half"], PROMPT, PROMPT.format("neutral"), STYLES, Decoding(min_length=8))
    )
    StyledCaptioner(captioner, StyleRegistry(STYLES), settings).save_to_dir(folder)
    return folder


def caption(model: CaptionModel, pictures: list[WantedPicture], out: Path, batch_size: int) -> None:
    """As the command does it."""
    target = Target(out, sys.stdout, pictures, skip_existing=True)
    caption_into(open_output("jsonl", target), model, pictures, Writing(), batch_size=batch_size)


class Single:
    """A call for each picture and style."""

    def __init__(self, folder: Path) -> None:
        styled = open_styled(folder)
        assert styled.settings is not None
        self.captioner, self.preprocessor, self.decoding = (
            styled.captioner,
            styled.preprocessor(),
            styled.settings.decoding,
        )
        self.collate = CaptionCollator(styled.captioner.tokenizer.pad_token_id)

    @torch.no_grad()
    def caption(self, pictures: list[WantedPicture]) -> dict[tuple[str, str], str]:
        """Captions by picture and style."""
        found = {}
        for picture in pictures:
            for style in picture.styles():
                example = CaptionExample(picture.name, picture.path, style, ("",))
                batch = self.collate(encode_together(self.preprocessor, [(0, example)]))
                inputs = with_normalised(batch, self.preprocessor.image_transform)
                token_ids = self.captioner.beams(self.captioner.encode(inputs), self.decoding)
                tokens = [token for token in token_ids[0].tolist() if token >= 0]
                found[picture.name, style] = self.preprocessor.decode(tokens)
        return found


if __name__ == "__main__":
    main()
