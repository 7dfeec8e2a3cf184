"""Packs a trained model into one file, and takes it out again.

    python -m utils.archive pack work_dir/demo                     writes work_dir/demo.tar.gz
    python -m utils.archive pack work_dir/demo --remove_private_paths --out demo.tar.gz
    python -m utils.archive unpack demo.tar.gz --to models/demo
    python -m utils.archive check demo.tar.gz                      or a model folder
    python -m utils.archive seal models/demo                       after a change that was meant

An archive has the model folder, its manifest with a hash of every file, and the configuration of its run as
``run_config.json``. ``--checkpoint`` and ``--model`` take it as they take a folder. Equal models make equal archives.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import re
import secrets
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tarfile import TarFile
from typing import Any, NamedTuple

from tqdm import tqdm

from utils import exit_codes
from utils.durable import recover_folder, sync_folder
from utils.io import encode_json, hash_file, read_json
from utils.manifest import MANIFEST_FILE, check_sealed, encode_manifest, find_faults, read_manifest, seal
from utils.safe_tar import add_bytes, open_writer
from utils.unpacked import find_archive_faults, unpack

RUN_CONFIG = "run_config.json"
REMOVED = "<removed>"
DESCRIPTIONS = ("config.json", "configuration.json", "adapter/adapter_config.json")
"""Files of a model that may name places; the last says which model a run's adapters belong to."""
_PRIVATE = re.compile(r"^(/|~|\.\.?[/\\]|[A-Za-z]:[/\\]|\\\\)|^file:")
"""Begins what is a place on somebody's machine. A relative path says how a project is laid out, and stays."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        Exit code of ``utils.exit_codes``: 1 if something is damaged, 2 for a fault of the input.
    """
    options = _make_parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return exit_codes.BAD_INPUT


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m utils.archive", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, place, run, text in (
        ("pack", "RUN", _pack, "a run's final model, or a model folder, into one file"),
        ("unpack", "FILE", _unpack, "an archive into a folder"),
        ("check", "FOLDER|FILE", _check, "hold all files against their hashes"),
        ("seal", "FOLDER", _seal, "write the hashes of all files as they are now"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("place", type=Path, metavar=place)
        command.set_defaults(run=run)
    commands.choices["pack"].add_argument("--out", type=Path, metavar="FILE", help="RUN.tar.gz if not given")
    commands.choices["pack"].add_argument(
        "--remove_private_paths", action="store_true", help="places outside of the project, in whatever is packed"
    )
    commands.choices["unpack"].add_argument("--to", type=Path, required=True, metavar="FOLDER", help="must not exist")
    return parser


def _pack(options: argparse.Namespace) -> int:
    print(pack(options.place, options.out, remove_private_paths=options.remove_private_paths))
    return exit_codes.FINISHED


def _unpack(options: argparse.Namespace) -> int:
    if options.to.exists():
        raise ValueError(f"--to {options.to}: is there already; name another folder, or remove it")
    unpack(options.place, options.to)
    print(options.to)
    return exit_codes.FINISHED


def _check(options: argparse.Namespace) -> int:
    found = find_archive_faults(options.place) if options.place.is_file() else find_faults(options.place)
    for fault in found:
        print(f"{options.place}: {fault}")
    if not found:
        print(f"{options.place}: every file is as it was saved")
    return exit_codes.FAULT if found else exit_codes.FINISHED


def _seal(options: argparse.Namespace) -> int:
    if not (options.place / "config.json").is_file():
        raise ValueError(f"{options.place}: is no model folder; it has no config.json")
    print(f"{options.place}: sealed {len(seal(options.place, {'kind': 'model'}).files)} files")
    return exit_codes.FINISHED


def pack(place: Path, out: Path | None = None, *, remove_private_paths: bool = False) -> Path:
    """Write an archive; it is there whole or not at all.

    Args:
        place: A run folder with its final model, or a model folder.
        out: The archive; None is ``place`` with ``.tar.gz`` behind its name.
        remove_private_paths: Put ``<removed>`` in place of absolute paths and those through home or parent folders.

    Returns:
        The archive.

    Raises:
        FileNotFoundError: If there is no model.
        ValueError: If the model is damaged, or names a vision network by the path that is to be removed.
    """
    out = place.with_name(f"{place.resolve().name}.tar.gz") if out is None else out
    if not out.name.endswith((".tar.gz", ".tgz")):
        raise ValueError(f"--out {out}: must end in .tar.gz")
    model, added = _gather(place)
    known = dict(read_manifest(model).files) if check_sealed(model) else {}
    names = [name for name in known or _plain_files(model) if name != MANIFEST_FILE]
    if remove_private_paths:
        described = [name for name in DESCRIPTIONS if name in names]
        added = {name: read_json(model / name) for name in described} | added
        added = {name: _without_paths(content, name) for name, content in added.items()}
    contents = {name: encode_json(content, indent=True) + b"\n" for name, content in added.items()}
    _write(_Packed(model, sorted({*names, *contents}), contents, known), out, place.resolve().name)
    return out


class _Packed(NamedTuple):
    model: Path
    names: Sequence[str]
    """Of all files but the manifest."""
    contents: Mapping[str, bytes]
    """Of those that are not packed as they lie in the folder."""
    known: Mapping[str, tuple[int, str]]
    """Sizes and hashes that the folder was sealed with."""

    def manifest(self) -> bytes:
        """Of what is packed."""
        listed: dict[str, tuple[int, str]] = {}
        for name in self.names:
            if name in self.contents:
                listed[name] = len(self.contents[name]), hashlib.sha256(self.contents[name]).hexdigest()
            elif name in self.known:
                listed[name] = self.known[name]
            else:
                listed[name] = (self.model / name).stat().st_size, hash_file(self.model / name)
        return encode_manifest(listed, {"kind": "archive"})

    def add_to(self, archive: TarFile, top: str) -> None:
        """The manifest first, so that an archive that is cut short is known for one."""
        manifest = self.manifest()
        add_bytes(archive, f"{top}/{MANIFEST_FILE}", io.BytesIO(manifest), len(manifest))
        for name in self.names:
            if name in self.contents:
                content = self.contents[name]
                add_bytes(archive, f"{top}/{name}", io.BytesIO(content), len(content))
                continue
            size = (self.model / name).stat().st_size
            with (
                (self.model / name).open("rb") as file,
                tqdm.wrapattr(file, "read", total=size, desc=name, disable=None, leave=False) as shown,
            ):
                add_bytes(archive, f"{top}/{name}", shown, size)


def _gather(place: Path) -> tuple[Path, dict[str, Any]]:
    """The model folder, and what is put beside its files."""
    output = place / "output"
    recover_folder(output)
    if output.is_dir():
        return output, {RUN_CONFIG: read_json(place / "config.json")}
    if not place.is_dir():
        raise FileNotFoundError(f"{place}: no such folder; give a run folder or a model folder")
    if not any(file.suffix in (".bin", ".safetensors") for file in place.glob("*")):
        raise FileNotFoundError(f"{place}: no model to pack: neither output/ nor weights; let the run finish first")
    packed_before = place / RUN_CONFIG
    return place, {RUN_CONFIG: read_json(packed_before)} if packed_before.is_file() else {}


def _plain_files(model: Path) -> list[str]:
    paths = [path for path in model.rglob("*") if path.is_file() and not path.is_symlink()]
    return sorted(path.relative_to(model).as_posix() for path in paths)


def _without_paths(content: Any, name: str) -> Any:
    if isinstance(content, dict) and name == "config.json" and (vision := content.get("vision")):
        if vision.get("named") and _PRIVATE.match(str(vision.get("source"))):
            raise ValueError(
                f"--remove_private_paths: the model does not hold its vision network, and finds it at "
                f"{vision['source']}; train with model.vision_weights=kept, or pack with its paths"
            )
    if isinstance(content, dict):
        return {key: _without_paths(value, "") for key, value in content.items()}
    if isinstance(content, list):
        return [_without_paths(value, "") for value in content]
    return REMOVED if isinstance(content, str) and _PRIVATE.match(content) else content


def _write(packed: _Packed, out: Path, top: str) -> None:
    aside = out.with_name(f".{out.name}.{secrets.token_hex(4)}.tmp")
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        with aside.open("xb") as file:
            zipped, archive = open_writer(file)
            with zipped, archive:
                packed.add_to(archive, top)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, out)
        sync_folder(out.parent)
    finally:
        aside.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
