"""The formats that captions are written in: one file and one entry each. Loads nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name

from captioning.outputs.target import Output, Target


@dataclass(frozen=True)
class Format:
    """A format.

    Attributes:
        source: The class that writes it, as ``module:name``.
        meaning: A few words for ``--help``.
        suffixes: Of files that are written so unless another format is asked for.
        needs_out: It cannot go to standard output.
        resumes: It knows what is there already.
    """

    source: str
    meaning: str
    suffixes: tuple[str, ...] = ()
    needs_out: bool = False
    resumes: bool = False


FORMATS: Mapping[str, Format] = {
    "text": Format("captioning.outputs.text:TextOutput", "a caption a line", (".txt", ".tsv")),
    "json": Format("captioning.outputs.json_list:JsonList", "a list of rows", (".json",)),
    "jsonl": Format("captioning.outputs.json_lines:JsonLines", "a row a line", (".jsonl", ".ndjson"), resumes=True),
    "csv": Format("captioning.outputs.csv_table:CsvTable", "a table, a caption a row", (".csv",)),
    "sidecar": Format(
        "captioning.outputs.sidecars:Sidecars",
        "a .txt a picture, beside it or in the folder --out",
        resumes=True,
    ),
    "html": Format("captioning.outputs.page:Page", "a page with the pictures", (".html", ".htm"), needs_out=True),
}
"""By name. Of several suffixes the first is the usual one."""


def format_for(name: str | None, out: Path | None) -> str:
    """The format that is asked for, or that the name of a file stands for; text on standard output.

    Raises:
        ValueError: If the name of the file stands for none, or the format cannot go there.
    """
    if name is None:
        name = "text" if out is None else _by_suffix(out)
    if FORMATS[name].needs_out and out is None:
        raise ValueError(f"--format {name}: name the file with --out, such as captions{FORMATS[name].suffixes[0]}")
    return name


def _by_suffix(out: Path) -> str:
    if out.is_dir() or not out.suffix:
        return "sidecar"
    for name, entry in FORMATS.items():
        if out.suffix.lower() in entry.suffixes:
            return name
    known = ", ".join(suffix for entry in FORMATS.values() for suffix in entry.suffixes)
    raise ValueError(f"--out {out}: {out.suffix} is the suffix of no format; known are {known}; or give --format")


def open_output(name: str, target: Target) -> Output:
    """A format at work, before anything is captioned.

    Raises:
        ValueError: If something that it would write is there already.
    """
    entry = FORMATS[name]
    if target.skip_existing and not (entry.resumes and (target.out or name == "sidecar")):
        able = " and ".join(other for other, format in FORMATS.items() if format.resumes)
        raise ValueError(f"--skip-existing: goes on with files of the formats {able}, not with {name} here")
    output: Output = resolve_name(entry.source)(target)
    return output
