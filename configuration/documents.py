"""The documents of a text run: where they lie, what stands before them, how long they may be."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from configuration.types import ConfigPath, Group, NameOrFolder, OneOf, Relation
from preprocessors.documents.table import CAPTIONS, FORMATS, SOURCES, opener_of
from utils.plugins import is_plugin

WITH_SEPARATOR = [name for name, kind in SOURCES.items() if kind.uses_separator]


def _not_of_captions(name: str) -> Relation:
    return Relation(
        (name, "format"),
        lambda group: getattr(group, name) is None or group.format != CAPTIONS,
        "captions are divided as the data group says; remove it, or set documents.format",
    )


class DocumentsConfig(Group):
    """The documents of a text run (task text), which are encoded before it is trained."""

    format: Annotated[str, OneOf(FORMATS, "document format", load=opener_of)] = CAPTIONS
    """``captions`` of the data group, each a document in its style; ``jsonl``, lines of ``{"body": text, "meta": text
    or list, "title": text, "links": [title]}``; a ``folder`` of .txt files, each a document; one ``text`` file with a
    separator. A ``package.module:name`` is a function of your own that opens them (docs/plugins.md)."""
    train: ConfigPath | None = None
    """File or folder of the documents to learn from."""
    val: ConfigPath | None = None
    """Those to validate on; None = those that are learnt from, which says less."""
    test: ConfigPath | None = None
    """Those to evaluate on."""
    separator: str = Field(default="<|endoftext|>", min_length=1)
    """What stands between documents (text)."""
    on_bad_row: Literal["error", "skip"] = "error"
    """What to do with a document that cannot be read, has no body or whose meta is too long; those that are skipped are
    counted."""
    codes: Literal["styles", "words"] | None = None
    """What the meta of a document is: ``styles``, which are injected as ``style.inject`` says, or any ``words``, which
    stand before the body as they are; None = styles for captions and for models that have some, else words."""
    tokenizer: NameOrFolder | None = None
    """Model folder whose tokenizer, and styles, a new model gets, such as a captioner's; None = a BPE with
    ``model.bpe_size`` entries, learnt on a sample of the documents."""
    max_meta_len: int | None = Field(default=None, ge=1)
    """Most ids of a control code; a document with a longer one is a bad one. None = no limit."""
    max_body_len: int | None = Field(default=None, ge=1)
    """Ids of a body that are kept; what stands behind them is left out and counted. None = all."""
    overlap: int = Field(default=0, ge=0)
    """A document longer than the model's positions is cut into windows, each of which begins with so many ids of the
    one before it, which are read there and not learnt again; 0 = consecutive windows."""
    ignore_meta_prob: float = Field(default=0.0, ge=0, lt=1)
    """Probability that a document is read without its control code in an epoch, so that the model also writes without
    one: ``style.dropout`` of text."""
    links: bool = False
    """Read a document behind those that it links to: by ``links`` of jsonl, by ``[text](title)``, of a folder with the
    path of a file without .txt as its title. Captions in a style link to those of the picture in ``style.neutral``."""
    link_tokens: int | None = Field(default=None, ge=1)
    """Ids that the documents before one may have together, the nearest first; None = as many as fit into a row."""
    encoded: ConfigPath | None = None
    """Folder of encoded documents, kept for all runs under names that tell what they were made from; None =
    ``.documents`` beside the run folder."""

    RELATIONS = (
        Relation(
            ("train", "format"),
            lambda group: group.train is not None or group.format == CAPTIONS,
            "required with documents.format={format}",
        ),
        *(_not_of_captions(name) for name in ("train", "val", "test")),
        Relation(
            ("separator", "format"),
            lambda group: (
                group.separator == "<|endoftext|>" or group.format in WITH_SEPARATOR or is_plugin(group.format)
            ),
            f"only used with documents.format {' or '.join(WITH_SEPARATOR)}; remove it",
        ),
        Relation(
            ("link_tokens", "links"),
            lambda group: group.link_tokens is None or group.links,
            "only used with documents.links; set that to true, or remove this",
        ),
    )
