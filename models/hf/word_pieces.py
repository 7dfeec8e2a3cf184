"""BERT's tokenizer, of a folder of transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from tokenizers.decoders import WordPiece as WordPieceDecoder
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import BertProcessing

from models.hf.folder import read_style_tokens
from models.hf.tokenizer import REMEDY, TOKENIZER_BYTES, TOKENIZER_FILE, FamilyTokenizer, SpecialIds, check_numbered
from utils.small_json import read_small_json

VOCABULARY_FILE = "vocab.txt"
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
INSIDE = "##"
"""Before a piece that goes on with a word."""


def open_word_pieces(folder: Path, *, bos: int, eos: int, pad: int, entries: int) -> FamilyTokenizer:
    """The tokenizer of a folder, from ``tokenizer.json`` or else ``vocab.txt``, with our style tokens behind it.

    Args:
        folder: Of the model.
        bos: Id that captions begin behind, by the configuration, and so the next two.
        eos: Id that ends them.
        pad: Id that fills up.
        entries: V of the model.

    Raises:
        FileNotFoundError: If neither file is there.
        ValueError: If the file is damaged, or does not fit the configuration.
    """
    path = next((folder / name for name in (TOKENIZER_FILE, VOCABULARY_FILE) if (folder / name).is_file()), None)
    if path is None:
        raise FileNotFoundError(f"{folder}: has no tokenizer ({TOKENIZER_FILE} or {VOCABULARY_FILE}). {REMEDY}")
    vocabulary, lowercase = _read_json(path) if path.name == TOKENIZER_FILE else _read_text(path, folder)
    if absent := [token for token in SPECIAL if token not in vocabulary]:
        raise ValueError(f"{path}: {absent[0]} is missing. {REMEDY}")
    if (eos, pad) != (vocabulary["[SEP]"], vocabulary["[PAD]"]):
        raise ValueError(f"{path}: [SEP] and [PAD] have other ids there than config.json says. {REMEDY}")
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]", continuing_subword_prefix=INSIDE))
    tokenizer.normalizer = BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.decoder = WordPieceDecoder(prefix=INSIDE)
    framed = (("[SEP]", vocabulary["[SEP]"]), ("[CLS]", vocabulary["[CLS]"]))
    tokenizer.post_processor = BertProcessing(*framed)  # for others that open a folder of ours
    tokenizer.add_special_tokens([*SPECIAL])
    ordered = sorted(vocabulary, key=vocabulary.__getitem__)
    texts = [b"" if token in SPECIAL else _text_of(token) for token in ordered]
    ids = SpecialIds(bos, eos, pad, vocabulary["[MASK]"])
    try:
        return FamilyTokenizer(tokenizer, ids, entries, read_style_tokens(folder), texts, in_words=True)
    except ValueError as error:
        raise ValueError(f"{folder}: {error}; {path.name} or config.json does not belong to these weights") from error


def _text_of(token: str) -> bytes:
    return (token.removeprefix(INSIDE) if token.startswith(INSIDE) else f" {token}").encode()


def _read_json(path: Path) -> tuple[dict[str, int], bool]:
    content = read_small_json(path, TOKENIZER_BYTES)
    model = content.get("model")
    if not isinstance(model, dict) or model.get("type", "WordPiece") != "WordPiece":
        raise ValueError(f"{path}: is no tokenizer of word pieces, which this kind of model has. {REMEDY}")
    normalizer: Any = content.get("normalizer") or {}
    lowercase = normalizer.get("lowercase", True) if isinstance(normalizer, dict) else True
    return check_numbered(model.get("vocab"), path), lowercase is not False


def _read_text(path: Path, folder: Path) -> tuple[dict[str, int], bool]:
    if (size := path.stat().st_size) > TOKENIZER_BYTES:
        raise ValueError(f"{path}: has {size:,} bytes, and at most {TOKENIZER_BYTES:,} are read")
    try:
        tokens = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not UTF-8 at byte {error.start + 1:,}. {REMEDY}") from error
    if len({*tokens}) != len(tokens):
        raise ValueError(f"{path}: has an entry twice. {REMEDY}")
    described = folder / "tokenizer_config.json"
    told = read_small_json(described) if described.is_file() else {}
    return {token: number for number, token in enumerate(tokens)}, told.get("do_lower_case", True) is not False
