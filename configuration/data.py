"""The data group of a run's configuration: pictures, captions, and which settings belong to which format."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from configuration.types import ConfigPath, Group, Name, Names, OneOf, Relation
from preprocessors.formats.own_rows import ROLES
from preprocessors.formats.rows import Format
from preprocessors.formats.table import FORMATS, HASH_SPLIT, HELD_OUT_SPLIT, format_of, formats_with, own_splits
from utils.plugins import is_plugin

GENERATED = [name for name, form in FORMATS.items() if form.generator is not None]
WITH_PICTURES = [name for name, form in FORMATS.items() if form.holds_pictures]


def _settings_of(name: str) -> Collection[str]:
    return format_of(name).settings if name else ()


def _needed(name: str, unless: list[str], brings: Callable[[Format], bool]) -> Relation:
    return Relation(
        (name, "format"),
        lambda group: not group.format or getattr(group, name) is not None or brings(format_of(group.format)),
        f"required with every data.format but {', '.join(unless)}",
    )


def _only_with(name: str) -> Relation:
    return Relation(
        (name, "format"),
        lambda group: getattr(group, name) in (None, {}) or name in _settings_of(group.format),
        f"only used with data.format {' or '.join(formats_with(name))}; remove it",
    )


def _divides(split: str, formats: list[str]) -> Relation:
    return Relation(
        ("split", "format"),
        lambda group: group.split != split or group.format in formats or is_plugin(group.format),
        f"{split} divides data.format {' or '.join(formats)} only; use hash, which divides any single file by picture "
        "name",
    )


def _taken_whole(name: str) -> Relation:
    return Relation(
        (name, "streaming"),
        lambda group: not group.streaming or getattr(group, name) is None,
        "streamed shards are taken whole; remove it, or set data.streaming to false",
    )


class DataConfig(Group):
    """The pictures and captions."""

    format: Annotated[str, OneOf(FORMATS, "data format", or_nothing=True, load=format_of)] = ""
    """Layout of the annotations; ``drawn_scenes`` makes its own. It must be given, unless a text run has documents that
    are no captions. A ``package.module:NAME`` is a ``Format`` of your own (docs/plugins.md)."""
    annotations: ConfigPath | None = None
    """Annotation file, or the folder with the annotation files; of data in shards, also ``.../{000..012}.tar`` or
    ``.../*.tar``."""
    images: ConfigPath | None = None
    """Folder of the pictures, or one tar or TSV that holds them."""
    image_suffix: str = ".jpg"
    """Added to picture names that come without one (personality_captions, and names found through ``columns``)."""
    columns: dict[str, Annotated[str, OneOf(ROLES, "content of a column")]] = {}
    """What the columns of one's own file hold (csv, json, jsonl): by the name of a column ``image``, ``style``, or
    ``text``, which is a caption or a list of them; {} = they are called so."""
    train: Name | None = None
    """Name of the training file inside ``annotations``."""
    val: Name | None = None
    """Name of the validation file inside ``annotations``."""
    test: Name | None = None
    """Name of the test file inside ``annotations``."""
    split: Annotated[str, OneOf([*own_splits(), HASH_SPLIT, HELD_OUT_SPLIT], "split")] | None = None
    """How one annotation file is split; None = flickr8k for FlickrStyle, and a file per split elsewhere. ``held_out``
    holds a tenth of its training pictures out as val, to choose on, and makes test what it keeps from training."""
    split_salt: Name | None = None
    """Name of another division by ``hash`` or ``held_out`` than the published one, which None is."""
    styles: Names | None = None
    """Train on these styles only; None = all."""
    on_bad_image: Literal["error", "skip"] = "error"
    """What to do with a missing or damaged picture; skipped rows are listed in the run."""
    punctuation: Literal["strip", "keep"] | None = None
    """Of captions that are trained on: ``strip`` removes it, as OFA does, so that the captioner never writes an
    apostrophe, hyphen or comma; None = as the model to start from was trained, strip for a new one."""
    on_bad_row: Literal["error", "skip"] = "error"
    """What to do with a row that cannot be read, is in no split or has no caption; listed in the run if skipped."""
    allow_outside: bool = False
    """Whether pictures may lie outside ``images``: absolute paths, ``..``, symbolic links that lead out."""
    picture_record: ConfigPath | None = Path("work_dir/.pictures")
    """Folder that keeps, for all runs, which pictures could be opened, by path, size and time of change; None = every
    start opens them all."""
    num_images: int | None = Field(default=None, ge=1)
    """Training pictures to draw (drawn_scenes); None = the generator's default."""
    streaming: bool = False
    """Read the training shards (webdataset) from beginning to end, without listing them first; an epoch has
    ``train.steps`` steps then. Styles, a new model's vocabulary and the baselines come from the first shard."""
    stream_lanes: int = Field(default=8, ge=1)
    """Shards that are read side by side; a multiple of processes x ``train.num_workers``, at most as many as shards."""
    stream_buffer: int = Field(default=1000, ge=1)
    """Samples of a lane that are shuffled with one another; their files are held in memory."""

    RELATIONS = (
        _needed("annotations", GENERATED, lambda form: form.generator is not None),
        _needed("images", GENERATED + WITH_PICTURES, lambda form: form.generator is not None or form.holds_pictures),
        Relation(
            ("images", "format"),
            lambda group: group.images is None or not group.format or not format_of(group.format).holds_pictures,
            "data.format={format} has its pictures where its annotations are; remove it",
        ),
        *(_only_with(name) for name in ("train", "val", "test")),
        *(_divides(split, formats) for split, formats in own_splits().items()),
        _divides(HELD_OUT_SPLIT, [name for formats in own_splits().values() for name in formats]),
        _only_with("columns"),
        Relation(
            ("split_salt", "split"),
            lambda group: group.split_salt is None or group.split in (HASH_SPLIT, HELD_OUT_SPLIT),
            f"only used with data.split {HASH_SPLIT} or {HELD_OUT_SPLIT}; remove it",
        ),
        _only_with("num_images"),
        Relation(
            ("streaming", "format"),
            lambda group: not group.streaming or group.format == "webdataset",
            "only data.format webdataset lies in shards that can be streamed; set it to false",
        ),
        *(_taken_whole(name) for name in ("split", "styles")),
    )
