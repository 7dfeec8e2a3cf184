"""Small containers of pictures for tests."""

from __future__ import annotations

import base64
import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from utils.io import read_jsonl


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


def streamed_document(document: dict[str, Any], scenes: Path, folder: Path) -> dict[str, Any]:
    """Configuration of a run on the scenes in four shards of different sizes; two epochs of four steps of eight."""
    samples: dict[str, list[dict[str, bytes]]] = {}
    for split in ("train", "val"):
        for number, row in read_jsonl(scenes / f"{split}.jsonl"):
            text = json.dumps({"captions": row["captions"], "style": row["style"]}).encode()
            picture = (scenes / "images" / row["image"]).read_bytes()
            samples.setdefault(split, []).append({f"{number:04d}.png": picture, f"{number:04d}.json": text})
    rows = samples["train"]
    shards = {f"train-{number}": rows[a:b] for number, (a, b) in enumerate(((0, 20), (20, 29), (29, 32), (32, None)))}
    for name, part in (shards | {"val": samples["val"][:4]}).items():
        write_tar(folder / f"{name}.tar", {name: content for item in part for name, content in item.items()})
    data = {"format": "webdataset", "annotations": str(folder), "streaming": True}
    return document | {
        "data": data | {"stream_lanes": 4, "stream_buffer": 5},
        "train": document["train"] | {"epochs": 2, "steps": 4, "batch_size": 4, "accumulation_steps": 2},
        "image": document["image"] | {"random_crop": True, "max_size": 40},
        "checkpoint": {"every_epochs": 0.5},
    }
