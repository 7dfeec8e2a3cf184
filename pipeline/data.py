"""From a configuration to examples."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from configuration.data import DataConfig
from preprocessors.examples import CaptionExample, ExampleColumns, texts_of
from preprocessors.formats.rows import NEUTRAL
from preprocessors.formats.table import format_of
from preprocessors.pictures.images import verify_images
from preprocessors.pictures.record import PictureRecord
from preprocessors.readers import ReadResult, SplitName, read_examples
from preprocessors.text.corpora import StyledText, read_style_corpus
from preprocessors.text.style_names import fold_name, spelled_out, tidy_name

logger = logging.getLogger(__name__)


def prepare_data(data: DataConfig) -> None:
    """Make a data set that its format makes itself. Of the processes of a run only one may call it."""
    generator = format_of(data.format).generator
    if generator is not None:
        generator.make(annotations_of(data), data.num_images)


def annotations_of(data: DataConfig) -> Path:
    """Where the annotations lie: where the configuration says, or where the format puts those that it makes."""
    if data.annotations is not None:
        return data.annotations
    generator = format_of(data.format).generator
    assert generator is not None  # with every other format the configuration requires data.annotations
    return generator.folder(data.num_images)


def read_split(
    data: DataConfig,
    split_name: SplitName,
    styles: Sequence[str] | None = None,
    *,
    aliases: Mapping[str, str] | None = None,
    check_pictures: bool = True,
    neutral: str = NEUTRAL,
) -> ReadResult:
    """Examples of one split.

    Args:
        data: Says where and how.
        split_name: ``train``, ``val`` or ``test``.
        styles: Keep these styles only; None keeps what ``data.styles`` keeps.
        aliases: Other spellings of styles, each to the style's name.
        check_pictures: Off where the captions alone are needed.
        neutral: The style of captions whose data set gives none.

    Returns:
        Examples, dropped rows and the split's name. Every picture that the record does not know is opened, unless told
        not to.
    """
    annotations = annotations_of(data)
    result = read_examples(
        data.format,
        annotations=annotations,
        images=data.images or annotations / "images",
        split_name=split_name,
        image_suffix=data.image_suffix,
        files={"train": data.train, "val": data.val, "test": data.test},
        split=data.split,
        split_salt=data.split_salt,
        styles=styles or data.styles,
        aliases=aliases,
        on_bad_image=data.on_bad_image if check_pictures else "ignore",
        columns=data.columns,
        neutral=neutral,
        on_bad_row=data.on_bad_row,
        allow_outside=data.allow_outside,
    )
    if not check_pictures:
        return result
    record = PictureRecord(data.picture_record)
    examples, dropped = verify_images(result.examples, data.on_bad_image, record.find_faults)
    if not dropped:
        return result
    logger.warning("%s: left out %d rows with unreadable pictures", split_name, len(dropped))
    return ReadResult(examples, [*result.dropped, *dropped], result.split_id)


def read_corpus(
    corpus: Path | None, styles: Sequence[str] | None, aliases: Mapping[str, str] | None = None
) -> list[StyledText]:
    """A text-only corpus, in the styles to train on (None = all), under their names; empty if there is none."""
    if corpus is None:
        return []
    known = aliases or {}
    wanted = {fold_name(spelled_out(style, known)) for style in styles or ()}
    texts = (text._replace(style=spelled_out(text.style, known)) for text in read_style_corpus(corpus))
    return [text for text in texts if not wanted or fold_name(text.style) in wanted]


def styles_of(*groups: Iterable[CaptionExample | StyledText]) -> list[str]:
    """Distinct styles, sorted without regard to case: a style's id must not depend on the order of the rows.

    Of spellings that differ in case alone, the first one counts.
    """
    spellings: dict[str, str] = {}
    for group in groups:
        for style in group.styles() if isinstance(group, ExampleColumns) else (item.style for item in group):
            spellings.setdefault(fold_name(style), tidy_name(style))
    return [spellings[key] for key in sorted(spellings)]


def hash_examples(examples: Iterable[CaptionExample]) -> str:
    """SHA-256 (hex) over ids, styles and captions, in order; pictures are named, not read."""
    digest = hashlib.sha256()
    for example_id, style, captions in texts_of(examples):
        digest.update("\x1f".join((example_id, style, *captions, "\x1e")).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
