"""From a configuration to encoded documents, with the tokenizer and the styles that they are encoded with."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock
from tqdm import tqdm

from configuration.groups import RunConfig
from pipeline.vocabulary import Vocabulary, choose_vocabulary
from preprocessors.documents.codes import ControlCodes
from preprocessors.documents.processes import encode
from preprocessors.documents.reading import DocumentSource
from preprocessors.documents.table import CAPTIONS, opener_of
from preprocessors.documents.token_bins import TokenBins
from preprocessors.documents.writing import FORMAT_VERSION, META, Limits, Writer
from preprocessors.readers import SplitName
from utils.io import hash_json
from utils.plugins import check_methods

logger = logging.getLogger(__name__)

TOLD_EVERY = 30.0
"""Seconds between two lines of the log about progress."""


class EncodedSplit(NamedTuple):
    """Documents of a split, and what it took to encode them."""

    bins: TokenBins
    megabytes: float
    """Of what was read, 10^6 bytes; 0 if it was there already."""
    seconds: float


def documents_root(config: RunConfig) -> Path:
    """The folder of encoded documents, for all runs."""
    return config.documents.encoded or config.work_dir.parent / ".documents"


def open_source(config: RunConfig, split: SplitName) -> DocumentSource | None:
    """The documents of a split; None where the configuration names none.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If captions cannot be read, or there are to be links, and nothing to link to.
    """
    documents = config.documents
    if documents.format == CAPTIONS:
        return _caption_documents(config, split)
    path: Path | None = getattr(documents, split)
    if path is None:
        return None
    source = opener_of(documents.format)(path, separator=documents.separator, links=documents.links)
    check_methods(source, DocumentSource, documents.format)
    return source


def _caption_documents(config: RunConfig, split: SplitName) -> DocumentSource:
    # Here, since reading captions imports what looks at pictures.
    from pipeline.data import prepare_data, read_split
    from preprocessors.documents.captions import CaptionDocuments

    prepare_data(config.data)
    style = config.style
    read = read_split(config.data, split, aliases=style.aliases, check_pictures=False, neutral=style.neutral)
    return CaptionDocuments(
        read.examples,
        punctuation=config.data.punctuation or "strip",
        neutral=style.neutral,
        links=config.documents.links,
    )


def open_vocabulary(config: RunConfig) -> Vocabulary:
    """Tokenizer and styles of a text run: those of a folder, or learnt from the training documents, once.

    Raises:
        FileNotFoundError: If a file or the folder is missing.
        ValueError: If documents cannot be read, or there are styles that cannot be injected as they are to be.
    """
    root = documents_root(config)
    with _lock(root):
        return choose_vocabulary(config, lambda: _training_source(config), root)


def _training_source(config: RunConfig) -> DocumentSource:
    source = open_source(config, "train")
    assert source is not None  # the configuration requires documents.train
    return source


def encode_split(config: RunConfig, split: SplitName, vocabulary: Vocabulary) -> EncodedSplit | None:
    """The documents of a split, encoded now or before.

    Args:
        config: Of the run.
        split: ``train``, ``val`` or ``test``.
        vocabulary: Of the model that reads them.

    Returns:
        None where the configuration names no such documents.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If there is a bad document and such are errors, or not one that can be used.
    """
    start = time.monotonic()
    source = open_source(config, split)
    if source is None:
        return None
    root, tokenizer, registry = documents_root(config), vocabulary.tokenizer, vocabulary.registry
    codes = ControlCodes(tokenizer, registry)
    documents = config.documents
    limits = Limits(documents.max_meta_len, documents.max_body_len)
    styles = None if registry is None else registry.hash
    linked = [documents.links, config.style.neutral] if documents.links else []
    parts = [FORMAT_VERSION, source.fingerprint(), tokenizer.digest(), styles, *limits, documents.on_bad_row, *linked]
    key = hash_json(parts)
    folder, megabytes = root / f"{split}-{key[:16]}", 0.0
    with _lock(root):
        if not (folder / META).is_file():
            about = {"source": _describe(config, split)}
            writer = Writer(folder, codes, key=key, limits=limits, on_bad_row=documents.on_bad_row, about=about)
            megabytes = (source.num_bytes - writer.counts.source_bytes) / 1e6
            _encode(source, vocabulary, writer, split)
        bins = TokenBins.open(folder, tokenizer, registry)
    _tell(split, bins)
    return EncodedSplit(bins, megabytes, time.monotonic() - start)


def _encode(source: DocumentSource, vocabulary: Vocabulary, writer: Writer, split: SplitName) -> None:
    before = writer.counts.source_bytes
    if before:
        logger.info("%s: going on behind %.1f MB that were encoded before", split, before / 1e6)
    start = told = time.monotonic()
    bar = tqdm(total=source.num_bytes, initial=before, desc=split, unit="B", unit_scale=True, disable=None, leave=False)
    try:
        with bar:
            for done in encode(source, vocabulary.tokenizer, writer):
                bar.update(done - bar.n)
                if (now := time.monotonic()) - told > TOLD_EVERY:
                    speed, told = (done - before) / 1e6 / (now - start), now
                    logger.info("%s: %.0f%%, %.1f MB/s", split, 100 * done / max(1, source.num_bytes), speed)
        writer.finish()
    finally:
        writer.close()


def _tell(split: SplitName, bins: TokenBins) -> None:
    about, links = bins.about, bins.about["links"]
    if about["skipped"]:
        counted = ", ".join(f"{reason} {count}" for reason, count in about["skipped"].items())
        logger.warning("%s: left out documents: %s. The first: %s", split, counted, about["first_skipped"][0])
    if about["cut"]:
        logger.warning("%s: the ends of %d bodies are left out (documents.max_body_len)", split, about["cut"])
    if links:
        logger.info("%s: %d links; %d close a cycle", split, links["links"], links["cycles"])
    if links and links["nowhere"]:
        first = ", ".join(links["first_nowhere"][:3])
        logger.warning("%s: %d links lead nowhere: %s", split, links["nowhere"], first)
    if links and links["same_titles"]:
        logger.warning("%s: %d documents have a title that another has before them", split, links["same_titles"])


def _describe(config: RunConfig, split: SplitName) -> str:
    if config.documents.format == CAPTIONS:
        return f"captions of data.format={config.data.format}, {split}"
    return f"{config.documents.format} {getattr(config.documents, split)}"


@contextmanager
def _lock(root: Path) -> Iterator[None]:
    """One process encodes; others wait, and then find it done."""
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / ".lock"):
        yield
