"""A trained model folder as people use it: pictures to captions in any of its styles."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Self

from torch import Tensor

from captioning.completion import Completion, Pieces, split_typed
from captioning.device import move
from captioning.fusion import open_fusion
from captioning.pictures import Picture, read_picture
from captioning.requests import Request, RequestWriter, fingerprint
from captioning.styled import StyledCaptioner, open_styled
from captioning.writing import AS_TRAINED, Caption, Writing
from models.captioner import Encoded
from models.settings import Decoding
from preprocessors.text.captions import clean_caption, encode_caption
from preprocessors.text.styles import COMBINED
from utils.hub import resolve_model_folder

NAMED = 10
"""Styles that a message lists."""
LATEST = 8
"""Pictures with their style that are kept encoded for completions."""


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
        self._writer = RequestWriter(self._captioner, styled.preprocessor(), self.decoding)
        self._turn, self._latest = threading.RLock(), OrderedDict[tuple[str, str], Encoded]()

    @classmethod
    def open(cls, folder: str | os.PathLike[str], *, device: str | None = None, kind: str | None = None) -> Self:
        """Open a model folder.

        Args:
            folder: Folder, archive or hub id.
            device: Such as ``cpu`` or ``cuda:1``; None is a GPU where there is one.
            kind: As of :func:`models.captioner_class`; None is what the folder says.

        Raises:
            FileNotFoundError: If files are missing.
            ValueError: If they are damaged, or the folder is not one that was trained here, or there is no such device.
            NoNumbers: If a weight is NaN or infinite.
        """
        place = resolve_model_folder(os.fspath(folder))
        styled = open_styled(place, kind=kind)
        model = cls(styled, place)
        move(styled.captioner.module.requires_grad_(False), device)
        return model

    def fuse(self, folder: Path, *, weight: float = 0.0, guidance: float = 0.0) -> None:
        """Write captions together with a language model from now on, unless they are asked for with other weights.

        A style that it alone knows can then be asked for: the captioner says what is seen, in its neutral style, and
        the language model brings the style. The ``log_prob`` of such a caption is that of the neutral style.

        Args:
            folder: Of the language model, see :func:`captioning.fusion.open_fusion` for what it needs and raises.
            weight: Of its log-probabilities.
            guidance: Of what the style adds to them; where both are 0, it waits for captions that name a weight.
        """
        self._writer.fusion = open_fusion(
            folder,
            self._captioner.tokenizer,
            self.styles,
            weight=weight,
            guidance=guidance,
            max_length=self.decoding.max_length,
        )

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
        wanted, most = COMBINED.join(parts), self._writer.preprocessor.max_source_length
        tokens = len(self._captioner.tokenizer.encode_text(self._writer.preprocessor.prompt_text(wanted)))
        if tokens > most:
            raise ValueError(f"style {wanted!r}: its prompt has {tokens} tokens, and {most} fit; combine fewer styles")
        return wanted

    def check(self, writing: Writing, styles: Collection[str] = ()) -> None:
        """Refuse what cannot be written, naming the option and its range.

        Args:
            writing: How captions are to be written.
            styles: In which of them, as :meth:`style` names them; none are all that were trained.

        Raises:
            ValueError: If anything is out of bounds.
        """
        has_lm = self._writer.fusion is not None
        writing.check(self.decoding, self._captioner.limits().text_length, has_lm=has_lm)
        self._prefix_ids(writing)
        if (fusion := self._writer.fused(writing)) is not None:
            fusion.check(styles or self.styles, writing.rules(self.decoding).max_length)
        elif (alone := next(filter(self._writer.style_of_text, styles), None)) is not None:
            raise ValueError(
                f"style {alone!r}: the language model alone knows it, which these captions are written without; give "
                "lm_weight or lm_guidance above 0"
            )

    def lm_weights(self, writing: Writing = AS_TRAINED) -> dict[str, float]:
        """The weights of a language model that captions are written with, by option; none if they are written alone."""
        fusion = self._writer.fused(writing)
        return {} if fusion is None else fusion.describe()

    def doubt_of(self, writing: Writing) -> str | None:
        """Why captions should not be written so, if they should not; None mostly."""
        return self._styled.doubt_of_guidance(writing.rules(self.decoding).guidance)

    def read(self, picture: Picture, *, max_pixels: int | None = None) -> Tensor:
        """The pixels of a picture, uint8 (3, H, W), as :func:`captioning.pictures.read_picture` reads them."""
        return read_picture(picture, self._writer.preprocessor.image_transform, max_pixels=max_pixels)

    def write(
        self, requests: Sequence[tuple[Tensor, str]], writing: Writing, *, batch_size: int | None = None
    ) -> list[list[Caption]]:
        """Captions of a batch, for each request in order ``writing.num``, the best first, or as drawn.

        What does not fit into memory is done in halves.

        Args:
            requests: Pixels of :meth:`read`, and a style; a tensor that comes several times passes the vision network
                once.
            writing: How, for all of them.
            batch_size: Requests that are written at once, those with prompts of one length together, because a batch
                without padding needs no mask of its own in any layer; None writes all at once.

        Raises:
            ValueError: If a style or an option is none of the model's.
            NoNumbers: If scores are NaN or infinite.
            OutOfMemory: If one row alone does not fit.
        """
        wanted = [(pixels, self._style_to_write(style)) for pixels, style in requests]
        self.check(writing, {style for _, style in wanted})
        with self._turn:
            return self._in_batches(self._writer.look(wanted), writing, batch_size or max(1, len(wanted)))

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
            TypeError: If it is one picture, and no list.
            ValueError: If a picture cannot be read, or a style or an option is none of the model's.
        """
        if isinstance(pictures, Picture):
            raise TypeError(f"pictures is a single {type(pictures).__name__}; give a list of them")
        found: list[dict[str, list[Caption]]] = []
        names = self._wanted(styles)
        self.check(writing, names)
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            for start in range(0, len(pictures), batch_size):
                numbers = range(start, min(start + batch_size, len(pictures)))
                pixels = [*pool.map(lambda number: self._read_one_of(pictures, number), numbers)]
                with self._turn:
                    requests = self._writer.look([(shown, name) for shown in pixels for name in names])
                written = iter(self._in_batches(requests, writing, batch_size))
                found += [{name: next(written) for name in names} for _ in numbers]
        return found

    def _wanted(self, styles: Sequence[str] | str | None) -> list[str]:
        if styles == "all":
            return [*self.styles]
        listed = [styles] if styles is None or isinstance(styles, str) else styles
        return list(dict.fromkeys(map(self._style_to_write, listed)))

    def _style_to_write(self, given: str | None) -> str:
        """As :meth:`style`, or one that the language model alone knows."""
        if given is None or (found := self._writer.style_of_text(given)) is None:
            return self.style(given)
        if self.neutral not in self.styles:
            raise ValueError(
                f"style {found!r}: the language model alone knows it, so the captioner would caption in its neutral "
                f"style, {self.neutral!r}, which was never trained; train it with style.dropout"
            )
        return found

    def _read_one_of(self, pictures: Sequence[Picture], number: int) -> Tensor:
        return read_picture(
            pictures[number],
            self._writer.preprocessor.image_transform,
            called=f"picture {number + 1} of {len(pictures)}",
        )

    def score(self, picture: Picture | Tensor, style: str | None, captions: Sequence[str]) -> list[float]:
        """Natural logarithms of p(caption | picture, style), each summed over the tokens and the end.

        A caption counts as the model would have been trained on it, so without punctuation where that was stripped.

        Args:
            picture: Any, or pixels of :meth:`read`.
            style: As of :meth:`style`.
            captions: Any number.

        Raises:
            TypeError: If it is one caption, and no list.
            ValueError: If a caption is longer than the model has positions for.
        """
        if isinstance(captions, str):
            raise TypeError(f"captions is a single text, {captions[:40]!r}; give a list of them")
        wanted, eos = self.style(style), self._captioner.tokenizer.eos_token_id
        token_ids = [[*self._token_ids(caption), eos] for caption in captions]
        shown = self._pixels_of(picture)
        with self._turn:
            (request,) = self._writer.look([(shown, wanted)])
            return self._writer.score(request, token_ids)

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

        Raises:
            ValueError: If the text is longer than the model has positions for, or a number is below 1.
        """
        if min(num, words) < 1:
            raise ValueError(f"num={num}, words={words}: both must be at least 1")
        wanted, head, typed = self.style(style), *split_typed(text, self._cleaned(text))
        search = Completion(self._pieces, typed, at_start=not head, num=num, words=words)
        prefix, shown = self._token_ids(head), self._pixels_of(picture)
        most = min(search.most_tokens, self._captioner.limits().text_length - len(prefix))
        with self._turn:
            return search.run(self._captioner.steps(self._encoded(shown, wanted), prefix, most), most)

    def _encoded(self, pixels: Tensor, style: str) -> Encoded:
        """Of a picture and style; of the latest ones it is kept, since a person asks at every key."""
        key = (fingerprint(pixels), style)
        if key not in self._latest:
            self._latest[key] = self._writer.encode(*self._writer.look([(pixels, style)]))
            while len(self._latest) > LATEST:
                self._latest.popitem(last=False)
        self._latest.move_to_end(key)
        return self._latest[key]

    @cached_property
    def _pieces(self) -> Pieces:
        return Pieces(self._captioner.tokenizer)

    def _pixels_of(self, picture: Picture | Tensor) -> Tensor:
        return picture if isinstance(picture, Tensor) else self.read(picture)

    def _token_ids(self, caption: str) -> list[int]:
        """Without EOS."""
        token_ids = encode_caption(self._captioner.tokenizer, self._cleaned(caption))
        if len(token_ids) > (most := self._captioner.limits().text_length):
            raise ValueError(
                f"{caption[:40]!r}...: has {len(token_ids):,} tokens, and the model has {most:,} positions"
            )
        return token_ids

    def _prefix_ids(self, writing: Writing) -> list[int]:
        if not writing.prefix:
            return []
        token_ids, most = self._token_ids(writing.prefix), writing.rules(self.decoding).max_length
        cleaned, called = self._cleaned(writing.prefix), f"prefix={writing.prefix[:40]!r}"
        if not token_ids:
            raise ValueError(f"{called}: holds no words, as this model writes them; leave it out, or begin a caption")
        if (written := self._writer.preprocessor.decode(token_ids)) != cleaned:
            raise ValueError(f"{called}: this model cannot write that, only {written!r}; use words of its vocabulary")
        if len(token_ids) > most:
            raise ValueError(f"{called}: has {len(token_ids)} tokens, and max_length is {most}; raise it")
        if len(token_ids) == most and writing.sampling == "beam" and writing.num > 1:
            raise ValueError(f"{called}: fills max_length={most}, so num={writing.num} would be one caption; raise it")
        return token_ids

    def _cleaned(self, text: str) -> str:
        return clean_caption(text, punctuation=self._writer.preprocessor.punctuation)

    def _in_batches(self, requests: Sequence[Request], writing: Writing, batch_size: int) -> list[list[Caption]]:
        prompted = (self._writer.prompt_style(request.style) for request in requests)
        lengths = [len(self._writer.preprocessor.prompt_ids(style)) for style in prompted]
        order = sorted(range(len(requests)), key=lengths.__getitem__)
        written: dict[int, list[Caption]] = {}
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            written |= zip(rows, self._written([requests[row] for row in rows], writing), strict=True)
        return [written[row] for row in range(len(requests))]

    def _written(self, requests: Sequence[Request], writing: Writing) -> list[list[Caption]]:
        prefix = self._prefix_ids(writing)
        with self._turn:
            found = self._writer.write(requests, writing, prefix)
        if not prefix:
            return found
        given, known = " ".join(writing.prefix.split()), len(self._cleaned(writing.prefix))
        return [[replace(one, text=given + one.text[known:]) for one in captions] for captions in found]
