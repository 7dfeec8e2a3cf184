"""Pictures to captions: batched generation over examples, shared out among processes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from accelerate import PartialState
from tqdm import tqdm

from captioning.encoding import encode_prompts
from captioning.endings import cut_at_limit
from captioning.fusion import Fusion
from models.captioner import Captioner
from models.settings import Decoding
from preprocessors.collator import IGNORE_INDEX, encode_together
from preprocessors.examples import CaptionExample, rows_by_picture
from preprocessors.interface import CaptionPreprocessor, EncodedExample
from preprocessors.pictures.feature_cache import FeatureCache, in_evaluation
from preprocessors.pictures.row_cache import View
from utils.errors import NoNumbers
from utils.memory import Halving
from utils.signals import StopRequested, leaving_soon, stop_requested

ADVICE = "Lower decode.num_beams or image.size, or use a GPU with more memory."


class CaptionWriter:
    """Captions examples with a captioner, in whatever state its weights are.

    Args:
        captioner: Moved nowhere; captions are made where it is.
        preprocessor: Makes prompts and pixels.
        decoding: How to generate.

    Attributes:
        fusion: Of a language model that captions are written with; None writes them alone.
        features: Of the vision network; pictures that are among them are not opened. None opens all.
        memory: Divides batches that do not fit.
        cut: Ids of the examples captioned last whose captions were cut at the limit of their length.
    """

    def __init__(self, captioner: Captioner, preprocessor: CaptionPreprocessor, decoding: Decoding) -> None:
        self.captioner, self.preprocessor, self.decoding = captioner, preprocessor, decoding
        self.fusion: Fusion | None = None
        self.features: FeatureCache | None = None
        self.memory = Halving("captioning", ADVICE)
        self.cut: set[str] = set()

    @torch.no_grad()
    def caption_batch(self, examples: Sequence[CaptionExample]) -> list[str]:
        """One caption per example, in order, in one batch.

        Raises:
            NoNumbers: If scores are NaN or infinite, naming the examples.
        """
        try:
            return self._caption(examples)
        except NoNumbers as error:
            names = ", ".join(example.example_id for example in examples[:5])
            more = f" and {len(examples) - 5} more" if len(examples) > 5 else ""
            raise NoNumbers(f"{names}{more}: {error}") from error

    def _caption(self, examples: Sequence[CaptionExample]) -> list[str]:
        with in_evaluation(self.captioner.module):
            encoded, neutral = encode_prompts(
                self.captioner, self.preprocessor, self._encode(examples), guided=self._is_guided(examples)
            )
            fusion = None if self.fusion is None else self.fusion.of([example.style for example in examples])
            token_ids = self.captioner.beams(encoded, self.decoding, neutral=neutral, fusion=fusion)
            cut = cut_at_limit(self.captioner, encoded, token_ids, self.decoding, neutral=neutral)
        self.cut |= {example.example_id for example, is_cut in zip(examples, cut, strict=True) if is_cut}
        return [
            self.preprocessor.decode([token for token in row if token != IGNORE_INDEX]) for row in token_ids.tolist()
        ]

    def _is_guided(self, examples: Sequence[CaptionExample]) -> bool:
        """Whether any caption is compared with what the model says without style; there, nothing is to be compared."""
        registry = self.preprocessor.registry
        return self.decoding.guidance != 1.0 and any(
            registry.resolve(example.style) != registry.neutral for example in examples
        )

    def _encode(self, examples: Sequence[CaptionExample]) -> list[EncodedExample]:
        features, views = self.features, [View(example.image_path, 0) for example in examples]
        shown = None
        if features is not None and all(view.image in features for view in views):
            shown = features.shared(views)
        return encode_together(self.preprocessor, [*enumerate(examples)], features=shown)

    def caption(self, examples: Sequence[CaptionExample], batch_size: int, *, progress: bool = False) -> dict[str, str]:
        """Caption all examples.

        Under ``torch.distributed`` every process captions batches of its own and all of them get all captions, which
        are those that one process alone writes.

        Args:
            examples: With distinct example ids.
            batch_size: Examples per batch and process.
            progress: Show a progress bar on the terminal.

        Returns:
            ``example_id`` to caption, in the order of ``examples``.

        Raises:
            StopRequested: If a signal asked a process to stop, on all of them.
        """
        distributed = dist.is_available() and dist.is_initialized()
        rank, processes = (dist.get_rank(), dist.get_world_size()) if distributed else (0, 1)
        batches = self._batches(examples, batch_size)[rank::processes]
        captions: dict[str, str] = {}
        self.cut = set()
        stopped = False
        total = sum(map(len, batches))
        with tqdm(total=total, desc="captions", unit="img", disable=not progress or rank > 0, leave=False) as bar:
            for batch in batches:
                if stopped := stop_requested():  # told to the others below, where they wait
                    break
                texts = self.memory.in_pieces(batch, self.caption_batch)
                captions |= zip((example.example_id for example in batch), texts, strict=True)
                bar.update(len(batch))
        shares: list[tuple[dict[str, str], set[str]] | None] = [None if stopped else (captions, self.cut)]
        if distributed:
            own, shares = shares[0], [None] * processes
            dist.all_gather_object(shares, own)
        whole = [part for part in shares if part is not None]
        if len(whole) < len(shares):
            raise StopRequested
        captions = {key: text for part, _ in whole for key, text in part.items()}
        self.cut = {key for _, cut in whole for key in cut}
        return {example.example_id: captions[example.example_id] for example in examples}

    def _batches(self, examples: Sequence[CaptionExample], batch_size: int) -> list[list[CaptionExample]]:
        """All batches of all processes, which deal them among themselves: so a caption does not depend on their number.

        The styles of a picture stand together, which share its pass through the vision network. Beyond that, prompts of
        one length do: a batch without padding needs no mask of its own in any layer.
        """
        lengths = [len(self.preprocessor.prompt_ids(example.style)) for example in examples]
        pictures = [sorted(rows, key=lengths.__getitem__) for rows in rows_by_picture(examples)]
        pictures.sort(key=lambda rows: [lengths[row] for row in rows])
        ordered = [examples[row] for rows in pictures for row in rows]
        return [ordered[start : start + batch_size] for start in range(0, len(ordered), batch_size)]


def join_processes() -> PartialState:
    """This process among those of ``torchrun``, or alone; knows its device."""
    with leaving_soon():
        return PartialState(cpu=not torch.accelerator.is_available())
