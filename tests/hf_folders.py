"""Folders of transformers' captioners as a hub would hold them: random weights, a vocabulary made on the spot."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from torch import Tensor
from transformers import (
    BlipConfig,
    BlipForConditionalGeneration,
    BlipImageProcessorPil,
    CLIPImageProcessorPil,
    Florence2Config,
    Florence2ForConditionalGeneration,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    SiglipImageProcessorPil,
)

from preprocessors.text.bpe import train_bpe
from preprocessors.text.bpe_files import read_bpe
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


def write_byte_pairs(
    folder: Path, texts: Sequence[str], added: Sequence[str], rename: Mapping[str, str] | None = None
) -> Tokenizer:
    """A byte-level BPE in ``tokenizer.json``, BART's unless renamed, with more special entries behind its own."""
    train_bpe(texts, folder, 320)
    vocabulary, merges = read_bpe(folder)
    for name in ("vocab.json", "merges.txt"):
        (folder / name).unlink()
    names = {token: (rename or {}).get(token, token) for token in ("<s>", "<pad>", "</s>", "<unk>", "<mask>")}
    vocabulary = {names.get(token, token): number for token, number in vocabulary.items()}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([*names.values(), *added])
    tokenizer.save(str(folder / "tokenizer.json"))
    return tokenizer


def write_florence2(
    folder: Path, texts: Sequence[str] = WORDS, *, image_size: int = 32, seed: int = 8, **text: Any
) -> Florence2ForConditionalGeneration:
    """Florence-2 with two stages of vision in place of four; its vocabulary has more entries than its tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = write_byte_pairs(folder, texts, ["<loc_0>", "<loc_1>", "<image>"])
    entries = tokenizer.get_vocab_size() + 2
    text = {"vocab_size": entries, "d_model": 24, "max_position_embeddings": 192, "init_std": 0.3} | text
    for side in ("encoder", "decoder"):
        text |= {f"{side}_layers": 2, f"{side}_attention_heads": 2, f"{side}_ffn_dim": 40}
    vision = {"depths": [1, 1], "patch_size": [7, 3], "patch_stride": [4, 2], "patch_padding": [3, 1]}
    vision |= {"patch_prenorm": [False, True], "embed_dim": [12, 20], "num_heads": [2, 2], "num_groups": [2, 2]}
    vision |= {"window_size": 3, "projection_dim": 24, "max_position_embeddings": 9, "initializer_range": 0.2}
    config = Florence2Config(
        text_config=text | {"model_type": "bart"}, vision_config=vision, image_token_id=tokenizer.token_to_id("<image>")
    )
    torch.manual_seed(seed)
    model = Florence2ForConditionalGeneration(config).eval()
    model.get_input_embeddings().weight.data[2] *= -2.0  # so that some captions end
    model.save_pretrained(folder)
    CLIPImageProcessorPil(
        size={"height": image_size, "width": image_size}, do_center_crop=False, image_seq_length=17
    ).save_pretrained(folder)
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "BartTokenizer"})
    return model


CONVERSATION = {"<s>": "<|endoftext|>", "<pad>": "<|im_start|>", "</s>": "<|im_end|>"}
AROUND_PICTURES = ["<fake_token_around_image>", "<global-img>", "<image>", "<end_of_utterance>"]


def write_smolvlm(
    folder: Path,
    texts: Sequence[str] = WORDS,
    *,
    image_size: int = 32,
    seed: int = 4,
    family: str = "SmolVLM",
    tied: bool = True,
    **text: Any,
) -> Any:
    """SmolVLM with four patches of a picture for each place among the tokens; also Idefics3.

    Its projection onto the vocabulary is the embedding, or, as of the published large ones, a table of its own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = write_byte_pairs(folder, [*texts, "User: Assistant:"], AROUND_PICTURES, CONVERSATION)
    ids = {name: tokenizer.token_to_id(name) for name in ("<|im_start|>", "<|im_end|>", "<image>")}
    text = {"vocab_size": tokenizer.get_vocab_size() + 2, "hidden_size": 24, "num_key_value_heads": 1} | SIDE | text
    text |= {"intermediate_size": 40, "max_position_embeddings": 256, "initializer_range": 0.3}
    text |= {"bos_token_id": ids["<|im_start|>"], "pad_token_id": ids["<|im_end|>"], "model_type": "llama"}
    vision = {"hidden_size": 20, "intermediate_size": 36, "image_size": image_size, "patch_size": 8} | SIDE
    config = getattr(transformers, f"{family}Config")(
        text_config=text,
        vision_config=vision | {"initializer_range": 0.2},
        image_token_id=ids["<image>"],
        scale_factor=2,
        tie_word_embeddings=tied,
    )
    torch.manual_seed(seed)
    model = getattr(transformers, f"{family}ForConditionalGeneration")(config).eval()
    model.get_input_embeddings().weight.data[tokenizer.token_to_id("<end_of_utterance>")] *= 2.0
    model.save_pretrained(folder)
    model.folder = folder
    pictures = {"do_image_splitting": False, "size": {"longest_edge": image_size}, "image_mean": [0.5] * 3}
    pictures |= {"max_image_size": {"longest_edge": image_size}, "image_std": [0.5] * 3, "rescale_factor": 1 / 255}
    write_json(folder / "preprocessor_config.json", pictures)
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "GPT2Tokenizer"})
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


def _with_florence2(model: Any, picture: Tensor, prompt: Sequence[int]) -> dict[str, Tensor]:
    cells = (picture.shape[-1] // 8) ** 2 + 1
    ids = torch.tensor([[model.config.image_token_id] * cells + [*prompt]])
    return {"pixel_values": picture, "input_ids": ids, "attention_mask": torch.ones_like(ids)}


def score_with_florence2(model: Any, picture: Tensor, prompt: Sequence[int], caption: Sequence[int]) -> Tensor:
    """Logits (T, V) of a caption by the class itself, behind start token and BOS."""
    begun = torch.tensor([[2, 0, *caption[:-1]]])
    return model(**_with_florence2(model, picture, prompt), decoder_input_ids=begun).logits[0, 1:]


def generate_with_florence2(model: Any, picture: Tensor, prompt: Sequence[int], **options: Any) -> list[int]:
    """A caption with EOS by the class itself."""
    start = torch.tensor([[2, 0]])
    given = _with_florence2(model, picture, prompt)
    found = model.generate(**given, decoder_input_ids=start, do_sample=False, forced_eos_token_id=None, **options)
    return found[0, 2:].tolist()


def _with_smolvlm(model: Any, picture: Tensor, prompt: Sequence[int]) -> list[int]:
    """The conversation as ids, its words looked up in the folder's own tokenizer."""
    tokenizer = Tokenizer.from_file(str(Path(model.name_or_path or model.folder) / "tokenizer.json"))
    around, whole, image = (tokenizer.token_to_id(name) for name in AROUND_PICTURES[:3])
    user, answer = (tokenizer.encode(text).ids for text in ("User:", "\nAssistant:"))
    patches = [image] * ((picture.shape[-1] // 16) ** 2)
    return [prompt[0], *user, around, whole, *patches, around, *prompt[1:], *answer]


def score_with_smolvlm(model: Any, picture: Tensor, prompt: Sequence[int], caption: Sequence[int]) -> Tensor:
    """Logits (T, V) of a caption by the class itself."""
    ids = torch.tensor([[*_with_smolvlm(model, picture, prompt), *caption[:-1]]])
    return model(input_ids=ids, pixel_values=picture[None]).logits[0, -len(caption) :]


def generate_with_smolvlm(model: Any, picture: Tensor, prompt: Sequence[int], **options: Any) -> list[int]:
    """A caption with EOS by the class itself."""
    ids = torch.tensor([_with_smolvlm(model, picture, prompt)])
    options |= {"eos_token_id": prompt[-1], "attention_mask": torch.ones_like(ids)}
    found = model.generate(input_ids=ids, pixel_values=picture[None], do_sample=False, **options)
    return found[0, ids.shape[1] :].tolist()


GEMMA_SPECIAL = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "[multimodal]", "<unused0>", "<table>"]
GEMMA_ADDED = ["<loc0000>", "<loc0001>", "<image>"]


def write_spaced_pairs(folder: Path, texts: Sequence[str]) -> Tokenizer:
    """Gemma's: letters with a mark for spaces, pairs of them, bytes for the rest; special entries in its order."""
    spaced = [re.sub(" ", "\u2581", text) for text in texts]
    letters = sorted({letter for text in spaced for letter in text} | {*map(chr, range(33, 127)), "\u2581"})
    vocabulary = [*GEMMA_SPECIAL, "\n", "\n\n", *(f"<0x{byte:02X}>" for byte in range(256)), *letters]
    merges: list[tuple[str, str]] = []
    for word in dict.fromkeys(word for text in spaced for word in re.findall("\u2581?[^\u2581]+", text)):
        for end in range(2, len(word) + 1):  # a word grows from its left
            if word[:end] not in vocabulary:
                vocabulary.append(word[:end])
                merges.append((word[: end - 1], word[end - 1]))
    numbers = {entry: number for number, entry in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.BPE(numbers, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens([*GEMMA_SPECIAL, *GEMMA_ADDED])
    tokenizer.add_tokens([AddedToken("\n", normalized=False), AddedToken("\n\n", normalized=False)])
    tokenizer.save(str(folder / "tokenizer.json"))
    return tokenizer


def write_paligemma(
    folder: Path, texts: Sequence[str] = WORDS, *, image_size: int = 32, seed: int = 6, version: int = 1, **text: Any
) -> PaliGemmaForConditionalGeneration:
    """PaliGemma with 16 patches of a picture; its vocabulary has more entries than its tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = write_spaced_pairs(folder, texts)
    text = {"vocab_size": tokenizer.get_vocab_size() + 2, "hidden_size": 24, "num_key_value_heads": 1} | SIDE | text
    text |= {"intermediate_size": 40, "head_dim": 12, "max_position_embeddings": 256, "initializer_range": 0.3}
    text |= {"model_type": "gemma"} if version == 1 else {"model_type": "gemma2", "query_pre_attn_scalar": 12}
    vision = {"hidden_size": 20, "intermediate_size": 36, "image_size": image_size, "patch_size": 8} | SIDE
    vision |= {"model_type": "siglip_vision_model", "vision_use_head": False, "initializer_range": 0.2}
    config = PaliGemmaConfig(
        text_config=text,
        vision_config=vision,
        projection_dim=24,
        hidden_size=24,
        image_token_index=tokenizer.token_to_id("<image>"),
    )
    torch.manual_seed(seed)
    model = PaliGemmaForConditionalGeneration(config).eval()
    model.get_input_embeddings().weight.data[tokenizer.token_to_id("<eos>")] *= 2.0  # so that some captions end
    model.save_pretrained(folder)
    SiglipImageProcessorPil(
        size={"height": image_size, "width": image_size}, image_seq_length=(image_size // 8) ** 2
    ).save_pretrained(folder)
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "GemmaTokenizer"})
    return model


def _with_paligemma(model: Any, picture: Tensor, prompt: Sequence[int], caption: Sequence[int]) -> dict[str, Tensor]:
    """The picture's places, BOS, prompt and an end of line as prefix; the caption as suffix."""
    newline = len(GEMMA_SPECIAL)
    prefix = [model.config.image_token_id] * ((picture.shape[-1] // 8) ** 2) + [*prompt[:-1], newline]
    ids = torch.tensor([[*prefix, *caption]])
    kinds = torch.tensor([[0] * len(prefix) + [1] * len(caption)])
    return {
        "input_ids": ids,
        "token_type_ids": kinds,
        "attention_mask": torch.ones_like(ids),
        "pixel_values": picture,
    }


def score_with_paligemma(model: Any, picture: Tensor, prompt: Sequence[int], caption: Sequence[int]) -> Tensor:
    """Logits (T, V) of a caption by the class itself."""
    return model(**_with_paligemma(model, picture, prompt, caption[:-1])).logits[0, -len(caption) :]


def generate_with_paligemma(model: Any, picture: Tensor, prompt: Sequence[int], **options: Any) -> list[int]:
    """A caption with EOS by the class itself."""
    given = _with_paligemma(model, picture, prompt, [])
    found = model.generate(**given, do_sample=False, **options)
    return found[0, given["input_ids"].shape[1] :].tolist()


class Own(NamedTuple):
    """How tests make a folder of a family, and ask the library's class."""

    write: Callable[..., Any]
    score: Callable[[Any, Tensor, Sequence[int], Sequence[int]], Tensor]
    generate: Callable[..., list[int]]


FAMILIES = {
    "blip": Own(write_blip, score_with_blip, generate_with_blip),
    "florence2": Own(write_florence2, score_with_florence2, generate_with_florence2),
    "smolvlm": Own(write_smolvlm, score_with_smolvlm, generate_with_smolvlm),
    "paligemma": Own(write_paligemma, score_with_paligemma, generate_with_paligemma),
}
