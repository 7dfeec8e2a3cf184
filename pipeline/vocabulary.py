"""Tokenizer and styles of a text run: of a folder, or learnt from its documents and kept for all runs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from configuration.documents import DocumentsConfig
from configuration.groups import RunConfig, StyleConfig
from preprocessors.documents.byte_pairs import BytePairTokenizer
from preprocessors.documents.folders import open_text_tokenizer
from preprocessors.documents.reading import BadDocument, DocumentSource
from preprocessors.documents.table import CAPTIONS
from preprocessors.documents.training import TextSample, train_tokenizer
from preprocessors.text.style_names import fold_name, spelled_out, tidy_name
from preprocessors.text.styles import FILE_NAME, StyleRegistry
from utils.durable import replaced_folder
from utils.hub import resolve_model_folder
from utils.io import hash_json

logger = logging.getLogger(__name__)

MOST_STYLES = 20_000
"""Different ones that documents may have: as many as a folder may name."""


class Vocabulary(NamedTuple):
    """What documents are encoded with, and a model reads."""

    tokenizer: BytePairTokenizer
    registry: StyleRegistry | None
    """Styles; None where any words are a control code."""


class _Survey(NamedTuple):
    """What must be known of the documents before the first is encoded."""

    sample: list[str]
    styles: list[str]


def choose_vocabulary(config: RunConfig, open_source: Callable[[], DocumentSource], root: Path) -> Vocabulary:
    """Tokenizer and styles as a configuration asks for them.

    Args:
        config: Of a text run.
        open_source: Opens the documents that are learnt from; called only if something must be learnt from them.
        root: Where what was learnt is kept. One process at a time may be here.

    Raises:
        FileNotFoundError: If a file or the folder is missing.
        ValueError: If documents cannot be read, or there are styles that cannot be injected as they are to be.
    """
    documents, style = config.documents, config.style
    named = config.model.name or documents.tokenizer
    folder = None if named is None else resolve_model_folder(named, config.model.revision)
    tokenizer = None if folder is None else open_text_tokenizer(folder)
    known = StyleRegistry.load_from_dir(folder) if folder is not None and (folder / FILE_NAME).is_file() else None
    if config.model.name is not None and tokenizer is not None:  # its ids and codes are what it was trained with
        if documents.codes is not None and (documents.codes == "styles") != (known is not None):
            has = f"has no {FILE_NAME}" if known is None else "has styles"
            raise ValueError(f"documents.codes={documents.codes}: {named} {has}, and keeps what it has; remove it")
        return Vocabulary(tokenizer, known)
    styled = documents.codes == "styles" if documents.codes else known is not None or documents.format == CAPTIONS
    if tokenizer is not None and not styled:
        return Vocabulary(tokenizer, None)
    source = open_source()
    of_tokenizer = f"learnt {config.model.bpe_size}" if tokenizer is None else tokenizer.digest()
    of_styles = [style.inject, style.neutral, style.aliases, known and known.hash] if styled else None
    parts = [source.fingerprint(), of_tokenizer, of_styles, documents.on_bad_row]
    kept = root / f"vocabulary-{hash_json(parts)[:16]}"
    if not kept.is_dir():
        survey = _look_through(source, documents, style, with_styles=styled, sampled=tokenizer is None)
        learnt = tokenizer or train_tokenizer(survey.sample, config.model.bpe_size)
        registry = None if not styled else _registry(known, survey.styles, style)
        with replaced_folder(kept) as aside:
            _with_entries(learnt, registry).save_to_dir(aside)
            if registry is not None:
                registry.save_to_dir(aside)
    return Vocabulary(
        open_text_tokenizer(kept), StyleRegistry.load_from_dir(kept) if (kept / FILE_NAME).is_file() else None
    )


def _registry(known: StyleRegistry | None, styles: list[str], style: StyleConfig) -> StyleRegistry:
    if known is not None:
        return known.extended(styles, style.aliases)
    return StyleRegistry(styles, inject=style.inject, neutral=style.neutral).extended((), style.aliases)


def _with_entries(tokenizer: BytePairTokenizer, registry: StyleRegistry | None) -> BytePairTokenizer:
    """The tokenizer with an entry for each style, where styles are injected so."""
    if registry is None or registry.inject == "words":
        return tokenizer
    if registry.inject == "token":
        return tokenizer.extended(registry.style_tokens())
    if lacking := [name for name in registry.names if not tokenizer.has(registry.token_of(name))]:
        raise ValueError(
            f"style.inject=code: the tokenizer has no code for {lacking[0]!r} ({len(lacking)} of {len(registry)} "
            "styles). Use style.inject=token or words, or a captioner's folder as documents.tokenizer."
        )
    return tokenizer


def _look_through(
    source: DocumentSource, documents: DocumentsConfig, style: StyleConfig, *, with_styles: bool, sampled: bool
) -> _Survey:
    """A sample of the texts, and the styles, in the order of their names: an id must not depend on that of the rows."""
    logger.info("looking through the documents for %s", " and ".join(["styles"] * with_styles + ["a BPE"] * sampled))
    sample, styles = TextSample(), dict[str, str]()
    seen = set[tuple[str, ...]]()
    for read in source.read():
        if isinstance(read.document, BadDocument):
            if documents.on_bad_row == "error":
                raise read.document
            continue
        if sampled:
            sample.add(read.document.body)
        if with_styles and read.document.meta not in seen:
            seen.add(read.document.meta)
            for name in read.document.meta:
                plain = spelled_out(name, style.aliases)
                styles.setdefault(fold_name(plain), tidy_name(plain))
            if len(styles) > MOST_STYLES:
                raise ValueError(
                    f"{read.document.where}: more than {MOST_STYLES:,} different meta up to here, which are too many "
                    "for styles. Set documents.codes=words to have any words stand before a document."
                )
    return _Survey(sample.texts(), [styles[key] for key in sorted(styles)])
