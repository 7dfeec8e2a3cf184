"""WebDataset: tar shards in which the files of a sample stand together and share a name up to its first dot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from preprocessors.formats.bad_rows import leaving_out
from preprocessors.formats.fields import CAPTION_KEYS, STYLE_KEY, styled_captions, text_captions
from preprocessors.formats.rows import SPLIT_FILES, WITHOUT_CAPTION, AnnotationRow, Format, Source
from preprocessors.formats.shards import expand_shards, files_per_split, root_of
from preprocessors.pictures.containers import member_name, read_part
from preprocessors.pictures.files import PICTURE_SUFFIXES
from preprocessors.pictures.tars import TarMember, tar_members
from utils.io import parse_json

TEXTS = ("txt", "json", "cls")


class ShardSample(NamedTuple):
    """The files of a sample by what follows the first dot of their names, in lower case; ``number`` counts from 1."""

    shard: Path
    number: int
    key: str
    members: Mapping[str, TarMember]

    @property
    def where(self) -> str:
        """Shard and sample, as messages begin."""
        return f"{self.shard}, sample {self.key}"

    @property
    def picture_suffix(self) -> str:
        """That of the first file that is a picture by its name; empty if there is none."""
        return next((suffix for suffix in self.members if f".{suffix}" in PICTURE_SUFFIXES), "")

    @property
    def picture(self) -> TarMember | None:
        """The first file that is a picture by its name."""
        return self.members.get(self.picture_suffix)

    @property
    def fault(self) -> str:
        """Why it cannot be used; empty if it can."""
        if self.picture is None:
            return "sample without a picture"
        return "" if {"txt", "json"} & self.members.keys() else WITHOUT_CAPTION

    def texts(self) -> dict[str, bytes]:
        """Its files that may hold captions and style."""
        return self._read(TEXTS)

    def read(self) -> dict[str, bytes]:
        """Its picture and texts."""
        return self._read((self.picture_suffix, *TEXTS))

    def _read(self, suffixes: Sequence[str]) -> dict[str, bytes]:
        found = {suffix: self.members[suffix] for suffix in suffixes if suffix in self.members}
        return {suffix: read_part(self.shard, item.offset, item.size) for suffix, item in found.items()}


def shard_samples(path: Path) -> Iterator[ShardSample]:
    """The samples of a shard in its order, from its headers alone; hidden files are passed over.

    Raises:
        FileNotFoundError: If there is no shard.
        ValueError: If it is damaged or cut short, or a sample has two files with one ending.
    """
    number, key, members = 0, "", dict[str, TarMember]()
    for member in tar_members(path):
        folder, _, base = member_name(member.name).rpartition("/")
        stem, _, suffix = base.partition(".")
        if not stem:
            continue
        own_key, suffix = f"{folder}/{stem}".lstrip("/"), suffix.lower()
        if own_key != key and members:
            number += 1
            yield ShardSample(path, number, key, members)
            members = {}
        key = own_key
        if suffix in members:
            raise ValueError(f"{path}: sample {key} has two files .{suffix}. Give every sample a name of its own.")
        members[suffix] = member
    if members:
        yield ShardSample(path, number + 1, key, members)


def captions_of_sample(texts: Mapping[str, bytes], where: str, neutral: str) -> dict[str, tuple[str, ...]]:
    """Captions of a sample by its style.

    Args:
        texts: ``txt`` has a caption in each line; ``json`` an object with captions, style or both, or a list of
            captions; ``cls`` the style. Where two say something, ``txt`` tells the captions and ``json`` the style.
        where: As messages begin.
        neutral: Style where there is none.

    Raises:
        ValueError: If something is no text or no JSON.
    """
    record = _record(texts["json"], where) if "json" in texts else {}
    if "txt" in texts:
        record = {name: value for name, value in record.items() if name not in CAPTION_KEYS}
        record["captions"] = text_captions(texts["txt"], f"{where}, .txt")
    if "cls" in texts and record.get(STYLE_KEY) is None:
        record[STYLE_KEY] = " ".join(text_captions(texts["cls"], f"{where}, .cls"))
    return styled_captions(record, where, neutral)


def _record(content: bytes, where: str) -> dict[str, Any]:
    value = parse_json(content, f"{where}, .json")
    return value if isinstance(value, dict) else {"captions": value}


def webdataset_rows(shard: Path, root: Path, neutral: str) -> Iterator[AnnotationRow]:
    """Rows of a shard; samples without a picture or a caption come with a ``drop_reason``.

    Args:
        shard: The tar.
        root: Folder that names of pictures begin at.
        neutral: Style where there is none.

    Raises:
        ValueError: If the shard or a caption cannot be read.
    """
    folder = shard.relative_to(root)
    for sample in shard_samples(shard):
        row = None
        with leaving_out(shard, sample.number):
            row = _row_of(sample, folder, neutral)
        if row is not None:
            yield row


def _row_of(sample: ShardSample, folder: Path, neutral: str) -> AnnotationRow:
    name = sample.picture.name if sample.picture else sample.key
    image, reason = (folder / member_name(name)).as_posix(), sample.fault
    captions = captions_of_sample(sample.texts(), sample.where, neutral)
    return AnnotationRow(str(sample.shard), sample.number, image, captions, None, reason, reason and sample.key)


def _open_rows(source: Source) -> Iterator[AnnotationRow]:
    for shard in expand_shards(source.path):
        yield from webdataset_rows(shard, source.images or root_of(source.path), source.neutral)


FORMAT = Format(
    open_rows=_open_rows,
    find=files_per_split(("{split}*.tar", "{split}/*.tar"), ("*.tar",)),
    data_set="webdataset",
    settings=SPLIT_FILES,
    holds_pictures=True,
)
