"""What a validation does beside the loss: captions of examples, and their score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from captioning.writer import CaptionWriter
from preprocessors.examples import CaptionExample, rows_by_picture
from trainers.progress import on_terminal
from utils.io import append_jsonl


@dataclass(frozen=True)
class Validation:
    """Captions at validation.

    Attributes:
        writer: Captions examples with the model in training.
        samples: So many rows, spread evenly, are captioned into ``samples_file`` every time.
        samples_file: JSON Lines.
        batch_size: Examples per generation.
        score: From captions by example id to a number; None skips it, and with it the captions of the whole split.
        metric: What the number is logged as, behind ``eval_``.
    """

    writer: CaptionWriter
    samples: int
    samples_file: Path
    batch_size: int
    score: Callable[[dict[str, str]], float] | None = None
    metric: str = "CIDEr"

    def run(self, examples: Sequence[CaptionExample], global_step: int, *, record: bool) -> float | None:
        """Caption examples; all processes together.

        Args:
            examples: Of the validation split.
            global_step: Stands beside the samples.
            record: Whether this process writes the samples.

        Returns:
            The score, if one was asked for.
        """
        shown = choose_samples(examples, self.samples)
        chosen = shown if self.score is None else examples
        captions = self.writer.caption(chosen, self.batch_size, progress=on_terminal())
        if record:
            decoding = asdict(self.writer.decoding)
            for example in shown:
                row: dict[str, Any] = {"global_step": global_step, "example_id": example.example_id}
                row |= {"style": example.style, "image": str(example.image_path), "decoding": decoding}
                row |= {"caption": captions[example.example_id], "references": list(example.captions)}
                append_jsonl(self.samples_file, row)
        return None if self.score is None else self.score(captions)


def choose_samples(examples: Sequence[CaptionExample], count: int) -> list[CaptionExample]:
    """The same ``count`` examples at every validation: pictures spread over the split, styles taking turns."""
    groups = rows_by_picture(examples)
    chosen = [groups[number * len(groups) // count] for number in range(count)]
    picked = (examples[group[number % len(group)]] for number, group in enumerate(chosen))
    return list({example.example_id: example for example in picked}.values())
