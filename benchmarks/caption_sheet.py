r"""A picture of photos with their captions by style and stage, to be looked at.

    python benchmarks/caption_sheet.py --images PHOTOS --out docs/captions.jpg --count 12 \
        "people=refs.captions.json" "(a)=work_dir/a/eval/test.captions.json" "(c)=work_dir/c/eval/test.captions.json"

Each argument is a title and a captions file of an evaluation. The photos are spread evenly over those that all files
have; ``--first`` moves to others.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from PIL import Image, ImageDraw, ImageFont

from preprocessors.pictures.images import load_image
from utils.io import read_json

SIDE, TEXT_WIDTH, MARGIN, LINE = 160, 600, 10, 15
LETTERS = 96
"""In a line of text."""


def main() -> None:
    """Read, lay out, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stages", nargs="+", help="TITLE=FILE")
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--columns", type=int, default=2)
    parser.add_argument("--first", type=int, default=0, help="place of the first photo")
    arguments = parser.parse_args()
    stages = {title: by_image(Path(file)) for title, _, file in (stage.rpartition("=") for stage in arguments.stages)}
    common = [image for image in next(iter(stages.values())) if all(image in stage for stage in stages.values())]
    shown = common[arguments.first :: max(1, len(common) // arguments.count)][: arguments.count]
    cells = [draw_cell(arguments.images / image, lines_of(image, stages)) for image in shown]
    lay_out(cells, arguments.columns).save(arguments.out, quality=50)


def by_image(file: Path) -> dict[str, dict[str, str]]:
    """Caption by picture and style."""
    found: dict[str, dict[str, str]] = {}
    for row in read_json(file):
        found.setdefault(row["image_id"], {})[row["style"]] = row["caption"]
    return found


def lines_of(image: str, stages: dict[str, dict[str, dict[str, str]]]) -> list[str]:
    """What is written beside a photo."""
    lines: list[str] = []
    for style in next(iter(stages.values()))[image]:
        lines.append(style.upper())
        for title, captions in stages.items():
            text = f"{title}  {captions[image].get(style, '')}"
            lines += textwrap.wrap(text, LETTERS, initial_indent="  ", subsequent_indent="        ")
    return lines


def draw_cell(photo: Path, lines: list[str]) -> Image.Image:
    """A photo with lines to its right."""
    font = ImageFont.load_default(12)
    height = max(SIDE, LINE * len(lines)) + 2 * MARGIN
    cell = Image.new("RGB", (SIDE + TEXT_WIDTH + 3 * MARGIN, height), "white")
    cell.paste(load_image(photo, at_least=2 * SIDE).resize((SIDE, SIDE)), (MARGIN, MARGIN))
    draw = ImageDraw.Draw(cell)
    for number, line in enumerate(lines):
        draw.text((SIDE + 2 * MARGIN, MARGIN + LINE * number), line, fill="black", font=font)
    return cell


def lay_out(cells: list[Image.Image], columns: int) -> Image.Image:
    """Cells in rows."""
    height = max(cell.height for cell in cells)
    sheet = Image.new("RGB", (columns * cells[0].width, -(-len(cells) // columns) * height), "white")
    for number, cell in enumerate(cells):
        sheet.paste(cell, (number % columns * cell.width, number // columns * height))
    return sheet


if __name__ == "__main__":
    main()
