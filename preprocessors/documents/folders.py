"""Opens the tokenizer of a model folder, a captioner's or a text model's, without the model."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from preprocessors.documents.byte_pairs import TOKENIZER_FILE, BytePairTokenizer, from_merges
from preprocessors.text.bpe_files import (
    BIN_TOKENS,
    CODE_TOKENS,
    DESCRIPTION_FILE,
    SPECIAL,
    VOCABULARY_FILES,
    read_appended,
    read_bpe,
)
from utils.errors import first_line
from utils.small_json import read_small_json

TOKENIZER_BYTES = 64_000_000
"""Most of a ``tokenizer.json``. Published: 1.4 MB of GPT-2, up to 33 MB of vocabularies with 256,000 entries."""
ENDS = (("<s>", "</s>"), ("<|endoftext|>", "<|endoftext|>"))
"""Pairs of BOS and EOS that folders have which do not name theirs."""


def open_text_tokenizer(folder: Path) -> BytePairTokenizer:
    """The tokenizer of a folder: a captioner's (OFA), ours, or that of a model of transformers.

    Of a captioner's folder ``vocab.json`` and ``merges.txt`` are read, and what is appended to them; of another one
    ``tokenizer.json``, or those two as GPT-2 has them.

    Raises:
        FileNotFoundError: If the folder holds no tokenizer.
        ValueError: If files are damaged, do not belong together, or are of a tokenizer that is no byte-level BPE.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; name a model folder with its tokenizer")
    has_merges = all((folder / name).is_file() for name in VOCABULARY_FILES)
    if has_merges and _is_captioner(folder):
        return _open_captioners(folder)
    if (folder / TOKENIZER_FILE).is_file():
        return _open_described(folder)
    if has_merges:
        vocabulary, merges = read_bpe(folder, special=())
        bos, eos = _ends(folder, vocabulary)
        return from_merges(vocabulary, merges, special=[*{bos: None, eos: None}], bos=bos, eos=eos)
    raise FileNotFoundError(
        f"{folder}: holds no tokenizer, which is {TOKENIZER_FILE} or {' and '.join(VOCABULARY_FILES)}"
    )


def _is_captioner(folder: Path) -> bool:
    # Published folders of captioners may say nothing of their kind; those of transformers' models always do.
    says_ofa = (folder / "config.json").is_file() and _described(folder, "config.json").get(
        "model_type", "ofa"
    ) == "ofa"
    return says_ofa or _described(folder, DESCRIPTION_FILE).get("tokenizer_class") == "OFATokenizer"


def _open_captioners(folder: Path) -> BytePairTokenizer:
    vocabulary, merges = read_bpe(folder)
    behind: dict[str, Any] = {"num_codes": CODE_TOKENS, "num_bins": BIN_TOKENS} | read_appended(folder)
    appended = [f"<code_{k}>" for k in range(behind["num_codes"])] + [f"<bin_{k}>" for k in range(behind["num_bins"])]
    appended += behind.get("style_tokens", [])
    special = [token for token in (*SPECIAL, "<mask>") if token in vocabulary]
    return from_merges(vocabulary, merges, special=special, appended=appended, bos="<s>", eos="</s>")


def _open_described(folder: Path) -> BytePairTokenizer:
    path = folder / TOKENIZER_FILE
    description = read_small_json(path, TOKENIZER_BYTES)
    try:
        model = description.get("model")
        held = model.get("vocab") if isinstance(model, dict) else None
        added = [token["content"] for token in description.get("added_tokens") or []]
        bos, eos = _ends(folder, {*(held if isinstance(held, dict) else ()), *added})
        return BytePairTokenizer(description, bos=bos, eos=eos)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: is damaged ({first_line(error)}); copy it again") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _ends(folder: Path, vocabulary: Collection[str]) -> tuple[str, str]:
    """BOS and EOS as the folder names them, or as others have them; an EOS alone is both."""
    described = _described(folder, DESCRIPTION_FILE)
    eos = _content(described.get("eos_token"))
    if eos is not None:
        bos = _content(described.get("bos_token"))
        return (eos if bos is None else bos), eos
    for bos, eos in ENDS:
        if bos in vocabulary and eos in vocabulary:
            return bos, eos
    raise ValueError(f"{folder}: nothing says which entry ends a document; name eos_token in {DESCRIPTION_FILE}")


def _content(token: Any) -> str | None:
    """An entry as older and newer folders write it."""
    value = token.get("content") if isinstance(token, dict) else token
    return value if isinstance(value, str) else None


def _described(folder: Path, name: str) -> dict[str, Any]:
    return read_small_json(folder / name) if (folder / name).is_file() else {}
