"""Model archives as folders: unpacked whole, checked against what they were packed with, or not at all."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path, PurePosixPath

from filelock import FileLock
from tqdm import tqdm

from utils.durable import replaced_folder
from utils.io import hash_file, parse_json
from utils.manifest import MANIFEST_FILE, UNPACKED, find_faults, parse_manifest, read_manifest, seal
from utils.safe_tar import read_archive
from utils.small_json import DESCRIPTION_BYTES

CACHE = Path("work_dir/.archives")
"""Where archives lie unpacked that are used as folders, by the first part of their hash; safe to remove."""
WEIGHTS = (".safetensors", ".bin")
DESCRIPTION = "config.json"


def unpack(file: Path, folder: Path) -> None:
    """Unpack the model in an archive; the folder is there with all of it or not at all.

    What lies beside the model in the archive is left out. A folder without a manifest is sealed as it was found.

    Args:
        file: A ``.tar`` or ``.tar.gz``.
        folder: To be made; an older one is replaced.

    Raises:
        ValueError: If the archive is unsafe, damaged, holds no model or several, or other content than it was packed
            with.
    """
    with replaced_folder(folder) as aside:
        everything = aside / ".all"
        names = _write_members(file, everything)
        model = everything / _find_model(file, names)
        if (model / MANIFEST_FILE).is_file():
            about = read_manifest(model).about
            if faults := find_faults(model):
                raise ValueError(f"{file}: is damaged: {'; '.join(faults[:5])}; copy it again")
        else:
            about = {}
        for path in model.iterdir():
            path.rename(aside / path.name)
        shutil.rmtree(everything)
        seal(aside, {**about, "kind": UNPACKED, "archive": file.name})


def find_archive_faults(file: Path) -> list[str]:
    """What in an archive differs from what it was packed with, a reason for each; nothing is written.

    Raises:
        ValueError: If the archive is unsafe or damaged.
    """
    found: dict[PurePosixPath, str] = {}
    held: dict[PurePosixPath, bytes] = {}
    for member in read_archive(file):
        digest, keep = hashlib.sha256(), member.path.name == MANIFEST_FILE and member.size <= DESCRIPTION_BYTES
        for block in member.content:
            digest.update(block)
            if keep:
                held[member.path.parent] = held.get(member.path.parent, b"") + block
        found[member.path] = digest.hexdigest()
    if not held:
        return [f"has no {MANIFEST_FILE}, so only its form could be looked at, which is right"]
    return [fault for place, content in held.items() for fault in _find_differences(place, content, found, file)]


def _find_differences(
    place: PurePosixPath, content: bytes, found: dict[PurePosixPath, str], file: Path
) -> Iterator[str]:
    listed = parse_manifest(parse_json(content, f"{file}: {place / MANIFEST_FILE}"), file).files
    for name, (_, digest) in listed.items():
        if (path := place / name) not in found:
            yield f"{path} is missing"
        elif found[path] != digest:
            yield f"{path} has other content than was packed"


def _write_members(file: Path, into: Path) -> list[PurePosixPath]:
    names = []
    for member in read_archive(file):
        path = into / member.path
        path.parent.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(into).free < member.size:
            raise ValueError(f"{file}: {member.path} has {member.size:,} bytes, and {into.parent} has no room for it")
        bar = tqdm(total=member.size, desc=member.path.name, unit="B", unit_scale=True, disable=None, leave=False)
        with path.open("xb") as out, bar:
            for block in member.content:
                out.write(block)
                bar.update(len(block))
        names.append(member.path)
    return names


def _find_model(file: Path, names: list[PurePosixPath]) -> PurePosixPath:
    described = {name.parent for name in names if name.name == DESCRIPTION}
    models = sorted(described & {name.parent for name in names if name.suffix in WEIGHTS})
    # The final model of a run stands above the checkpoints that may be packed with it.
    final = [place for place in models if place.name == "output"] or models
    if len(final) != 1:
        held = ", ".join(map(str, final[:5])) or "none"
        raise ValueError(f"{file}: must hold one model folder ({DESCRIPTION} and weights), and holds {held}")
    return final[0]


def open_archive(file: Path) -> Path:
    """The folder of a model archive, unpacked once, whoever asks for it.

    Raises:
        ValueError: As :func:`unpack`.
    """
    size, changed = (status := file.stat()).st_size, status.st_mtime_ns
    folder = (CACHE / _key(file.resolve(), size, changed)).resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            unpack(file, folder)
    return folder


@lru_cache(maxsize=8)
def _key(file: Path, size: int, changed: int) -> str:
    """Of its content; size and time of the last change say whether that may be another one."""
    return hash_file(file)[:16]
