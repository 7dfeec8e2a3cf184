"""Texts that a language model writes for people to look at: at validations, and after an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from configuration.text import LmConfig
from models.style_lm import StyleLM
from models.style_lm.sampling import Sampling, sample_texts
from preprocessors.documents.token_bins import TokenBins
from utils.io import append_jsonl


class Beginning(NamedTuple):
    """What a text begins with."""

    style: str
    """Or the words of its control code."""
    prompt: Sequence[int]


@dataclass(frozen=True)
class SampleWriter:
    """Writes texts, the same beginnings every time.

    Attributes:
        lm: In evaluation mode when it writes.
        beginnings: One for each text.
        sampling: How they are drawn.
    """

    lm: StyleLM
    beginnings: Sequence[Beginning]
    sampling: Sampling

    def write(self) -> list[dict[str, Any]]:
        """The texts, each with its style and settings."""
        found = sample_texts(self.lm, [beginning.prompt for beginning in self.beginnings], self.sampling)
        return [
            {
                "example_id": f"text {number}#{beginning.style}",
                "style": beginning.style,
                "caption": self.lm.tokenizer.decode(ids).strip(),
                "ended": ids[-1] == self.lm.tokenizer.eos_id,
                "decoding": asdict(self.sampling),
            }
            for number, (beginning, ids) in enumerate(zip(self.beginnings, found, strict=True), start=1)
        ]

    def append(self, file: Path, global_step: int) -> None:
        """Write the texts of an optimizer step into a JSON Lines file."""
        for row in self.write():
            append_jsonl(file, {"global_step": global_step} | row)


def sample_writer(lm: StyleLM, config: LmConfig, bins: TokenBins, seed: int) -> SampleWriter:
    """The writer of a run.

    Args:
        lm: The model.
        config: Says how many texts, how long, and how they are drawn.
        bins: Documents whose control codes take turns where there are no styles.
        seed: Of the run.
    """
    known = _of_styles(lm) if lm.registry is not None else _of_documents(lm, bins, config.sample_num)
    chosen = [known[number % len(known)] for number in range(config.sample_num)]
    longest, length = max((len(beginning.prompt) for beginning in chosen), default=0), config.sample_length
    if lm.positions is not None:
        length = max(1, min(length, lm.positions - longest + 1))  # the last token needs no position
    return SampleWriter(lm, chosen, Sampling(length, config.temperature, config.top_k, config.top_p, seed=seed))


def _of_styles(lm: StyleLM) -> list[Beginning]:
    """Those that leave room for a text; the neutral one has no code."""
    names = () if lm.registry is None else lm.registry.names
    found = [Beginning(name, lm.prompt(name)) for name in names]
    return [beginning for beginning in found if lm.positions is None or len(beginning.prompt) <= lm.positions]


def _of_documents(lm: StyleLM, bins: TokenBins, most: int) -> list[Beginning]:
    """Different control codes of documents that stand evenly among all."""
    found: dict[str, Beginning] = {}
    for number in range(0, len(bins), max(1, len(bins) // max(1, most))):
        code = bins[number].code.tolist()
        words = lm.tokenizer.decode(code).strip()
        found.setdefault(words, Beginning(words, [lm.tokenizer.bos_id, *code]))
    return [*found.values()]
