"""What is wrong with the data of a run, in short: what changes results and costs next to nothing to find."""

from __future__ import annotations

import logging

from configuration.data import DataConfig
from pipeline.prepare import RunData
from preprocessors.checks.captions import check_captions
from preprocessors.checks.findings import Findings
from preprocessors.checks.pictures import check_pictures
from preprocessors.checks.styles import check_styles
from preprocessors.formats.rows import NEUTRAL
from preprocessors.pictures.record import PictureRecord

logger = logging.getLogger(__name__)

MOST_EXAMPLES = 200_000
"""Examples that are looked at before every training, in some five seconds."""


def warn_of_findings(data: DataConfig, rows: RunData, neutral: str = NEUTRAL) -> None:
    """Say in one line each what is wrong with captions, styles and pictures; no picture is opened for it."""
    splits = {"train": rows.train.examples, "val": rows.val.examples}
    if rows.eval is not rows.val:
        splits["test"] = rows.eval.examples
    if sum(map(len, splits.values())) > MOST_EXAMPLES:
        logger.info("data: too many examples to look at before every training; `finetune.py check` looks at them")
        return
    findings = Findings()
    check_captions(splits, findings)
    check_styles(splits, findings, neutral)
    if data.picture_record is not None:
        check_pictures(splits, PictureRecord(data.picture_record), findings, near=False)
    told = [finding for finding in findings.sorted() if finding.severity != "note"]
    for finding in told:
        logger.warning("data: %s", finding.line)
    if told:
        logger.warning("data: `finetune.py check` with the same options shows all of it, and what to do")
