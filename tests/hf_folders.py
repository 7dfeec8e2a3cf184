"""Folders of transformers' captioners as a hub would hold them: random weights, a vocabulary made on the spot."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from torch import Tensor
from transformers import BlipConfig, BlipForConditionalGeneration, BlipImageProcessorPil

from utils.io import write_json

WORDS = ["a dog runs in the snow", "two people look at the sea", "what does the image describe? write a reply."]
BERT_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SIDE = {"num_hidden_layers": 2, "num_attention_heads": 2}


def write_word_pieces(folder: Path, texts: Sequence[str]) -> Tokenizer:
    """BERT's, in ``tokenizer.json``: whole words, and letters for all others; in an order of their own."""
    words = {word for text in texts for word in re.findall(r"\w+|[^\w\s]", text.lower())}
    letters = [chr(code) for code in range(33, 127)]
    entries = [*BERT_SPECIAL, *letters, *(f"##{letter}" for letter in letters), *sorted(words - {*letters})]
    vocabulary = {entry: number for number, entry in enumerate(entries)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
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
    model.text_decoder.cls.predictions.bias.data[3] = 4.0  # so that some captions end
    model.save_pretrained(folder)
    BlipImageProcessorPil(size={"height": image_size, "width": image_size}).save_pretrained(folder)
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer", "do_lower_case": True})
    return model


def score_with_blip(model: Any, picture: Tensor, prompt: Sequence[int], caption: Sequence[int]) -> Tensor:
    """Logits (T, V) of a caption by the class itself."""
    begun = [*prompt[:-1], *caption[:-1]]  # without the prompt's EOS
    return model(pixel_values=picture, input_ids=torch.tensor([begun])).logits[0, len(prompt) - 2 :]


def generate_with_blip(model: Any, picture: Tensor, prompt: Sequence[int], **options: Any) -> list[int]:
    """A caption with EOS by the class itself, which puts BOS over the first token and takes the last one away."""
    ids = torch.tensor([[5, *prompt[1:]]])
    found = model.generate(pixel_values=picture, input_ids=ids, do_sample=False, **options)
    return found[0, len(prompt) - 1 :].tolist()


class Own(NamedTuple):
    """How tests make a folder of a family, and ask the library's class."""

    write: Callable[..., Any]
    score: Callable[[Any, Tensor, Sequence[int], Sequence[int]], Tensor]
    generate: Callable[..., list[int]]


FAMILIES = {"blip": Own(write_blip, score_with_blip, generate_with_blip)}
