"""The group of a text run: its language model, how often it is looked at, and what it writes then."""

from __future__ import annotations

from pydantic import Field

from configuration.types import Group


class LmConfig(Group):
    """The language model of a text run (task text), of which ``model`` gives the size or the folder to start from."""

    positions: int | None = Field(default=None, ge=8)
    """Most tokens of a document with BOS, control code and EOS, and of a training row, into which documents are packed;
    None = those that the model to start from has, 256 for a new one."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Of a new model's embeddings, attention and residuals; 0.1 is GPT-2's (Radford 2019)."""
    val_every: int | None = Field(default=None, ge=1)
    """Optimizer steps between validations, each of which saves a checkpoint; None = ``checkpoint.every_epochs``."""
    val_batches: int | None = Field(default=None, ge=1)
    """Validate on the first so many batches of ``eval.batch_size`` rows; None = all."""
    save_every: int | None = Field(default=None, ge=1)
    """Save a checkpoint as well after every so many optimizer steps, without a validation; None = with validations."""
    sample_every: int | None = Field(default=None, ge=1)
    """Optimizer steps between samples; None = with every validation."""
    sample_num: int = Field(default=4, ge=0)
    """Texts written into samples.jsonl, the styles taking turns; 0 = none."""
    sample_length: int = Field(default=64, ge=1)
    """Most tokens of a text that is written."""
    temperature: float = Field(default=1.0, gt=0)
    """Of these texts: divides the logits."""
    top_k: int | None = Field(default=None, ge=1)
    """Of these texts: drawn from so many likeliest tokens; None = all (Fan 2018, arXiv:1805.04833)."""
    top_p: float = Field(default=0.95, gt=0, le=1)
    """Of these texts: drawn from the likeliest tokens that together have this probability (Holtzman 2019,
    arXiv:1904.09751)."""
    hit_places: int = Field(default=1000, ge=0)
    """Most places of the evaluated documents at which the next word is looked for among those proposed; 0 = none."""
