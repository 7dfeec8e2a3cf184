"""A trained model folder as people use it: pictures to captions in any of its styles."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Self

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from captioning.encoding import encode_prompts
from captioning.endings import cut_at_limit
from captioning.features import look_at
from captioning.pictures import Picture, read_picture
from captioning.styled import StyledCaptioner, open_styled
from captioning.writer import ADVICE
from captioning.writing import AS_TRAINED, Caption, Writing
from models.captioner import Encoded
from models.settings import Decoding
from preprocessors.collator import IGNORE_INDEX
from preprocessors.interface import EncodedExample
from preprocessors.text.styles import COMBINED
from utils.hub import resolve_model_folder
from utils.memory import Halving

NAMED = 10
"""Styles that a message lists."""


class _Request(NamedTuple):
    """A caption to be written: the picture, what the vision network made of it, and the style."""

    pixels: Tensor
    features: Tensor
    style: str


class CaptionModel:
    """A captioner opened from its folder.

    Calls from several threads take turns, but for :meth:`read`, which many may call at once. What is answered does not
    depend on what else is in a batch, up to the last bits of floating-point sums.

    Args:
        styled: In evaluation mode, where it is to run.
        folder: Its folder.

    Attributes:
        name: What people call it: the folder's name, of ``X/output`` that of X.
        folder: Its folder.
        styles: Those that it has learnt.
        neutral: The style that stands for none.
        aliases: Other spellings, each to a style.
        parameters: Numbers of the model.
        image_size: Height and width that it sees, pixels.
        decoding: How it captions unless told otherwise.

    Raises:
        ValueError: If the folder does not say how styles enter the prompt.
    """

    def __init__(self, styled: StyledCaptioner, folder: Path) -> None:
        if styled.settings is None:
            raise ValueError(
                f"{folder}: configuration.json does not say how styles enter the prompt; use a trained folder"
            )
        place = folder.resolve()
        self.folder, self.name = folder, place.parent.name if place.name == "output" else place.name
        self.styles = styled.settings.trained_styles
        self.neutral: str = styled.registry.neutral
        self.aliases: Mapping[str, str] = styled.registry.aliases
        self.image_size: int = styled.settings.image_size
        self.decoding: Decoding = styled.settings.decoding
        self.parameters = sum(parameter.numel() for parameter in styled.captioner.module.parameters())
        self._styled, self._captioner = styled, styled.captioner
        self._preprocessor = styled.preprocessor()
        self._looking, self._writing = Halving("looking at pictures", ADVICE), Halving("captioning", ADVICE)
        self._turn = threading.RLock()

    @classmethod
    def open(cls, folder: str | os.PathLike[str], *, device: str | None = None) -> Self:
        """Open a model folder.

        Args:
            folder: Folder, archive or hub id.
            device: Such as ``cpu`` or ``cuda:1``; None is a GPU where there is one.

        Raises:
            FileNotFoundError: If files are missing.
            ValueError: If they are damaged, or the folder is not one that was trained here, or there is no such device.
            NoNumbers: If a weight is NaN or infinite.
        """
        place = resolve_model_folder(os.fspath(folder))
        styled = open_styled(place)
        model = cls(styled, place)
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        try:
            styled.captioner.module.to(device or accelerator or "cpu").requires_grad_(False)
        except (RuntimeError, AssertionError) as error:
            raise ValueError(f"device={device!r}: cannot be used ({error}); try cpu") from error
        return model

    def style(self, given: str | None) -> str:
        """The name of a style, or combination, as the model writes it.

        Args:
            given: Name or alias in any case, or several with ``+`` between; None is the neutral style.

        Raises:
            ValueError: If it is unknown, naming the nearest, or was never trained, or several do not fit into a prompt.
        """
        parts = self._styled.registry.parts_of(self.neutral if given is None else given)
        for part in parts:
            if part not in self.styles:
                more = f", ... ({len(self.styles)} in all)" if len(self.styles) > NAMED else ""
                raise ValueError(
                    f"style {part!r} was never trained; give a style, one of: {', '.join(self.styles[:NAMED])}{more}"
                )
        wanted, most = COMBINED.join(parts), self._preprocessor.max_source_length
        tokens = len(self._captioner.tokenizer.encode_text(self._preprocessor.prompt_text(wanted)))
        if tokens > most:
            raise ValueError(f"style {wanted!r}: its prompt has {tokens} tokens, and {most} fit; combine fewer styles")
        return wanted

    def check(self, writing: Writing) -> None:
        """Refuse what cannot be written, naming the option and its range.

        Raises:
            ValueError: If anything is out of bounds.
        """
        writing.check(self.decoding, self._captioner.limits().text_length)

    def doubt_of(self, writing: Writing) -> str | None:
        """Why captions should not be written so, if they should not; None mostly."""
        return self._styled.doubt_of_guidance(writing.rules(self.decoding).guidance)

    def read(self, picture: Picture, *, max_pixels: int | None = None) -> Tensor:
        """The pixels of a picture, uint8 (3, H, W), as :func:`captioning.pictures.read_picture` reads them."""
        return read_picture(picture, self._preprocessor.image_transform, max_pixels=max_pixels)

    def write(self, requests: Sequence[tuple[Tensor, str]], writing: Writing) -> list[list[Caption]]:
        """Captions of a batch, for each request in order ``writing.num``, the best first, or as drawn.

        What does not fit into memory is done in halves.

        Args:
            requests: Pixels of :meth:`read`, and a style; a tensor that comes several times passes the vision network
                once.
            writing: How, for all of them.

        Raises:
            ValueError: If a style or an option is none of the model's.
            NoNumbers: If scores are NaN or infinite.
            OutOfMemory: If one row alone does not fit.
        """
        self.check(writing)
        return self._write(self._looked([(pixels, self.style(style)) for pixels, style in requests]), writing)

    def caption(
        self,
        pictures: Sequence[Picture],
        styles: Sequence[str] | str | None = None,
        writing: Writing = AS_TRAINED,
        *,
        batch_size: int = 16,
    ) -> list[dict[str, list[Caption]]]:
        """Captions of pictures in styles; each picture passes the vision network once.

        Args:
            pictures: Any, in any number; so many as fill a batch are in memory at a time.
            styles: One or several, ``all`` for every trained one, None for the neutral one.
            writing: How.
            batch_size: Pictures, and captions, that are worked on at once.

        Returns:
            Of each picture, by style, its captions.

        Raises:
            FileNotFoundError: If a picture is missing.
            ValueError: If a picture cannot be read, or a style or an option is none of the model's.
        """
        self.check(writing)
        found: list[dict[str, list[Caption]]] = []
        names = self._wanted(styles)
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            for start in range(0, len(pictures), batch_size):
                numbers = range(start, min(start + batch_size, len(pictures)))
                pixels = [*pool.map(lambda number: self._read_one_of(pictures, number), numbers)]
                requests = self._looked([(shown, name) for shown in pixels for name in names])
                batches = [requests[row : row + batch_size] for row in range(0, len(requests), batch_size)]
                written = iter([captions for batch in batches for captions in self._write(batch, writing)])
                found += [{name: next(written) for name in names} for _ in numbers]
        return found

    def _wanted(self, styles: Sequence[str] | str | None) -> list[str]:
        if styles == "all":
            return [*self.styles]
        listed = [styles] if styles is None or isinstance(styles, str) else styles
        return list(dict.fromkeys(self.style(name) for name in listed))

    def _read_one_of(self, pictures: Sequence[Picture], number: int) -> Tensor:
        return read_picture(
            pictures[number], self._preprocessor.image_transform, called=f"picture {number + 1} of {len(pictures)}"
        )

    def score(self, picture: Picture | Tensor, style: str | None, captions: Sequence[str]) -> list[float]:
        """Natural logarithms of p(caption | picture, style), each summed over the tokens and the end.

        A caption counts as the model would have been trained on it, so without punctuation where that was stripped.

        Args:
            picture: Any, or pixels of :meth:`read`.
            style: As of :meth:`style`.
            captions: Any number.

        Raises:
            ValueError: If a caption is longer than the model has positions for.
        """
        wanted = self.style(style)
        token_ids = [self._target_ids(caption) for caption in captions]
        shown = picture if isinstance(picture, Tensor) else self.read(picture)
        (request,) = self._looked([(shown, wanted)])
        with self._turn, torch.no_grad():
            encoded, _ = encode_prompts(self._captioner, self._preprocessor, [self._item(request)], guided=False)
            return self._writing.in_pieces(token_ids, lambda piece: self._score_batch(encoded, piece))

    def complete(
        self, text: str, picture: Picture | Tensor, style: str | None = None, *, num: int = 5, words: int = 3
    ) -> list[str]:
        """The likeliest continuations of a text that a person is writing.

        Args:
            text: The beginning of a caption; its last word may be half typed, and behind a space a new one begins.
            picture: Any, or pixels of :meth:`read`.
            style: As of :meth:`style`.
            num: Most continuations.
            words: Words of each; fewer where the caption ends.

        Returns:
            What is to be appended, likeliest first, no two the same; a new word comes with its space. Nothing where the
            caption has likely ended.
        """
        raise NotImplementedError

    def _looked(self, requests: Sequence[tuple[Tensor, str]]) -> list[_Request]:
        distinct = {id(pixels): pixels for pixels, _ in requests}
        transform = self._preprocessor.image_transform
        with self._turn:
            looked = self._looking.in_pieces(
                [*distinct.values()], lambda pixels: look_at(self._captioner, transform, pixels)
            )
        features = dict(zip(distinct, looked, strict=True))
        return [_Request(pixels, features[id(pixels)], style) for pixels, style in requests]

    def _write(self, requests: Sequence[_Request], writing: Writing) -> list[list[Caption]]:
        with self._turn:
            return self._writing.in_pieces(requests, lambda piece: self._write_batch(piece, writing))

    @torch.no_grad()
    def _write_batch(self, requests: Sequence[_Request], writing: Writing) -> list[list[Caption]]:
        rules = writing.rules(self.decoding)
        guided = rules.guidance != 1.0 and any(request.style != self.neutral for request in requests)
        items = [self._item(request) for request in requests]
        encoded, neutral = encode_prompts(self._captioner, self._preprocessor, items, guided=guided)
        if writing.sampling == "beam":
            token_ids = self._captioner.beams(encoded, rules, num_captions=writing.num, neutral=neutral)
        else:
            token_ids = self._draw(encoded, neutral, requests, writing)
        log_probs = self._captioner.token_log_probs(encoded, token_ids)
        if writing.sampling == "beam":
            cut = cut_at_limit(self._captioner, encoded, token_ids, rules, neutral=neutral, log_probs=log_probs)
        else:
            cut = token_ids.ne(self._captioner.tokenizer.eos_token_id).all(1).tolist()
        texts = [self._preprocessor.decode([token for token in row if token >= 0]) for row in token_ids.tolist()]
        captions = [*map(Caption, texts, log_probs.sum(1).tolist(), cut)]
        return [captions[start : start + writing.num] for start in range(0, len(captions), writing.num)]

    def _target_ids(self, caption: str) -> list[int]:
        token_ids = self._preprocessor.target_ids(caption)
        most = self._captioner.limits().text_length
        if len(token_ids) - 1 > most:
            raise ValueError(
                f"{caption[:60]!r}...: has {len(token_ids) - 1} tokens, and the model has {most} positions"
            )
        return token_ids

    def _score_batch(self, encoded: Encoded, captions: Sequence[list[int]]) -> list[float]:
        rows = pad_sequence([torch.tensor(ids) for ids in captions], batch_first=True, padding_value=IGNORE_INDEX)
        scores: list[float] = self._captioner.token_log_probs(encoded, rows.to(self._captioner.device)).sum(1).tolist()
        return scores

    def _item(self, request: _Request) -> EncodedExample:
        return EncodedExample(
            example_id="",
            row=0,
            style=request.style,
            input_ids=self._preprocessor.prompt_ids(request.style),
            image_features=request.features,
            patch_mask=True,
            labels=[self._captioner.tokenizer.eos_token_id],
        )

    def _draw(
        self, encoded: Encoded, neutral: Encoded | None, requests: Sequence[_Request], writing: Writing
    ) -> Tensor:
        """Token ids of drawn captions; those that do not end within ``max_length`` have no EOS."""
        rules = writing.rules(self.decoding)
        drawn = self._captioner.sample(
            encoded,
            torch.stack([_uniforms(request, writing, rules.max_length + 1) for request in requests]),
            temperature=writing.temperature,
            top_p=writing.top_p,
            guidance=rules.guidance,
            neutral=neutral,
        )
        behind = drawn[:, rules.max_length :]  # where an EOS may stand, but no word
        return torch.cat(
            [
                drawn[:, : rules.max_length],
                behind.masked_fill(behind.ne(self._captioner.tokenizer.eos_token_id), IGNORE_INDEX),
            ],
            1,
        )


def _uniforms(request: _Request, writing: Writing, length: int) -> Tensor:
    """Random numbers (num, length) of a picture and style."""
    pixels = hashlib.blake2b(request.pixels.contiguous().numpy().tobytes()).hexdigest()
    seeds = [
        hashlib.blake2b(f"{writing.seed}/{number}/{request.style}/{pixels}".encode(), digest_size=7).digest()
        for number in range(writing.num)
    ]
    generators = [torch.Generator().manual_seed(int.from_bytes(seed)) for seed in seeds]
    return torch.stack([torch.rand(length, dtype=torch.float64, generator=generator) for generator in generators])
