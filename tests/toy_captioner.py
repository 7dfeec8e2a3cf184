"""A captioner of linear layers that is nothing like OFA: whole words, the word before and the picture give the next."""

from __future__ import annotations

import copy
import json

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from models.captioner import Limits, VisionInfo
from preprocessors.ofa import OFAStylePreprocessor
from preprocessors.pictures.images import MEAN_STD, ImageTransform

SPECIAL = ["<bos>", "<pad>", "<eos>", "<mask>"]
WIDTH = 24
PROMPT = " describe in {} words"


class ToyTokenizer:
    bos_token_id, pad_token_id, eos_token_id, mask_token_id = range(4)

    def __init__(self, words):
        self.words = list(words)
        self.ids = {word: number for number, word in enumerate(self.words)}

    def __len__(self):
        return len(self.words)

    def encode_text(self, text, max_length=None):
        return [self.ids.get(word, self.mask_token_id) for word in text.split()][:max_length]

    def decode_caption(self, token_ids):
        ids = list(token_ids)
        ids = ids[: ids.index(self.eos_token_id)] if self.eos_token_id in ids else ids
        return " ".join(self.words[number] for number in ids if number >= len(SPECIAL))

    def pieces(self):
        return [b"" if number < len(SPECIAL) else f" {word}".encode() for number, word in enumerate(self.words)]


def nucleus(chances, top_p):
    """Chances of the likeliest tokens that together have ``top_p``, of the others none; they sum to 1."""
    ordered, order = chances.sort(-1, descending=True)
    kept = torch.zeros_like(chances, dtype=torch.bool).scatter(-1, order, ordered.cumsum(-1) - ordered < top_p)
    kept = chances * kept
    return kept / kept.sum(-1, keepdim=True)


class ToySteps:
    def __init__(self, captioner, encoded, tokens):
        self.captioner, self.encoded = captioner, encoded
        self._look(tokens)

    def take(self, rows, token_ids):
        self._look(token_ids)

    @torch.no_grad()
    def _look(self, last):
        logits = self.captioner.module(last[:, None], context=self.encoded)[:, -1]
        self.log_probs = self.captioner._ban(logits, drawable=True).log_softmax(-1)


class ToyModule(nn.Module):
    def __init__(self, vocabulary):
        super().__init__()
        self.vision = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, WIDTH))
        self.words = nn.Embedding(vocabulary, WIDTH)
        self.decoder = nn.Sequential(nn.Linear(2 * WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, vocabulary))

    def forward(self, ids, images=None, features=None, picture_rows=None, context=None, caption_rows=None):
        """Contexts (B, C) of prompts, or, given contexts, logits (N, T, V) of what follows each of the ids (N, T)."""
        if context is None:
            features = features if images is None else self.vision(images)
            features = features if picture_rows is None else features[picture_rows]
            prompt = self.words(ids).masked_fill(ids.eq(ToyTokenizer.pad_token_id)[..., None], 0.0).sum(1)
            return prompt if features is None else prompt + features
        if caption_rows is None:
            caption_rows = torch.arange(len(context)).repeat_interleave(len(ids) // len(context))
        context = context[caption_rows][:, None].expand(-1, ids.shape[1], -1)
        return self.decoder(torch.cat([self.words(ids), context], -1))


class ToyCaptioner:
    def __init__(self, module, tokenizer, called=None):
        self.module, self.tokenizer, self.called = module, tokenizer, called or module

    @classmethod
    def open(cls, folder):
        tokenizer = ToyTokenizer(json.loads((folder / "words.json").read_text()))
        module = ToyModule(len(tokenizer))
        module.load_state_dict(load_file(folder / "model.safetensors"))
        return cls(module.eval(), tokenizer)

    @classmethod
    def new(cls, wanted):
        torch.manual_seed(wanted.seed)
        words = sorted({word for text in [*wanted.captions, *wanted.prompts] for word in text.split()})
        tokenizer = ToyTokenizer([*SPECIAL, *words])
        return cls(ToyModule(len(tokenizer)).eval(), tokenizer)

    def save(self, folder, settings):
        folder.mkdir(parents=True, exist_ok=True)
        self.save_companions(folder, settings)
        save_file(self.module.state_dict(), folder / "model.safetensors")

    def save_companions(self, folder, settings):
        section = {} if settings is None else settings.to_model_section()
        (folder / "config.json").write_text(json.dumps({"model_type": "toy"}))
        (folder / "configuration.json").write_text(json.dumps({"model": section}))
        (folder / "words.json").write_text(json.dumps(self.tokenizer.words))

    @property
    def device(self):
        return self.module.words.weight.device

    def through(self, module):
        return type(self)(self.module, self.tokenizer, module)

    def frozen_copy(self):
        return type(self)(copy.deepcopy(self.module).requires_grad_(False).eval(), self.tokenizer)

    def encode(self, batch):
        given = (batch.get(name) for name in ("patch_images", "image_features", "picture_rows"))
        return self.called(batch["input_ids"], *given)

    def logits(self, encoded, token_ids, *, drawable=False, caption_rows=None, packed=False):
        start = token_ids.new_full((len(token_ids), 1), self.tokenizer.bos_token_id)
        before = torch.cat([start, token_ids[:, :-1].clamp(min=self.tokenizer.bos_token_id)], 1)
        logits = self._ban(self.called(before, context=encoded, caption_rows=caption_rows), drawable)
        return logits[token_ids.ge(0)] if packed else logits

    def _ban(self, logits, drawable):
        banned = torch.zeros(logits.shape[-1], dtype=torch.bool)
        banned[[self.tokenizer.bos_token_id, self.tokenizer.pad_token_id, self.tokenizer.mask_token_id]] = drawable
        return logits.float().masked_fill(banned, -torch.inf)

    def token_log_probs(self, encoded, token_ids, temperature=1.0):
        log_p = (self.logits(encoded, token_ids, drawable=True) / temperature).log_softmax(-1)
        chosen = log_p.gather(-1, token_ids.clamp(min=0)[..., None])[..., 0]
        return chosen.masked_fill(token_ids.lt(0), 0.0)

    @torch.no_grad()
    def sample(
        self,
        encoded,
        uniforms,
        *,
        with_greedy=False,
        temperature=1.0,
        top_p=1.0,
        guidance=1.0,
        neutral=None,
        prefix=(),
        fusion=None,
    ):
        pictures, samples, length = uniforms.shape
        uniforms = torch.cat([uniforms, torch.full((pictures, int(with_greedy), length), -1.0)], 1).flatten(0, 1)

        def choose(position, logits):
            sums = nucleus((logits / temperature).double().softmax(-1), top_p).cumsum(-1)
            drawn = torch.searchsorted(sums, uniforms[:, position, None].contiguous())[:, 0]
            return torch.where(uniforms[:, position] < 0, logits.argmax(-1), drawn.clamp(max=logits.shape[-1] - 1))

        guide = (neutral, guidance)
        return self._write(encoded, samples + with_greedy, length, choose, prefix, fusion, guide)

    @torch.no_grad()
    def beams(self, encoded, decoding, *, num_captions=1, force_end=True, neutral=None, prefix=(), fusion=None):
        """The likeliest first words, each with the likeliest that follow."""
        length = decoding.max_length + 1

        def choose(position, logits):
            if position == length - 1 and force_end:
                return torch.full((len(logits),), self.tokenizer.eos_token_id)
            best = logits.topk(num_captions, -1).indices.unflatten(0, (-1, num_captions))
            return best.diagonal(dim1=1, dim2=2).flatten() if position == len(prefix) else best[..., 0].flatten()

        guide = (neutral, decoding.guidance)
        return self._write(encoded, num_captions, length, choose, prefix, fusion, guide)

    def steps(self, encoded, prefix, most):
        return ToySteps(self, encoded, torch.tensor([[self.tokenizer.bos_token_id, *prefix][-1]]))

    def _write(self, encoded, per_picture, length, choose, prefix, fusion, guide):
        tokens = torch.tensor([[self.tokenizer.bos_token_id, *prefix]] * (len(encoded) * per_picture))
        ended, columns = torch.zeros(len(tokens), dtype=torch.bool), [*tokens.T[1:]]
        tokens = tokens[:, -1:]
        for position in range(len(prefix), length):
            logits = self._ban(self.module(tokens, context=encoded)[:, -1], drawable=True).log_softmax(-1)
            if guide[0] is not None:
                plain = self._ban(self.module(tokens, context=guide[0])[:, -1], drawable=True).log_softmax(-1)
                logits = torch.where(logits.isinf(), logits, plain + guide[1] * (logits - plain))
            if fusion is not None:
                known = torch.stack(columns, 1) if columns else tokens[:, 1:]
                logits = logits + fusion(known)[:, : logits.shape[1]]
            chosen = choose(position, logits)
            columns.append(chosen.masked_fill(ended, -100))
            ended |= chosen == self.tokenizer.eos_token_id
            tokens = chosen[:, None]
        return torch.stack(columns, 1)

    def parts(self):
        return {
            "vision": [self.module.vision],
            "embeddings": [self.module.words],
            "decoder": [self.module.decoder],
        }

    def freeze_statistics(self):
        """It has none."""

    def limits(self):
        return Limits(image_multiple=1, image_size=1000, text_length=64)

    def vision(self):
        return VisionInfo(480, MEAN_STD["half"], is_pretrained=False)

    def add_style_tokens(self, names):
        raise ValueError("the toy has no style tokens")

    start_style_tokens = add_style_tokens

    def preprocessor(self, registry, settings, *, style_dropout=0.0, random_crop_from=None, seed=0):
        return OFAStylePreprocessor(
            self.tokenizer,
            registry,
            image_transform=ImageTransform(settings.image_size, settings.mean_std, random_crop_from),
            prompt=settings.prompt,
            max_source_length=64,
            style_dropout=style_dropout,
            punctuation=settings.punctuation,
            seed=seed,
        )
