"""Small containers of pictures for tests."""

from __future__ import annotations

import base64
import io
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from PIL import Image


def picture_bytes(number: int, suffix: str = "PNG") -> bytes:
    """A picture of 5 x 3 pixels; every number has another colour."""
    content = io.BytesIO()
    Image.new("RGB", (5, 3), (number % 256, number // 256 % 256, 7)).save(content, suffix)
    return content.getvalue()


def write_tar(path: Path, members: Mapping[str, bytes]) -> Path:
    """A tar with these files, in this order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def write_tsv(path: Path, rows: Iterable[tuple[str, str, bytes]], *styles: str, url_safe: bool = False) -> Path:
    """OFA's TSV of (image id, captions, picture), with a style at the end of each row if styles are given."""
    encode = base64.urlsafe_b64encode if url_safe else base64.b64encode
    lines = []
    for number, (image_id, captions, picture) in enumerate(rows):
        fields = [str(number), image_id, captions, "sky&&sea", encode(picture).decode(), *styles[number : number + 1]]
        lines.append("\t".join(fields) + "\n")
    path.write_text("".join(lines))
    return path


def shard_of(numbers: Iterable[int], caption: str = "picture {}") -> dict[str, bytes]:
    """Members of a WebDataset shard: a picture and a text for each number."""
    members = {}
    for number in numbers:
        members[f"{number:06d}.png"] = picture_bytes(number)
        members[f"{number:06d}.txt"] = caption.format(number).encode()
    return members
