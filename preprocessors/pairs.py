"""Pairs of captions of one picture in one style, of which one is preferred: their file, and a data set over them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from preprocessors.dataset import CaptionDataset
from preprocessors.examples import CaptionExample, make_example_id
from preprocessors.formats.rows import AnnotationRow
from preprocessors.interface import CaptionPreprocessor, EncodedExample
from preprocessors.picture_paths import PicturePaths
from preprocessors.pictures.feature_cache import FeatureCache
from preprocessors.text.corpora import check_object, text_of
from preprocessors.text.masking import MaskedSource
from utils.io import read_jsonl

REMEDY = (
    'Each line must be {"image": name, "style": style, "chosen": caption, "rejected": caption}; correct or remove it.'
)


class CaptionPair(NamedTuple):
    """An example whose caption is the chosen one, and the caption that it is preferred to."""

    example: CaptionExample
    rejected: str


def read_pairs(
    path: Path,
    images: Path,
    preprocessor: CaptionPreprocessor,
    *,
    styles: Sequence[str] | None = None,
    allow_outside: bool = False,
) -> list[CaptionPair]:
    """Read a JSONL file of ``{"image", "style", "chosen", "rejected"}``; other keys are passed over.

    Args:
        path: The file.
        images: Where its pictures lie.
        preprocessor: Knows the styles, and what becomes of captions.
        styles: Pairs in other styles are left out; None keeps all.
        allow_outside: Whether pictures may lie outside ``images``.

    Returns:
        In the order of the file; styles as the registry writes them.

    Raises:
        FileNotFoundError: If there is no such file, or a picture is missing.
        ValueError: If a line is not such a pair, its style is unknown, its captions are the same to the model, or no
            pair is left; names file and line.
    """
    wanted = {preprocessor.registry.resolve(style) for style in styles or ()}
    pairs = [_pair_of(record, path, line, preprocessor) for line, record in read_jsonl(path)]
    kept = [pair for pair in pairs if not wanted or pair.example.style in wanted]
    if not kept:
        told = f", all {len(pairs):,} in other styles than those of data.styles" if pairs else ""
        raise ValueError(f"{path}: there are no pairs to learn{told}. Check preference.pairs, or set it to null.")
    return [*_with_pictures(kept, images, PicturePaths(images, allow_outside=allow_outside))]


class PairDataset(CaptionDataset):
    """Training rows that are a pair each; what else is learnt of captions is learnt of the chosen ones.

    Args:
        pairs: The rows.
        preprocessor: Makes the model inputs.
        masking: As for :class:`CaptionDataset`.
        features: The same.
    """

    def __init__(
        self,
        pairs: Sequence[CaptionPair],
        preprocessor: CaptionPreprocessor,
        masking: MaskedSource | None = None,
        features: FeatureCache | None = None,
    ) -> None:
        super().__init__([pair.example for pair in pairs], preprocessor, True, masking, features)
        self.pairs = pairs

    def __getitems__(self, rows: Sequence[int]) -> list[EncodedExample]:
        """Encode the examples of a batch, each with the target ids of its pair, the chosen ones first."""
        batch = super().__getitems__(rows)
        for encoded in batch:
            encoded["pair_labels"] = self._target_ids(encoded["row"])
        return batch

    def _target_ids(self, row: int) -> list[list[int]]:
        pair = self.pairs[row]
        return [self.preprocessor.target_ids(caption) for caption in (*pair.example.captions, pair.rejected)]

    def _caption_lengths(self, epoch: int, row: int) -> list[int]:
        return [*map(len, self._target_ids(row))]


def _pair_of(record: Any, path: Path, line: int, preprocessor: CaptionPreprocessor) -> CaptionPair:
    where = f"{path}, line {line}"
    check_object(record, where, REMEDY)
    image, named, chosen, rejected = (
        text_of(record, key, where, REMEDY) for key in ("image", "style", "chosen", "rejected")
    )
    style = preprocessor.registry.resolve(named, where=where)
    chosen_ids, rejected_ids = map(preprocessor.target_ids, (chosen, rejected))
    for key, caption, token_ids in (("chosen", chosen, chosen_ids), ("rejected", rejected, rejected_ids)):
        if len(token_ids) == 1:
            raise ValueError(f"{where}: {key!r} has no words: {caption!r}. {REMEDY}")
    if chosen_ids == rejected_ids:
        raise ValueError(
            f"{where}: 'chosen' and 'rejected' are the same caption to the model ({chosen!r} and {rejected!r}), so "
            "neither can be preferred. Correct or remove the line."
        )
    example_id = make_example_id(image, style)
    return CaptionPair(CaptionExample(example_id, Path(image), style, (chosen,), str(path), line), rejected)


def _with_pictures(pairs: Sequence[CaptionPair], images: Path, paths: PicturePaths) -> Iterator[CaptionPair]:
    found = [_find(pair.example, paths) for pair in pairs]
    missing = [pair.example for pair, row in zip(pairs, found, strict=True) if row is None]
    if missing:
        first = missing[0]
        raise FileNotFoundError(
            f"{first.source}, line {first.row}: no picture {images / first.image_path} ({len(missing):,} of "
            f"{len(pairs):,} pairs have none). Check data.images, or remove such lines."
        )
    for pair, row in zip(pairs, found, strict=True):
        assert row is not None  # or it would be missing
        example = pair.example
        placed = CaptionExample(
            make_example_id(row.image, example.style),
            images / row.image,
            *(example.style, example.captions, example.source, example.row),
        )
        yield pair._replace(example=placed)


def _find(example: CaptionExample, paths: PicturePaths) -> AnnotationRow | None:
    return paths.find(AnnotationRow(example.source, example.row, example.image_name, {}))
