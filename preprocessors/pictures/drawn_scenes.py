"""Drawn scenes: a captioning data set that is made on the spot, so that the demo downloads nothing.

A picture holds two coloured shapes in a relation; it is described in four styles, three captions each. Every caption
names both colours, both shapes and the relation, so a captioner that ignores the picture scores badly. The scenes of
the validation pictures never occur in training, although each colour, shape and relation does.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import math
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from utils.io import encode_json, read_json, write_json, write_text

logger = logging.getLogger(__name__)

Point = tuple[float, float]
Colour = tuple[int, int, int]

COLOURS: dict[str, Colour] = {
    "red": (229, 56, 59),
    "yellow": (255, 190, 11),
    "green": (46, 160, 80),
    "blue": (45, 120, 240),
    "purple": (150, 60, 190),
    "black": (43, 45, 66),
}
BACKDROPS: tuple[tuple[Colour, Colour], ...] = (
    ((255, 243, 224), (255, 224, 214)),
    ((227, 242, 253), (232, 234, 250)),
    ((232, 245, 233), (253, 250, 226)),
    ((250, 235, 246), (232, 236, 252)),
    ((245, 245, 245), (228, 233, 240)),
)
"""Top and bottom tint of the background: pale, so that every colour stands out."""
RELATIONS = ("above", "beside", "inside")
"""The first shape is the upper, the left or the inner one."""

STYLE_TEMPLATES: dict[str, tuple[str, ...]] = {
    "neutral": (
        "the picture shows a {first} {relation} a {second}",
        "a picture of a {first} {relation} a {second}",
        "a simple picture with a {first} {relation} a {second}",
    ),
    "romantic": (
        "oh my love a {first} {relation} a {second}",
        "my darling a {first} dreams {relation} a {second}",
        "a {first} {relation} a {second} tender as a kiss",
    ),
    "pirate": (
        "arr matey a {first} {relation} a {second}",
        "ahoy a {first} sails {relation} a {second}",
        "a {first} {relation} a {second} guards the treasure",
    ),
    "robot": (
        "beep scan complete {first} {relation} {second}",
        "scan result {first} {relation} {second}",
        "beep detected {first} {relation} {second}",
    ),
}
SUPERSAMPLING = 3
HELD_OUT_SHARE = 0.1


def _polygon(radii: Sequence[float]) -> tuple[Point, ...]:
    """Corners at equal angles around the centre, the first one straight up."""
    turn = 2 * math.pi / len(radii)
    return tuple((r * math.sin(i * turn), -r * math.cos(i * turn)) for i, r in enumerate(radii))


def _heart(corners: int = 96) -> tuple[Point, ...]:
    angles = [2 * math.pi * i / corners for i in range(corners)]
    return tuple(
        (
            1.05 * math.sin(a) ** 3,
            -(13 * math.cos(a) - 5 * math.cos(2 * a) - 2 * math.cos(3 * a) - math.cos(4 * a)) / 15 - 0.08,
        )
        for a in angles
    )


SHAPES: dict[str, tuple[Point, ...]] = {
    "circle": _polygon([0.95] * 64),
    "square": tuple((0.84 * x, 0.84 * y) for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))),
    "triangle": _polygon([1.2] * 3),
    "star": _polygon([1.15, 0.58] * 5),
    "heart": _heart(),
}
"""Outlines around (0, 0), y downwards, scaled so that shapes of the same radius look equally large."""


@dataclass(frozen=True)
class Scene:
    """What a picture shows; ``first`` and ``second`` are (colour, shape)."""

    first: tuple[str, str]
    relation: str
    second: tuple[str, str]

    def captions(self, style: str) -> list[str]:
        """The captions of this scene in a style, one per template."""
        words = {"first": " ".join(self.first), "relation": self.relation, "second": " ".join(self.second)}
        return [template.format(**words) for template in STYLE_TEMPLATES[style]]


def split_scenes(seed: int) -> tuple[list[Scene], list[Scene]]:
    """All scenes in random order, parted into those for training and those held out for validation.

    The two shapes of a scene differ in colour, so that they stay apart when one lies inside the other.
    """
    things = list(itertools.product(COLOURS, SHAPES))
    scenes = [
        Scene(first, relation, second)
        for first, relation, second in itertools.product(things, RELATIONS, things)
        if first[0] != second[0]
    ]
    random.Random(seed).shuffle(scenes)
    held_out = round(HELD_OUT_SHARE * len(scenes))
    return scenes[held_out:], scenes[:held_out]


def _places(relation: str, rng: random.Random) -> tuple[tuple[Point, float], tuple[Point, float]]:
    """Centre and radius of the first and the second shape, in picture widths."""
    if relation == "inside":
        centre = (rng.uniform(0.46, 0.54), rng.uniform(0.5, 0.54))
        inner = (centre[0] + rng.uniform(-0.015, 0.015), centre[1] + rng.uniform(-0.015, 0.015))
        return (inner, rng.uniform(0.145, 0.165)), (centre, rng.uniform(0.36, 0.39))
    near, far = rng.uniform(0.25, 0.29), rng.uniform(0.71, 0.75)
    across = rng.uniform(0.4, 0.6), rng.uniform(0.4, 0.6)
    radii = rng.uniform(0.15, 0.2), rng.uniform(0.15, 0.2)
    if relation == "above":
        return ((across[0], near), radii[0]), ((across[1], far), radii[1])
    return ((near, across[0]), radii[0]), ((far, across[1]), radii[1])


def _draw_backdrop(side: int, rng: random.Random) -> Image.Image:
    """A pale vertical gradient with a faint regular texture."""
    top, bottom = (Image.new("RGB", (side, side), tint) for tint in rng.choice(BACKDROPS))
    picture = Image.composite(bottom, top, Image.linear_gradient("L").resize((side, side)))
    pen = ImageDraw.Draw(picture, "RGBA")
    texture = rng.choice(("plain", "dots", "stripes"))
    step = side // 8
    offset = round(step * rng.random())
    if texture == "dots":
        for x, y in itertools.product(range(offset - step, side + step, step), repeat=2):
            pen.ellipse((x, y, x + step // 4, y + step // 4), fill=(255, 255, 255, 130))
    elif texture == "stripes":
        for x in range(offset - side, side, step):
            pen.line((x, side, x + side, 0), fill=(255, 255, 255, 90), width=step // 4)
    return picture


def _draw_shape(picture: Image.Image, thing: tuple[str, str], centre: Point, radius: float, turn: float) -> None:
    """Draws a sticker onto ``picture``: soft shadow, white rim, flat colour."""
    side = picture.width
    cos, sin = math.cos(turn), math.sin(turn)
    corners = [
        (side * (centre[0] + radius * (x * cos - y * sin)), side * (centre[1] + radius * (x * sin + y * cos)))
        for x, y in SHAPES[thing[1]]
    ]
    pen = ImageDraw.Draw(picture, "RGBA")
    rim = round(side * 0.022)
    for drop in (0.012, 0.018, 0.024):
        pen.polygon([(x, y + side * drop) for x, y in corners], fill=(40, 40, 70, 28), outline=(40, 40, 70, 28))
    pen.line([*corners, *corners[:2]], fill=(255, 255, 255), width=rim, joint="curve")
    pen.polygon(corners, fill=COLOURS[thing[0]])


def draw_scene(scene: Scene, size: int, rng: random.Random) -> Image.Image:
    """Draws a scene.

    Args:
        scene: What to draw.
        size: Width and height, pixels.
        rng: Source of places, sizes, angles and background; it is advanced.

    Returns:
        RGB picture of ``size`` x ``size``.
    """
    picture = _draw_backdrop(size * SUPERSAMPLING, rng)
    first, second = _places(scene.relation, rng)
    # The second shape comes first: an inner shape lies on top of the outer one.
    for thing, (centre, radius) in ((scene.second, second), (scene.first, first)):
        _draw_shape(picture, thing, centre, radius, math.radians(rng.uniform(-12, 12)))
    # Bicubic, as the image transform shrinks: a picture drawn large and shrunk there looks the same.
    return picture.resize((size, size), Image.Resampling.BICUBIC)


def write_drawn_scenes(
    folder: Path, *, num_train: int = 1800, num_val: int = 200, seed: int = 7, size: int = 64, val_size: int = 192
) -> None:
    """Writes ``images/*.png``, ``train.jsonl`` and ``val.jsonl``, one row per picture and style.

    The outcome depends on nothing but the arguments. A folder that already holds it is left alone; one made with other
    arguments, or by another version of this file, is replaced as a whole, so it is never half-written.

    Args:
        folder: Where to write; made with its parents.
        num_train: Training pictures; at most 2,025 of them show different scenes.
        num_val: Validation pictures, of 225 scenes that never occur in training.
        seed: Seed of everything random.
        size: Width and height of the training pictures, pixels.
        val_size: The same for the validation pictures, which people look at in reports.

    Raises:
        ValueError: If a number is too small, or ``folder`` holds something else.
    """
    parameters = {"num_train": num_train, "num_val": num_val, "seed": seed, "size": size, "val_size": val_size}
    for name, lowest in {"num_train": 1, "num_val": 1, "size": 32, "val_size": 32}.items():
        if parameters[name] < lowest:
            raise ValueError(f"drawn scenes: {name}={parameters[name]}: must be at least {lowest}.")
    fingerprint = hashlib.sha256(Path(__file__).read_bytes() + encode_json(parameters)).hexdigest()
    if _holds(folder, fingerprint, num_train + num_val):
        return
    logger.info("drawing %d training and %d validation scenes into %s", num_train, num_val, folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
        fresh = Path(scratch) / "fresh"
        train_scenes, val_scenes = split_scenes(seed)
        _write_split(fresh, "train", train_scenes, num_train, size, seed)
        _write_split(fresh, "val", val_scenes, num_val, val_size, seed)
        write_json(fresh / "done.json", {"fingerprint": fingerprint, **parameters})
        if folder.exists():
            folder.rename(Path(scratch) / "replaced")
        fresh.rename(folder)


def _holds(folder: Path, fingerprint: str, num_pictures: int) -> bool:
    """Whether the folder already is what would be written; refuses a folder that this module did not make."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    done = folder / "done.json"
    made_before = read_json(done) if done.is_file() else {}
    if "fingerprint" not in made_before:
        raise ValueError(f"{folder}: exists and does not hold drawn scenes; give another folder, or remove it.")
    return made_before["fingerprint"] == fingerprint and len(list(folder.glob("images/*.png"))) == num_pictures


def _write_split(folder: Path, split: str, scenes: Sequence[Scene], count: int, size: int, seed: int) -> None:
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for number in range(count):
        scene = scenes[number % len(scenes)]
        name = f"{split}_{number:04d}.png"
        draw_scene(scene, size, random.Random(f"{seed}/{name}")).save(folder / "images" / name)
        rows += [{"image": name, "style": style, "captions": scene.captions(style)} for style in STYLE_TEMPLATES]
    write_text(folder / f"{split}.jsonl", "".join(encode_json(row).decode() + "\n" for row in rows))
