"""One HTML file of captioned pictures, their styles side by side."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from reports.templating import hues_of, open_templates
from reports.thumbnails import thumbnail
from utils.io import write_text

THUMBNAIL_PIXELS = 240


class StyledCaptions(NamedTuple):
    """What a model said of a picture in a style."""

    style: str
    captions: Sequence[str]
    references: Sequence[str] = ()
    """What people said."""


@dataclass(frozen=True)
class CaptionedPicture:
    """A picture of the page.

    Attributes:
        name: What the page calls it.
        path: Where it is.
        rows: Its captions, style by style.
        error: Why there are none; "" if there are.
    """

    name: str
    path: Path
    rows: Sequence[StyledCaptions] = ()
    error: str = ""


def write_gallery(path: Path, pictures: Sequence[CaptionedPicture], *, title: str, how: str) -> None:
    """Write the page: one file that needs no network, with pictures as thumbnails inside, some 12 KB each.

    Args:
        path: The HTML file; replaced only once the new one is complete.
        pictures: In the order of the page.
        title: Headline, for example the model's name.
        how: A sentence on how the captions were made.
    """
    shown = [picture for picture in pictures if not picture.error]
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        thumbnails = [*pool.map(_thumbnail, [picture.path for picture in shown])]
    styles = list(dict.fromkeys(row.style for picture in shown for row in picture.rows))
    templates = open_templates(Path(__file__).parent / "templates")
    page = templates.get_template("gallery.html.j2").render(
        title=title,
        how=how,
        pictures=[
            {"name": picture.name, "rows": picture.rows, "thumbnail": small}
            for picture, small in zip(shown, thumbnails, strict=True)
        ],
        most=max((len(picture.rows) for picture in shown), default=0),
        faults={picture.name: picture.error for picture in pictures if picture.error},
        styles=styles,
        hues=hues_of(styles),
        counted=_counted,
    )
    write_text(path, page)


def _thumbnail(path: Path) -> str | None:
    try:
        return thumbnail(path, THUMBNAIL_PIXELS)
    except (OSError, ValueError):  # it was there when it was captioned
        return None


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
