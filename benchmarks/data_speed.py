"""Pictures a second from files to a model's input: a plain torch Dataset as the original had it, and ours.

    OMP_NUM_THREADS=1 python benchmarks/data_speed.py

The plain one opens a picture with Pillow, converts it to RGB, resizes its shorter side to 256, crops 224 from the
middle, makes a float tensor and normalises it, all in the worker. Ours decodes and resizes to 224 in the worker, ships
uint8 and normalises in the main process, which on a GPU would be the GPU: with Pillow's resizing, with PyTorch's, and
with the resized pictures kept. Both load with as many workers in batches of as many rows; the ways take turns, and
each ratio is of one round. JPEGs are drawn for the purpose, with the spectrum of photos; those of twice 224 pixels
along both sides can be decoded at half their size by PyTorch's way, others cannot.

Prints one JSON object: by way the median over the rounds of its ratio to the plain one, with the lowest and highest, by
the clock and by CPU time of all processes, their start included, which tells more where other programs hold the cores.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from preprocessors.collator import CaptionCollator, with_normalised
from preprocessors.dataset import CaptionDataset
from preprocessors.examples import CaptionExample
from preprocessors.ofa import OFAStylePreprocessor
from preprocessors.pictures.images import ImageTransform, Resizer
from preprocessors.pictures.picture_cache import open_pictures
from preprocessors.text.styles import StyleRegistry
from preprocessors.workers import worker_init

TARGET, BEFORE_CROP = 224, 256
MIB_KEPT = 4096


class Rate(NamedTuple):
    """Pictures a second."""

    clock: float
    cpu: float


class PlainDataset(Dataset[Tensor]):
    """What the original did with a picture; its captions are no part of this benchmark."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths
        self.mean = self.std = torch.full((3, 1, 1), 0.5)

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.paths)

    def __getitem__(self, row: int) -> Tensor:
        """Pixels of a row, float32 (3, 224, 224)."""
        image = Image.open(self.paths[row]).convert("RGB")
        scale = BEFORE_CROP / min(image.size)
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
        left, top = (image.width - TARGET) // 2, (image.height - TARGET) // 2
        image = image.crop((left, top, left + TARGET, top + TARGET))
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div(255)
        return pixels.sub(self.mean).div(self.std)


class _Words:
    """A tokenizer that costs nothing."""

    bos_token_id, pad_token_id, eos_token_id = 0, 1, 2

    def encode_text(self, text: str, max_length: int | None = None) -> list[int]:
        return [3] * len(text.split()[:max_length])

    def decode_caption(self, token_ids: Sequence[int]) -> str:
        return " ".join(map(str, token_ids))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=300)
    parser.add_argument("--width", type=int, default=500)
    parser.add_argument("--height", type=int, default=500)
    parser.add_argument("--quality", type=int, default=75)
    parser.add_argument("--repeats", type=int, default=8, help="rows of a picture, far from each other")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch", type=int, default=32)
    asked = parser.parse_args()
    if asked.pictures < asked.batch:
        parser.error("--pictures: fewer than --batch would share their pixels")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        paths = draw_photos(Path(scratch), asked.pictures, asked.width, asked.height, asked.quality)
        ways = make_ways(paths * asked.repeats, Path(scratch) / "kept", asked.workers, asked.batch)
        rates: dict[str, list[Rate]] = {name: [] for name in ways}
        for way in ways.values():
            way()  # files and code are in memory for all of them
        for _ in range(asked.rounds):
            for name, way in ways.items():
                rates[name].append(way())
    print(json.dumps({name: summarise(values, rates["plain"]) for name, values in rates.items()} | vars(asked)))


def summarise(rates: Sequence[Rate], plain: Sequence[Rate]) -> dict[str, Any]:
    """Of one way over the rounds."""
    found: dict[str, Any] = {}
    for name in Rate._fields:
        own, others = ([getattr(rate, name) for rate in given] for given in (rates, plain))
        ratios = [rate / other for rate, other in zip(own, others, strict=True)]
        found[name] = {
            "pictures_per_second": round(statistics.median(own)),
            "ratio": [round(number, 2) for number in (statistics.median(ratios), min(ratios), max(ratios))],
        }
    return found


def draw_photos(folder: Path, count: int, width: int, height: int, quality: int) -> list[Path]:
    """JPEGs whose power falls with the square of the frequency, as that of photos does."""
    paths = []
    for number in range(count):
        draw = np.random.default_rng(number)
        frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
        frequency[0, 0] = np.inf
        spectrum = np.fft.rfft2(draw.normal(size=(3, height, width))) / frequency
        layers = np.fft.irfft2(spectrum, (height, width))
        layers = 0.8 * layers[:1] + 0.4 * layers  # mostly light, some colour
        layers = (layers - layers.mean()) / layers.std()
        pixels = np.clip(128 + 55 * layers, 0, 255).astype(np.uint8).transpose(1, 2, 0)
        paths.append(folder / f"{number}.jpg")
        Image.fromarray(pixels).save(paths[-1], quality=quality)
    return paths


def make_ways(rows: Sequence[Path], kept: Path, workers: int, batch: int) -> dict[str, Callable[[], Rate]]:
    """Functions that load an epoch and return pictures a second."""

    def plain() -> Iterator[Tensor]:
        yield from DataLoader(PlainDataset(rows), batch_size=batch, num_workers=workers)

    def ours(transform: ImageTransform) -> Iterator[Tensor]:
        examples = [CaptionExample(f"{n}", path, "calm", ("a dog",), "rows", n) for n, path in enumerate(rows)]
        preprocessor = OFAStylePreprocessor(_Words(), StyleRegistry(["calm"]), image_transform=transform)
        loader: DataLoader[Any] = DataLoader(
            CaptionDataset(examples, preprocessor, training=True),
            batch_size=batch,
            num_workers=workers,
            collate_fn=CaptionCollator(1),
            worker_init_fn=worker_init(),
        )
        for item in loader:
            yield with_normalised(item, transform)["patch_images"]

    def transform_of(resizer: Resizer, keeps: bool = False) -> ImageTransform:
        transform = ImageTransform(TARGET, resizer=resizer)
        size = (TARGET, TARGET)
        found = open_pictures(kept, size, resizer, rows, limit_mb=MIB_KEPT) if keeps else None
        if found is not None:
            transform.kept[size] = found
        return transform

    return {
        "plain": partial(_rate, plain, len(rows)),
        "pillow": partial(_rate, partial(ours, transform_of("pillow")), len(rows)),
        "torch": partial(_rate, partial(ours, transform_of("torch")), len(rows)),
        "kept": partial(_rate, partial(ours, transform_of("torch", keeps=True)), len(rows)),
    }


def _rate(epoch: Callable[[], Iterator[Tensor]], expected: int) -> Rate:
    before, start = _cpu_seconds(), time.perf_counter()
    seen = 0
    for pixels in epoch():
        assert pixels.dtype == torch.float32
        seen += len(pixels)
    assert seen == expected
    return Rate(seen / (time.perf_counter() - start), seen / (_cpu_seconds() - before))


def _cpu_seconds() -> float:
    """Of this process and the workers that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in used)


if __name__ == "__main__":
    main()
