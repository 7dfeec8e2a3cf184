"""Pictures to captions: batched generation over examples, shared out among processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
import torch.distributed as dist
from tqdm import tqdm

from models.ofa import OFAForConditionalGeneration, OFATokenizer
from preprocessors.collator import CaptionCollator
from preprocessors.examples import CaptionExample
from preprocessors.ofa import OFAStylePreprocessor


@dataclass(frozen=True)
class Decoding:
    """How captions are generated; recorded beside them.

    Attributes:
        num_beams: 1 is greedy.
        max_length: Most caption tokens before EOS.
        min_length: Fewest caption tokens before EOS.
        no_repeat_ngram_size: No n-gram of this length occurs twice; 0 is off.
        length_penalty: Exponent of the length that a beam's score is divided by.
    """

    num_beams: int = 5
    max_length: int = 16
    min_length: int = 1
    no_repeat_ngram_size: int = 3
    length_penalty: float = 1.0

    def generate_arguments(self) -> dict[str, float | int]:
        """The same as arguments of ``generate``; lengths there count BOS, and the longest counts EOS too."""
        arguments = asdict(self) | {"max_length": self.max_length + 2, "min_length": self.min_length + 1}
        if self.num_beams == 1:
            del arguments["length_penalty"]
        return arguments


class Captioner:
    """A model with its tokenizer and preprocessor, ready to caption.

    Args:
        model: Moved nowhere; captions are made where it is.
        tokenizer: The model's.
        preprocessor: Makes prompts and pixels.
        decoding: How to generate.
    """

    def __init__(
        self,
        model: OFAForConditionalGeneration,
        tokenizer: OFATokenizer,
        preprocessor: OFAStylePreprocessor,
        decoding: Decoding,
    ) -> None:
        self.model, self.tokenizer, self.preprocessor, self.decoding = model, tokenizer, preprocessor, decoding
        self.collate = CaptionCollator(tokenizer.pad_token_id, tokenizer.bos_token_id)

    @torch.no_grad()
    def caption_batch(self, examples: Sequence[CaptionExample]) -> list[str]:
        """One caption per example, in order, in one batch."""
        batch = self.collate([self.preprocessor.encode(example) for example in examples])
        was_training = self.model.training
        self.model.eval()
        device = self.model.device
        token_ids = self.model.generate(
            input_ids=batch["input_ids"].to(device),
            patch_images=batch["patch_images"].to(device, self.model.dtype),
            patch_masks=batch["patch_masks"].to(device),
            **self.decoding.generate_arguments(),
        )
        self.model.train(was_training)
        return [self.tokenizer.decode_caption(row) for row in token_ids.tolist()]

    def caption(self, examples: Sequence[CaptionExample], batch_size: int, *, progress: bool = False) -> dict[str, str]:
        """Caption all examples.

        Under ``torch.distributed`` every process captions its share and all of them get all captions.

        Args:
            examples: With distinct example ids.
            batch_size: Examples per batch and process.
            progress: Show a progress bar on the terminal.

        Returns:
            ``example_id`` to caption, in the order of ``examples``.
        """
        distributed = dist.is_available() and dist.is_initialized()
        rank, processes = (dist.get_rank(), dist.get_world_size()) if distributed else (0, 1)
        # Prompts of one length go together: a batch without padding needs no mask of its own in any layer.
        share = sorted(examples[rank::processes], key=lambda e: len(self.preprocessor.prompt_ids(e.style)))
        captions: dict[str, str] = {}
        bar = tqdm(total=len(share), desc="captions", unit="img", disable=not progress or rank > 0, leave=False)
        with bar:
            for start in range(0, len(share), batch_size):
                part = share[start : start + batch_size]
                captions |= zip((example.example_id for example in part), self.caption_batch(part), strict=True)
                bar.update(len(part))
        if distributed:
            shares: list[dict[str, str]] = [{}] * processes
            dist.all_gather_object(shares, captions)
            captions = {key: text for part in shares for key, text in part.items()}
        return {example.example_id: captions[example.example_id] for example in examples}
