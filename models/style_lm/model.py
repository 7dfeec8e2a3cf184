"""A causal language model with its tokenizer and styles: what writes, judges and completes text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from models.style_lm.folder import load_network, load_registry
from models.style_lm.new import new_network
from models.style_lm.scoring import block_logits, token_log_probs
from models.style_lm.steps import LMSteps
from preprocessors.collator import IGNORE_INDEX
from preprocessors.documents.codes import ControlCodes
from preprocessors.documents.folders import open_text_tokenizer
from preprocessors.documents.interface import TextTokenizer
from preprocessors.text.styles import StyleRegistry
from utils.durable import replaced_folder
from utils.manifest import check_sealed, seal
from utils.saved import Saved

LOGITS_AT_ONCE = 1 << 25
"""Most scores that :meth:`StyleLM.log_probs` has in memory, 128 MiB of float32."""


class StyleLM:
    """A language model of documents, each behind the control code of its style.

    Args:
        network: Any causal language model of transformers that attends by ``scaled_dot_product_attention``.
        tokenizer: Of at most as many entries.
        registry: Styles, and what stands for them; None where any words are a control code.
    """

    def __init__(self, network: PreTrainedModel, tokenizer: TextTokenizer, registry: StyleRegistry | None) -> None:
        self.network, self.tokenizer, self.registry = network, tokenizer, registry
        self._codes = ControlCodes(tokenizer, registry)

    @classmethod
    def load_from_dir(cls, folder: Path) -> Self:
        """Open a folder of ours, or any causal language model's, in evaluation mode.

        Raises:
            FileNotFoundError: If files are missing.
            ValueError: If they are damaged or do not fit one another, or do not have the content they were saved with.
            NoNumbers: If a weight is NaN or infinite.
        """
        check_sealed(folder)
        tokenizer = open_text_tokenizer(folder)
        return cls(load_network(folder, len(tokenizer)), tokenizer, load_registry(folder))

    @classmethod
    def new(
        cls,
        tokenizer: TextTokenizer,
        registry: StyleRegistry | None,
        *,
        size: str = "nano",
        positions: int = 256,
        dropout: float = 0.0,
        seed: int = 0,
    ) -> Self:
        """A model with random weights, in evaluation mode; see :func:`models.style_lm.new.new_network`."""
        return cls(new_network(tokenizer, size, positions, dropout, seed), tokenizer, registry)

    def save_to_dir(self, folder: Path) -> None:
        """Write a folder that transformers opens too: aside first, sealed, then in place of an older one."""
        with replaced_folder(folder) as aside:
            self.save_companions(aside)
            self.network.save_pretrained(aside)
            seal(aside, {"kind": "model"})

    def save_companions(self, folder: Path) -> None:
        """Write what weights need beside them; configuration and weights are written by somebody else."""
        folder.mkdir(parents=True, exist_ok=True)
        self.tokenizer.save_to_dir(folder)
        if self.registry is not None:
            self.registry.save_to_dir(folder)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = self.network.device
        return device

    @property
    def positions(self) -> int | None:
        """Most tokens of a document with BOS, control code and EOS; None has no limit."""
        most: int | None = getattr(self.network.config, "max_position_embeddings", None)
        return most

    def prompt(self, style: str | None) -> list[int]:
        """What stands before a text: BOS and the control code.

        Args:
            style: As in :meth:`preprocessors.text.styles.StyleRegistry.resolve`, or any words where there are no
                styles; None and the neutral one have no code.

        Raises:
            ValueError: If no style has that name.
        """
        return [self.tokenizer.bos_id, *self._codes.ids([] if style is None else [style])]

    def logits(self, token_ids: Tensor, position_ids: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Scores of the token behind each position, see :func:`block_logits`; (B, L, V)."""
        return block_logits(self.network, token_ids, position_ids, mask)

    @torch.no_grad()
    def log_probs(self, texts: Sequence[str] | Tensor, styles: Sequence[str | None]) -> Tensor:
        """Log-probabilities of texts' tokens, each given its control code and what stands before it.

        Args:
            texts: N texts, or their ids with EOS, int64 (N, T), filled up with -100.
            styles: N styles as in :meth:`prompt`.

        Returns:
            float32 (N, T) on the model's device, nats, EOS included; 0 behind it.

        Raises:
            ValueError: If there are not as many styles, or a text is longer than the model's positions.
        """
        ids = self.encode(texts) if not isinstance(texts, Tensor) else texts
        ids = ids.to(self.device)
        if len(ids) != len(styles):
            raise ValueError(f"{len(ids)} texts and {len(styles)} styles: each text needs one")
        known = {style: self.prompt(style) for style in dict.fromkeys(styles)}
        self.check_length(max(map(len, known.values()), default=0) + ids.shape[1] - 1)
        rows = max(1, LOGITS_AT_ONCE // max(1, ids.shape[1] * len(self.tokenizer)))
        parts = [
            token_log_probs(
                self.network,
                [known[style] for style in styles[start : start + rows]],
                ids[start : start + rows],
                filler=self.tokenizer.eos_id,
                entries=len(self.tokenizer),
            )
            for start in range(0, len(ids), rows)
        ]
        return torch.cat(parts) if parts else ids.new_zeros(ids.shape, dtype=torch.float32)

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Ids of texts with EOS, int64 (N, T), filled up with -100."""
        rows = [torch.tensor([*ids, self.tokenizer.eos_id]) for ids in self.tokenizer.encode_batch(texts)]
        if not rows:
            return torch.zeros(0, 1, dtype=torch.int64)
        return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=IGNORE_INDEX)

    def steps(self, prompts: Sequence[Sequence[int]], most: int) -> LMSteps:
        """Begin texts, for a search of one's own; without gradients.

        Args:
            prompts: N beginnings, token ids as of :meth:`prompt` with what else is there already.
            most: Tokens that will come behind them at most.

        Raises:
            ValueError: If the model has no positions for so many tokens.
        """
        self.check_length(max(map(len, prompts)) + most - 1)
        return LMSteps.reading(self.network, prompts, len(self.tokenizer))

    def check_length(self, tokens: int) -> None:
        """Refuse what the model has no positions for.

        Raises:
            ValueError: If there are more tokens than positions.
        """
        if self.positions is not None and tokens > self.positions:
            raise ValueError(f"{tokens:,} tokens: the language model has positions for {self.positions:,}; shorten it")


if TYPE_CHECKING:
    _: type[Saved] = StyleLM
