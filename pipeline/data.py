"""From a configuration to examples."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from configuration.groups import DataConfig
from preprocessors.examples import CaptionExample
from preprocessors.formats.table import FORMATS
from preprocessors.pictures.images import verify_images
from preprocessors.pictures.record import PictureRecord
from preprocessors.readers import ReadResult, SplitName, read_examples
from preprocessors.text.corpora import StyledText, read_style_corpus
from preprocessors.text.styles import fold_name

logger = logging.getLogger(__name__)


def prepare_data(data: DataConfig) -> None:
    """Make a data set that its format makes itself. Of the processes of a run only one may call it."""
    generator = FORMATS[data.format].generator
    if generator is not None:
        generator.make(annotations_of(data), data.num_images)


def annotations_of(data: DataConfig) -> Path:
    """Where the annotations lie: where the configuration says, or where the format puts those that it makes."""
    if data.annotations is not None:
        return data.annotations
    generator = FORMATS[data.format].generator
    assert generator is not None  # with every other format the configuration requires data.annotations
    return generator.folder(data.num_images)


def read_split(
    data: DataConfig, split_name: SplitName, styles: Sequence[str] | None = None, *, check_pictures: bool = True
) -> ReadResult:
    """Examples of one split.

    Args:
        data: Says where and how.
        split_name: ``train``, ``val`` or ``test``.
        styles: Keep these styles only; None keeps what ``data.styles`` keeps.
        check_pictures: Off where the captions alone are needed.

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
        styles=styles or data.styles,
        on_bad_image=data.on_bad_image if check_pictures else "ignore",
    )
    if not check_pictures:
        return result
    record = PictureRecord(data.picture_record)
    examples, dropped = verify_images(result.examples, data.on_bad_image, record.find_faults)
    if dropped:
        logger.warning("%s: left out %d rows with unreadable pictures", split_name, len(dropped))
    return ReadResult(examples, [*result.dropped, *dropped], result.split_id)


def read_corpus(corpus: Path | None, styles: Sequence[str] | None) -> list[StyledText]:
    """A text-only corpus, in the styles to train on (None = all); empty if there is none."""
    if corpus is None:
        return []
    wanted = {fold_name(style) for style in styles or ()}
    return [text for text in read_style_corpus(corpus) if not wanted or fold_name(text.style) in wanted]


def styles_of(examples: Iterable[CaptionExample | StyledText]) -> list[str]:
    """Distinct styles, sorted without regard to case: a style's id must not depend on the order of the rows.

    Of spellings that differ in case alone, the first one counts.
    """
    spellings: dict[str, str] = {}
    for example in examples:
        spellings.setdefault(fold_name(example.style), example.style.strip())
    return [spellings[key] for key in sorted(spellings)]


def hash_examples(examples: Iterable[CaptionExample]) -> str:
    """SHA-256 (hex) over ids, styles and captions, in order; pictures are named, not read."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update("\x1f".join((example.example_id, example.style, *example.captions, "\x1e")).encode())
    return digest.hexdigest()
