"""``MANIFEST.json``: size and SHA-256 of every file of a folder, so that damage is seen before it does harm."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from utils.durable import sync_file, sync_folder
from utils.io import encode_json, hash_file, hash_json, read_json, write_bytes

MANIFEST_FILE = "MANIFEST.json"
FORMAT_VERSION = 1
THREADS = 4
"""Files that are hashed side by side; hashing leaves the interpreter free."""

READ_SUFFIXES = {".json", ".txt", ".bin", ".safetensors", ".model", ".py"}
"""Ends of names of files that programs look for by themselves."""
UNPACKED = "unpacked"
"""``about["kind"]`` of a folder that was made from an archive, and can be made again."""


class Manifest(NamedTuple):
    """What a folder was sealed with."""

    files: Mapping[str, tuple[int, str]]
    """Size in bytes and SHA-256 by the path inside the folder, ``/`` between its parts."""
    about: Mapping[str, Any]
    """What its writer said besides."""


def seal(folder: Path, about: Mapping[str, Any] | None = None) -> Manifest:
    """Hash all files of a folder, bring them to the disk, and write the manifest, last.

    An older manifest is replaced. Where the system allows, its memory forgets the files once they are hashed:
    :func:`find_faults` then reads what came to the disk, and compares it with what was written.

    Args:
        folder: Complete; nobody else writes into it.
        about: JSON-like, kept with the hashes.
    """
    names = sorted(_files_below(folder))
    with ThreadPoolExecutor(THREADS) as pool:
        files = dict(zip(names, pool.map(lambda name: _describe(folder, name), names), strict=True))
    write_bytes(folder / MANIFEST_FILE, encode_manifest(files, about or {}))
    sync_folder(folder)
    return Manifest(files, dict(about or {}))


def encode_manifest(files: Mapping[str, tuple[int, str]], about: Mapping[str, Any]) -> bytes:
    """The content of a manifest file, as :class:`Manifest` says it."""
    listed = {name: {"size": size, "sha256": digest} for name, (size, digest) in files.items()}
    content = {"format_version": FORMAT_VERSION, "about": dict(about), "files": listed}
    return encode_json(content | {"sha256": _hash_content(content)}, indent=True) + b"\n"


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a folder; its files are not looked at.

    Raises:
        FileNotFoundError: If the folder has none.
        ValueError: If it is damaged, or of a newer format.
    """
    path = folder / MANIFEST_FILE
    return parse_manifest(read_json(path), path)


def parse_manifest(content: Any, path: Path) -> Manifest:
    """A manifest from its JSON form.

    Args:
        content: As read.
        path: Of the file, for messages.

    Raises:
        ValueError: If it is damaged, or of a newer format.
    """
    version = content.get("format_version") if isinstance(content, dict) else None
    if not isinstance(version, int):
        raise ValueError(f"{path}: is damaged; it does not say its format_version")
    if version > FORMAT_VERSION:
        raise ValueError(f"{path}: has format_version {version}, and this program knows {FORMAT_VERSION}; update it")
    try:
        listed = {name: (int(entry["size"]), str(entry["sha256"])) for name, entry in content["files"].items()}
        about = dict(content["about"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path}: is damaged; an entry has no size or sha256") from error
    for name in listed:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ValueError(f"{path}: names {name}, which is outside of its folder")
    said = {key: value for key, value in content.items() if key != "sha256"}
    if content.get("sha256") != _hash_content(said):
        raise ValueError(f"{path}: is damaged; it has other content than was written")
    return Manifest(listed, about)


def find_faults(folder: Path, manifest: Manifest | None = None) -> list[str]:
    """What is wrong with the files of a sealed folder, a reason for each; empty if nothing is.

    Files that the manifest does not name are not looked at. Sizes come first, so that what a full disk cut short is
    told without hashing.

    Args:
        folder: With a manifest.
        manifest: Its manifest, if it has been read already.

    Raises:
        FileNotFoundError: If the folder has no manifest.
        ValueError: If the manifest is damaged.
    """
    manifest = read_manifest(folder) if manifest is None else manifest
    wrong_sizes = [_wrong_size(folder / name, name, size) for name, (size, _) in manifest.files.items()]
    if any(wrong_sizes):
        return [fault for fault in wrong_sizes if fault]
    with ThreadPoolExecutor(THREADS) as pool:
        found = pool.map(lambda name: _wrong_content(folder / name, name, manifest.files[name][1]), manifest.files)
        return [fault for fault in found if fault]


def check_sealed(folder: Path) -> bool:
    """Refuse a sealed folder that is damaged; whether the folder is sealed at all.

    Files at its top that came later are refused too: a program could read them in place of those that were saved.

    Raises:
        ValueError: Naming the files and what to do.
    """
    if not (folder / MANIFEST_FILE).exists():
        return False
    manifest = read_manifest(folder)
    faults = find_faults(folder, manifest)
    found = {path.name for path in folder.iterdir() if path.suffix in READ_SUFFIXES and path.is_file()}
    faults += [f"{name} was not there when it was saved" for name in sorted(found - {*manifest.files, MANIFEST_FILE})]
    if faults:
        more = f"; and {len(faults) - 5} more" if len(faults) > 5 else ""
        remedy = (
            "Remove the folder: it is unpacked again from its archive"
            if manifest.about.get("kind") == UNPACKED
            else f"Restore it from a copy; if it was changed on purpose: python -m utils.archive seal {folder}"
        )
        raise ValueError(f"{folder}: is damaged: {'; '.join(faults[:5])}{more}. {remedy}")
    return True


def _hash_content(content: Mapping[str, Any]) -> str:
    """Of a manifest itself: a flipped bit in what it says of a folder would be believed otherwise."""
    return hash_json(content)


def _wrong_size(path: Path, name: str, size: int) -> str | None:
    if not path.is_file():
        return f"{name} is missing"
    found = path.stat().st_size
    return None if found == size else f"{name} has {found:,} bytes and was saved with {size:,}"


def _wrong_content(path: Path, name: str, digest: str) -> str | None:
    try:
        return None if hash_file(path) == digest else f"{name} has other content than was saved"
    except OSError as error:
        return f"{name} cannot be read ({error.strerror})"


def _files_below(folder: Path) -> list[str]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return [path.relative_to(folder).as_posix() for path in paths if path != folder / MANIFEST_FILE]


def _describe(folder: Path, name: str) -> tuple[int, str]:
    path = folder / name
    found = path.stat().st_size, hash_file(path)
    sync_file(path)
    return found
