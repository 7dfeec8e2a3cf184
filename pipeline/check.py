"""The data doctor: reads every row, opens every picture, and writes what is wrong with them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

from captioning.styled import StyledCaptioner, open_styled
from configuration.data import DataConfig
from configuration.groups import RunConfig
from metrics.ceiling import cider_ceilings
from pipeline.captioner import new_registry, set_up_captioner
from pipeline.data import annotations_of, prepare_data, read_corpus, read_split
from pipeline.punctuation import punctuation_of
from pipeline.streaming import read_training
from preprocessors.checks.captions import check_captions
from preprocessors.checks.encoding import bad_lines
from preprocessors.checks.facts import choose_samples, describe_split, style_words
from preprocessors.checks.findings import Case, Finding, Findings
from preprocessors.checks.lengths import Limits, check_lengths, estimate
from preprocessors.checks.names import check_names, first_by_picture
from preprocessors.checks.pictures import check_faults, check_pictures
from preprocessors.checks.styles import check_styles
from preprocessors.examples import CaptionExample, DroppedRow
from preprocessors.formats.bad_rows import BAD_ROW
from preprocessors.formats.table import format_of
from preprocessors.pictures.images import find_fault, limit_pixels
from preprocessors.pictures.record import PictureRecord
from preprocessors.readers import NO_SPLIT, ReadResult, SplitName
from preprocessors.row_filters import NO_CAPTION
from preprocessors.text.captions import Punctuation, clean_caption
from reports.data.page import write_check_page
from utils.errors import first_line
from utils.io import write_json

logger = logging.getLogger(__name__)

SPLITS: tuple[SplitName, ...] = ("train", "val", "test")
UNUSABLE = (BAD_ROW, NO_CAPTION, NO_SPLIT)
"""Reasons for which rows are errors unless they are to be skipped."""
COST = 0.02
"""Share of CIDEr from which a rule's cost is a finding."""

Splits = Mapping[str, Sequence[CaptionExample]]


def check(config: RunConfig, out: Path) -> dict[str, Any]:
    """Look at everything that a configuration would train and evaluate on.

    Args:
        config: Of a run; nothing of it is trained or changed.
        out: Folder for ``check.json`` and ``check.html``.

    Returns:
        Number of cases by kind, whether there are none, and where the files are.

    Raises:
        ValueError: If the training split is there and cannot be read at all.
        OSError: If files are missing without which nothing can be read, or the folder cannot be written.
    """
    start = time.monotonic()
    limit_pixels(config.image.max_pixels)
    prepare_data(config.data)
    findings = Findings()
    read, absent = _read_splits(config, findings)
    splits = {name: result.examples for name, result in read.items()}
    there, record = _check_pictures(config.data, splits, findings)
    check_captions(splits, findings)
    check_styles(splits, findings, config.style.neutral)
    lengths, punctuation = _measure_lengths(config, splits["train"], findings) if "train" in splits else (None, "strip")
    report: dict[str, Any] = {
        "data": {"format": config.data.format, "annotations": str(annotations_of(config.data))},
        "splits": {name: describe_split(result) for name, result in read.items()},
        "absent": absent,
        "pictures": {"there": len(there), "opened": record.opened, "known": len(there) - record.opened},
        "lengths": lengths,
        "punctuation": _measure_punctuation(config, splits, findings) if punctuation == "strip" else [],
        "style_words": style_words(splits.get("train", ())),
        "samples": choose_samples(splits, there),
    }
    found = findings.sorted()
    report = {"clean": not found, "findings": [finding.describe() for finding in found], **report}
    report["seconds"] = round(time.monotonic() - start, 1)
    files = {"json": out / "check.json", "page": out / "check.html"}
    write_json(files["json"], report)
    write_check_page(files["page"], report, title=config.work_dir.name)
    for finding in found:
        logger.info("%s: %s", finding.severity, finding.line)
    return _summarise(found, read, files)


def _summarise(found: Sequence[Finding], read: Mapping[str, ReadResult], files: Mapping[str, Path]) -> dict[str, Any]:
    return {
        "clean": not found,
        "findings": {finding.kind: finding.count for finding in found},
        "splits": {name: len(result.examples) for name, result in read.items()},
        "files": {name: str(path) for name, path in files.items()},
    }


def _read_splits(config: RunConfig, findings: Findings) -> tuple[dict[str, ReadResult], dict[str, str]]:
    """What can be read by split, and why the others are not there."""
    annotations = annotations_of(config.data)
    data = config.data.model_copy(update={"images": config.data.images or annotations / "images", "on_bad_row": "skip"})
    read: dict[str, ReadResult] = {}
    absent: dict[str, str] = {}
    damaged: list[SplitName] = []
    refused: list[Case] = []
    for name in SPLITS:
        try:
            read[name] = _read(config, data, name)
        except (ValueError, OSError) as error:
            if name == "train" and not _has_none(error):
                raise
            absent[name] = str(error)
            damaged += [] if _has_none(error) else [name]
        else:
            cases = [_case(gone) for gone in read[name].dropped if gone.reason in UNUSABLE]
            refused += [case for case in cases if case not in refused]  # of one file with all splits each meets them
    if not read:
        raise FileNotFoundError(absent[config.eval.split if config.model.name else "train"])
    told = {*_needed(config, absent), *damaged}
    findings.add("unreadable_split", [Case(name, why) for name, why in absent.items() if name in told])
    lines = list(bad_lines(_texts_of(config.data, read)))
    places = {case.where.replace(", line ", ", row ") for case in lines}
    findings.add("bad_row", (case for case in refused if case.where not in places))
    findings.add("not_utf8", lines)
    for result in read.values():
        findings.add(
            "dropped_row",
            (_case(gone) for gone in result.dropped if gone.reason not in UNUSABLE),
        )
    return read, absent


def _texts_of(data: DataConfig, read: Mapping[str, ReadResult]) -> list[Path]:
    """The files that examples were read from; none of a format that holds pictures, whose files are no text."""
    if format_of(data.format).holds_pictures:
        return []
    return [*map(Path, sorted({example.source for result in read.values() for example in result.examples} - {""}))]


def _read(config: RunConfig, data: DataConfig, name: SplitName) -> ReadResult:
    """A split without the rows that cannot be read, which are among its dropped ones, with what is wrong with them."""
    read = read_training if name == "train" else partial(read_split, split_name=name)
    return read(data, aliases=config.style.aliases, check_pictures=False, neutral=config.style.neutral)


def _case(gone: DroppedRow) -> Case:
    what = gone.detail if gone.reason == BAD_ROW else f"{gone.reason} {gone.detail}"
    return Case(f"{gone.source}, row {gone.row}", what)


def _needed(config: RunConfig, absent: Mapping[str, str]) -> set[str]:
    """The splits without which a run does less than it is asked to; a model that is there may merely be evaluated."""
    if config.model.name is not None and "train" in absent:
        return {config.eval.split}
    return {"train", "val", config.eval.split}


def _has_none(error: Exception) -> bool:
    """Whether a split is not there, and not merely damaged."""
    return isinstance(error, FileNotFoundError) or "has no rows for" in str(error)


def _check_pictures(data: DataConfig, splits: Splits, findings: Findings) -> tuple[set[Path], PictureRecord]:
    """The pictures that are there, and what is known of them."""
    there = check_names(splits, data.images or annotations_of(data) / "images", findings)
    record = PictureRecord(data.picture_record)
    paths = [path for path in first_by_picture(splits) if path in there]
    check_faults(record.find_faults(paths, find_fault), splits, findings)
    check_pictures(splits, record, findings)
    return there, record


def _measure_lengths(
    config: RunConfig, train: Sequence[CaptionExample], findings: Findings
) -> tuple[dict[str, Any], Punctuation]:
    """How long captions are, and the rule for punctuation that they are trained by."""
    name = config.model.name
    count: Callable[[str], int] = estimate
    places, tokenizer, settings = None, "", None
    if name is not None and not Path(name).expanduser().exists():
        tokenizer = f"estimated from words: {name} is not on this disk"
    else:
        try:
            styled = _open_captioner(config, train)
        except (ValueError, OSError) as error:
            tokenizer = f"estimated from words: {first_line(error)}"
            findings.add("unusable_model", [Case(name or str(config.model.preset), str(error))])
        else:
            tokenizer = name or f"a new BPE of {len(styled.captioner.tokenizer):,} entries, as training makes it"
            settings = styled.settings
            places = styled.captioner.limits().text_length
            encode = styled.captioner.tokenizer.encode_text
            count = cast(Callable[[str], int], lambda text: len(encode(text)))
    decoded, punctuation = config.decode.max_length, punctuation_of(config.data, settings)
    if decoded is None and settings is not None:  # training keeps to the model's own
        decoded = settings.decoding.max_length
    lengths = check_lengths(train, count, Limits(decoded, places), findings, punctuation)
    return {"tokenizer": tokenizer, **lengths}, punctuation


def _open_captioner(config: RunConfig, train: Sequence[CaptionExample]) -> StyledCaptioner:
    """With the tokenizer and the places that training would have."""
    if config.model.name is not None:
        return open_styled(config.model.name, registry=new_registry(config.style, train), kind=config.model.kind)
    model = config.model.model_copy(update={"vision": None, "vision_weights": "kept"})
    corpus = read_corpus(config.masked_lm.corpus, config.data.styles, config.style.aliases)
    return set_up_captioner(config.model_copy(update={"model": model}), train, corpus)


def _measure_punctuation(config: RunConfig, splits: Splits, findings: Findings) -> list[dict[str, Any]]:
    """What the captions of the evaluated split lose to OFA's rule, which training captions are held to."""
    captioned = [name for name, examples in splits.items() if any(example.captions for example in examples)]
    if not captioned:
        return []
    name = min(captioned, key=(config.eval.split, "val", "train", "test").index)
    written = [example.captions for example in splits[name]]
    ceilings = cider_ceilings(written, [[*map(clean_caption, captions)] for captions in written])
    costly = [ceiling for ceiling in ceilings if ceiling.lost >= COST]
    against = {"leave_one_out": "against the others of their picture", "itself": "against themselves"}
    findings.add(
        "punctuation_cost",
        (
            Case(name, f"CIDEr {part.under_rule:.2f} of {part.as_written:.2f}, captions {against[part.method]}")
            for part in costly
        ),
    )
    return [{"split": name, **ceiling._asdict(), "lost": ceiling.lost} for ceiling in ceilings]
