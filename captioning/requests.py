"""Pictures and styles to captions and their probabilities, in batches: what stands behind ``CaptionModel``."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from captioning.encoding import encode_prompts
from captioning.endings import cut_at_limit
from captioning.features import look_at
from captioning.fusion import Fusion
from captioning.writing import Caption, Writing
from models.captioner import Captioner, Encoded, NextScores
from models.settings import Decoding
from preprocessors.collator import IGNORE_INDEX
from preprocessors.interface import CaptionPreprocessor, EncodedExample
from utils.errors import NoNumbers
from utils.memory import Halving

ADVICE = "Use a GPU with more memory, or lower num_beams or image.size."


class Request(NamedTuple):
    """What captions are written from.

    Attributes:
        pixels: Of the picture, uint8 (3, H, W).
        features: What the vision network made of them.
        style: As the registry writes it.
    """

    pixels: Tensor
    features: Tensor
    style: str


class RequestWriter:
    """Writes and scores captions, in one thread at a time.

    Args:
        captioner: In evaluation mode, and stays there.
        preprocessor: Makes its prompts.
        decoding: Rules of the model folder.

    Attributes:
        fusion: Of a language model that captions are written with, with its usual weights; None writes them alone.
    """

    def __init__(self, captioner: Captioner, preprocessor: CaptionPreprocessor, decoding: Decoding) -> None:
        self.captioner, self.preprocessor, self.decoding = captioner, preprocessor, decoding
        self.fusion: Fusion | None = None
        self._looking, self._writing = Halving("looking at pictures", ADVICE), Halving("captioning", ADVICE)
        self._scoring = Halving("scoring captions", ADVICE)

    def look(self, wanted: Sequence[tuple[Tensor, str]]) -> list[Request]:
        """Requests for pixels and styles; a tensor that stands there several times passes the vision network once."""
        distinct = {id(pixels): pixels for pixels, _ in wanted}
        transform = self.preprocessor.image_transform
        looked = self._looking.in_pieces(
            [*distinct.values()], lambda pixels: look_at(self.captioner, transform, pixels)
        )
        features = dict(zip(distinct, looked, strict=True))
        return [Request(pixels, features[id(pixels)], style) for pixels, style in wanted]

    def style_of_text(self, name: str) -> str | None:
        """The style of that name that the language model alone knows; None if there is none."""
        if self.fusion is None or self.preprocessor.registry.find(name) is not None:
            return None
        return self.fusion.find(name)

    def prompt_style(self, style: str) -> str:
        """The style that the captioner is asked for: its neutral one for those that the language model alone knows."""
        return style if self.style_of_text(style) is None else self.preprocessor.registry.neutral

    def encode(self, request: Request) -> Encoded:
        """What captions of one picture and style are made from."""
        with torch.no_grad():
            return encode_prompts(self.captioner, self.preprocessor, [self._item(request)], guided=False)[0]

    def write(self, requests: Sequence[Request], writing: Writing, prefix: Sequence[int]) -> list[list[Caption]]:
        """Captions of each request, ``writing.num`` of them.

        Args:
            requests: A batch; what does not fit into memory is done in halves.
            writing: Its prefix is passed over.
            prefix: Token ids that every caption starts with.
        """
        return self._writing.in_pieces(requests, lambda piece: self._write_batch(piece, writing, prefix))

    def fused(self, writing: Writing) -> Fusion | None:
        """The language model as captions are to be written with it; None where they are written alone."""
        return None if self.fusion is None else self.fusion.weighed(writing.lm_weight, writing.lm_guidance)

    @torch.no_grad()
    def _write_batch(self, requests: Sequence[Request], writing: Writing, prefix: Sequence[int]) -> list[list[Caption]]:
        rules = writing.rules(self.decoding)
        guided = rules.guidance != 1.0 and any(
            request.style != self.preprocessor.registry.neutral for request in requests
        )
        items = [self._item(request) for request in requests]
        encoded, neutral = encode_prompts(self.captioner, self.preprocessor, items, guided=guided)
        fused = self.fused(writing)
        fusion = None if fused is None else fused.of([request.style for request in requests])
        if writing.sampling == "beam":
            token_ids = self.captioner.beams(
                encoded, rules, num_captions=writing.num, neutral=neutral, prefix=prefix, fusion=fusion
            )
        else:
            uniforms = torch.stack([_uniforms(request, writing, rules.max_length + 1) for request in requests])
            token_ids = self._draw(encoded, neutral, uniforms, writing, prefix, fusion)
        log_probs = self.captioner.token_log_probs(encoded, token_ids)
        if writing.sampling == "beam":
            cut = cut_at_limit(self.captioner, encoded, token_ids, rules, neutral=neutral, log_probs=log_probs)
        else:
            cut = token_ids.ne(self.captioner.tokenizer.eos_token_id).all(1).tolist()
        texts = [self.preprocessor.decode([token for token in row if token >= 0]) for row in token_ids.tolist()]
        captions = [*map(Caption, texts, _sums(log_probs), cut)]
        return [captions[start : start + writing.num] for start in range(0, len(captions), writing.num)]

    def _draw(
        self,
        encoded: Encoded,
        neutral: Encoded | None,
        uniforms: Tensor,
        writing: Writing,
        prefix: Sequence[int],
        fusion: NextScores | None,
    ) -> Tensor:
        """Token ids of drawn captions; those that do not end within ``max_length`` have no EOS."""
        rules = writing.rules(self.decoding)
        drawn = self.captioner.sample(
            encoded,
            uniforms,
            temperature=writing.temperature,
            top_p=writing.top_p,
            guidance=rules.guidance,
            neutral=neutral,
            prefix=prefix,
            fusion=fusion,
        )
        words, behind = drawn[:, : rules.max_length], drawn[:, rules.max_length :]
        # Behind the limit an EOS may stand, but no word.
        return torch.cat([words, behind.masked_fill(behind.ne(self.captioner.tokenizer.eos_token_id), IGNORE_INDEX)], 1)

    def score(self, request: Request, captions: Sequence[Sequence[int]]) -> list[float]:
        """Log-probability of each caption, token ids with EOS, summed over its tokens."""
        encoded = self.encode(request)
        return self._scoring.in_pieces(captions, lambda piece: self._score_batch(encoded, piece))

    @torch.no_grad()
    def _score_batch(self, encoded: Encoded, captions: Sequence[Sequence[int]]) -> list[float]:
        rows = [torch.tensor(ids, device=self.captioner.device) for ids in captions]
        token_ids = pad_sequence(rows, batch_first=True, padding_value=IGNORE_INDEX)
        return _sums(self.captioner.token_log_probs(encoded, token_ids))

    def _item(self, request: Request) -> EncodedExample:
        style = self.prompt_style(request.style)
        return EncodedExample(
            example_id="",
            row=0,
            style=style,
            input_ids=self.preprocessor.prompt_ids(style),
            image_features=request.features,
            patch_mask=True,
            labels=[self.captioner.tokenizer.eos_token_id],
        )


def _sums(log_probs: Tensor) -> list[float]:
    """Of each row (N, T); no numbers are no answer."""
    sums: list[float] = log_probs.sum(1).tolist()
    if not all(map(math.isfinite, sums)):
        raise NoNumbers("the chances of captions are NaN or infinite: the model is broken, or overflows on a picture")
    return sums


def fingerprint(pixels: Tensor) -> str:
    """The same for equal pixels, and in all likelihood for no others."""
    return hashlib.blake2b(pixels.contiguous().numpy().tobytes(), digest_size=16).hexdigest()


def _uniforms(request: Request, writing: Writing, length: int) -> Tensor:
    """Random numbers (num, length) that depend on seed, picture and style alone."""
    content = f"{writing.seed}/{request.style}/{fingerprint(request.pixels)}"
    rows = []
    for number in range(writing.num):
        seed = hashlib.blake2b(f"{number}/{content}".encode(), digest_size=7).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(seed))
        rows.append(torch.rand(length, dtype=torch.float64, generator=generator))
    return torch.stack(rows)
