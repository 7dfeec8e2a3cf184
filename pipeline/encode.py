"""What ``finetune.py encode`` does: the documents of all splits, encoded, and what it took."""

from __future__ import annotations

import logging
import resource
from typing import Any

from configuration.groups import RunConfig
from pipeline.documents import EncodedSplit, documents_root, encode_split, open_vocabulary
from pipeline.vocabulary import Vocabulary
from preprocessors.documents.table import CAPTIONS
from preprocessors.readers import SplitName
from utils.peak_memory import peak_bytes

logger = logging.getLogger(__name__)


def encode_documents(config: RunConfig) -> dict[str, Any]:
    """Encode what a text run is to read; what is encoded already is checked and left.

    Returns:
        Where it is, what it is, how fast it was, and the most memory of this process and of the largest of those that
        helped.

    Raises:
        FileNotFoundError: If files are missing.
        ValueError: If the run is no text run, or documents cannot be used.
    """
    if config.task != "text":
        raise ValueError("task=captions: has no documents to encode; set task to text, and documents")
    vocabulary = open_vocabulary(config)
    splits: list[SplitName] = ["train", "val"] if config.documents.format == CAPTIONS else ["train", "val", "test"]
    found = {split: encoded for split in splits if (encoded := encode_split(config, split, vocabulary)) is not None}
    whose = {"here": resource.RUSAGE_SELF, "largest_helper": resource.RUSAGE_CHILDREN}
    peak = {name: round(peak_bytes(who) / 1e6, 1) for name, who in whose.items()}
    logger.info("most memory: %.0f MB here, %.0f MB in the largest helper", *peak.values())
    return {
        "folder": str(documents_root(config)),
        "vocabulary": _describe_vocabulary(vocabulary),
        "splits": {split: _describe(encoded) for split, encoded in found.items()},
        "peak_mb": peak,
    }


def _describe_vocabulary(vocabulary: Vocabulary) -> dict[str, Any]:
    styles = None if vocabulary.registry is None else len(vocabulary.registry)
    return {"entries": len(vocabulary.tokenizer), "tokenizer": vocabulary.tokenizer.digest(), "styles": styles}


def _describe(encoded: EncodedSplit) -> dict[str, Any]:
    about = encoded.bins.about
    names = ("documents", "tokens", "code_tokens", "body_bytes", "dtype", "cut", "skipped", "links")
    speed = round(encoded.megabytes / encoded.seconds, 2) if encoded.megabytes else None
    told = {"seconds": round(encoded.seconds, 2), "mb_per_second": speed, "was_there": not encoded.megabytes}
    return {"folder": str(encoded.bins.folder), **{name: about[name] for name in names}, **told}
