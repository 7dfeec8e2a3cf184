"""A folder in which the commands of the pages run: the checkout, a small set of photos, and a tiny model of them.

``my/`` and ``work_dir/conf`` are those of README's "From your photos to a captioner". Blocks marked ``run slow`` leave
something behind that later blocks use; where they are not run, :func:`stand_in` puts the tiny model there.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from preprocessors.pictures.drawn_scenes import write_drawn_scenes
from tests.conftest import TINY_SHAPE, TINY_SIDE
from tests.docs import warm_python
from tests.docs.blocks import Block
from tests.faults.warm import end_session
from utils.io import read_jsonl, write_json, write_text

REPOSITORY = Path(__file__).resolve().parents[2]
RUN = {"run", "run slow", "run in the background"}
SHELLS = {"bash", "sh", "shell", "console"}
NOT_COPIED = {"work_dir", "tests", "docs", "site"}
TAKEN = 77
IN_THE_BACKGROUND = """\
if curl -s {address} >/dev/null; then exit 77; fi
set -m
{{
{text}}} &
background=$!
set +m
trap 'kill -- -$background 2>/dev/null || true; wait $background || true' EXIT
until curl -sf {address} >/dev/null; do
    kill -0 $background || exit 1
    sleep 0.2
done
"""
"""Waits until the address answers, and ends the command with the script; exit code ``TAKEN`` if something answers
before."""
CONFIGURATION: dict[str, Any] = {
    "model": {
        "preset": "nano",
        "bpe_size": 800,
        "overrides": TINY_SHAPE
        | {"image_bucket_size": 8}
        | {f"{side}_{key}": TINY_SIDE[key] for side in ("encoder", "decoder") for key in TINY_SIDE},
    },
    "data": {"format": "jsonl", "annotations": "my/annotations", "images": "my/photos"},
    "style": {"aliases": {"buccaneer": "pirate"}, "dropout": 0.1},
    "image": {"size": 64},
    "train": {"epochs": 2, "batch_size": 16, "lr": 2e-3},
    "decode": {"num_beams": 2, "max_length": 24},
    "eval": {"samples": 2, "report_images": 2, "metrics": ["Bleu_4", "ROUGE_L", "CIDEr"]},
}
"""Of ``my/conf.json``: README's own starts from a published model of gigabytes."""


def lay_out(place: Path, socket: Path) -> None:
    """A copy of the checkout, a ``python`` that is warm, photos, captions, and files to score."""
    for path in REPOSITORY.iterdir():
        if path.is_dir() and not path.name.startswith(".") and path.name not in NOT_COPIED:
            shutil.copytree(path, place / path.name, ignore=shutil.ignore_patterns("__pycache__"))
        elif path.is_file():
            shutil.copy(path, place / path.name)
    (place / "work_dir").mkdir()
    tools = place / ".venv/bin"
    tools.mkdir(parents=True)
    for name in ("python", "python3"):
        warm_python.write_client(tools / name, socket)
    for stamp in Path(sys.prefix).glob(".stylecap-*"):
        (place / ".venv" / stamp.name).symlink_to(stamp)
    _write_photos(place)
    write_json(place / "my/conf.json", CONFIGURATION)
    _write_files_to_score(place)


def run_in(place: Path, script: str, seconds: float = 600) -> subprocess.CompletedProcess[str]:
    """Run a bash script there, without a package index; whatever it started is ended then.

    Raises:
        subprocess.TimeoutExpired: If it takes longer.
    """
    tools = place / ".venv/bin"
    environment = os.environ | {
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "PIP_NO_INDEX": "1",
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    environment = {key: value for key, value in environment.items() if not key.startswith("STYLECAP_")}
    started = subprocess.Popen(
        ["bash", "-c", script],
        cwd=place,
        env=environment,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        said = started.communicate(timeout=seconds)
    finally:
        end_session(started.pid)
    return subprocess.CompletedProcess(started.args, started.returncode, *said)


def script_of(blocks: Sequence[Block]) -> str:
    """A bash script of the blocks of a page that run, in one shell; it ends at the first fault, below its place."""
    parts = ["set -e"]
    for block in blocks:
        if block.kind not in RUN:
            continue
        text = block.text if block.language in SHELLS else f"python - <<'END OF BLOCK'\n{block.text}END OF BLOCK\n"
        parts.append(f"echo {block.where} >&2")
        if block.kind == "run in the background":
            parts.append(IN_THE_BACKGROUND.format(text=text, address=block.argument))
        else:
            parts.append(text)
    return "\n".join(parts)


def train(place: Path) -> None:
    """``work_dir/conf``, by the command that README gives."""
    done = run_in(place, "python finetune.py --conf my/conf.json")
    if done.returncode != 0:
        raise RuntimeError(done.stderr)


def stand_in(place: Path) -> None:
    """What the blocks that are not run by default would leave: the demo's runs and its pictures, small."""
    for name in ("demo", "demo_scst"):
        shutil.copytree(place / "work_dir/conf", place / "work_dir" / name, symlinks=True)
    write_drawn_scenes(place / "work_dir/drawn_scenes_2000", num_train=12, num_val=20, size=32, val_size=32)


def _write_photos(place: Path) -> None:
    scenes = place / "work_dir/.scenes"
    write_drawn_scenes(scenes, num_train=24, num_val=8, size=48, val_size=48)
    names: dict[str, str] = {}
    for split in ("val", "train"):
        rows = [row for _, row in read_jsonl(scenes / f"{split}.jsonl")]
        for row in rows:
            names.setdefault(row["image"], f"beach/{400 + len(names):04}.jpg")
        lines = [json.dumps(row | {"image": names[row["image"]]}) for row in rows]
        write_text(place / "my/annotations" / f"{split}.jsonl", "\n".join(lines) + "\n")
    (place / "my/photos/beach").mkdir(parents=True)
    for old, new in names.items():
        with Image.open(scenes / "images" / old) as picture:
            _on_ground_of_its_own(picture, new).save(place / "my/photos" / new, quality=95)
    shutil.rmtree(scenes)
    for name in ("a.jpg", "photo.jpg"):
        shutil.copy(place / "my/photos/beach/0412.jpg", place / name)


def _on_ground_of_its_own(picture: Image.Image, name: str) -> Image.Image:
    """So that no two photos are alike, and the check of the data finds nothing."""
    ground = Image.frombytes("RGB", (6, 6), random.Random(name).randbytes(6 * 6 * 3)).resize(picture.size)
    return Image.blend(picture.convert("RGB"), ground, 0.6)


def _write_files_to_score(place: Path) -> None:
    """References and hypotheses of two photos of COCO, under the names that the pages use."""
    said = {7: "a cat asleep on a chair", 8: "two dogs run in the surf"}
    written = {7: "a cat sleeps on a chair", 8: "a dog runs in the surf"}
    files = {key: f"COCO_val2014_{key:012}.jpg" for key in said}
    coco = {
        "images": [{"id": key, "file_name": name} for key, name in files.items()],
        "annotations": [{"image_id": key, "caption": text} for key, text in said.items()],
    }
    karpathy = [
        {"filepath": "val2014", "filename": files[key], "cocoid": key, "split": "test", "sentences": [{"raw": text}]}
        for key, text in said.items()
    ]
    results = [{"image_id": key, "caption": text} for key, text in written.items()]
    chinese = {"7": "一只猫睡在椅子上", "8": "两只狗在海浪里跑"}
    documents: dict[str, object] = {
        "refs.json": coco,
        "coco_train.json": coco,
        "dataset_coco.json": {"images": karpathy},
        "captions.json": results,
        "other_captions.json": [row | {"caption": said[row["image_id"]]} for row in results],
        "one.json": {"7": [said[7]]},
        "one_captions.json": {"7": written[7]},
        "zh.json": {key: [text] for key, text in chinese.items()},
        "zh_captions.json": {key: text[:6] for key, text in chinese.items()},
    }
    for name, document in documents.items():
        (place / name).write_text(json.dumps(document, ensure_ascii=False), "utf-8")
