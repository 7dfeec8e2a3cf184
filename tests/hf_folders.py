"""Folders of transformers' captioners as a hub would hold them: random weights, a tokenizer trained on the spot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import BlipConfig, BlipForConditionalGeneration, BlipImageProcessorPil

from utils.io import write_json

WORDS = ["a dog runs in the snow", "two people look at the sea", "what does the image describe? write a reply."]
BERT_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SIDE = {"num_hidden_layers": 2, "num_attention_heads": 2}


def write_word_pieces(folder: Path, texts: Sequence[str], size: int = 200) -> Tokenizer:
    """BERT's, in ``tokenizer.json``."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=size, special_tokens=BERT_SPECIAL, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    return tokenizer


def write_blip(
    folder: Path, texts: Sequence[str] = WORDS, *, image_size: int = 32, seed: int = 3, **text: Any
) -> BlipForConditionalGeneration:
    """BLIP as Salesforce publishes it: its BOS is an entry that the tokenizer does not have."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = write_word_pieces(folder, texts).get_vocab_size() + 2
    text = {"vocab_size": entries, "hidden_size": 24, "intermediate_size": 40, "max_position_embeddings": 96} | text
    text |= {"bos_token_id": entries - 2, "pad_token_id": 0, "sep_token_id": 3, "initializer_range": 0.3} | SIDE
    vision = {"hidden_size": 20, "intermediate_size": 36, "image_size": image_size, "patch_size": 8} | SIDE
    config = BlipConfig(text_config=text, vision_config=vision | {"initializer_range": 0.2}, initializer_range=0.3)
    torch.manual_seed(seed)
    model = BlipForConditionalGeneration(config).eval()
    model.save_pretrained(folder)
    BlipImageProcessorPil(size={"height": image_size, "width": image_size}).save_pretrained(folder)
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer", "do_lower_case": True})
    return model
