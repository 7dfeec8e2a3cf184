"""Opens the tokenizer of a model folder, a captioner's or a text model's, without the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from preprocessors.documents.byte_pairs import TOKENIZER_FILE, BytePairTokenizer, described_in, ends_of, from_merges
from preprocessors.text.bpe_files import (
    BIN_TOKENS,
    CODE_TOKENS,
    DESCRIPTION_FILE,
    SPECIAL,
    VOCABULARY_FILES,
    read_appended,
    read_bpe,
)


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
        return BytePairTokenizer.load_from_dir(folder)
    if has_merges:
        vocabulary, merges = read_bpe(folder, special=())
        bos, eos = ends_of(folder, vocabulary)
        return from_merges(vocabulary, merges, special=[*{bos: None, eos: None}], bos=bos, eos=eos)
    raise FileNotFoundError(
        f"{folder}: holds no tokenizer, which is {TOKENIZER_FILE} or {' and '.join(VOCABULARY_FILES)}"
    )


def _is_captioner(folder: Path) -> bool:
    # Published folders of captioners may say nothing of their kind; those of transformers' models always do.
    says_ofa = (folder / "config.json").is_file() and described_in(folder, "config.json").get(
        "model_type", "ofa"
    ) == "ofa"
    return says_ofa or described_in(folder, DESCRIPTION_FILE).get("tokenizer_class") == "OFATokenizer"


def _open_captioners(folder: Path) -> BytePairTokenizer:
    vocabulary, merges = read_bpe(folder)
    behind: dict[str, Any] = {"num_codes": CODE_TOKENS, "num_bins": BIN_TOKENS} | read_appended(folder)
    appended = [f"<code_{k}>" for k in range(behind["num_codes"])] + [f"<bin_{k}>" for k in range(behind["num_bins"])]
    appended += behind.get("style_tokens", [])
    special = [token for token in (*SPECIAL, "<mask>") if token in vocabulary]
    return from_merges(vocabulary, merges, special=special, appended=appended, bos="<s>", eos="</s>")
