"""Which parts of a captioner are trained."""

from __future__ import annotations

from collections.abc import Iterable

from models.captioner import Captioner

FREEZABLE = ("resnet", "batch_norm", "embeddings")


def freeze_parts(captioner: Captioner, parts: Iterable[str]) -> None:
    """Take parameters out of training, in place.

    Args:
        captioner: What captioning never uses is frozen always.
        parts: Any of ``resnet`` (the vision network's weights and batch-norm statistics), ``batch_norm`` (its
            statistics only) and ``embeddings`` (tokens, and with them a tied output projection).

    Raises:
        ValueError: For an unknown part.
    """
    modules = captioner.parts()
    for module in modules.get("unused", ()):
        module.requires_grad_(False)
    for part in parts:
        if part not in FREEZABLE:
            raise ValueError(f"train.freeze: unknown part {part!r}; known: {', '.join(FREEZABLE)}")
        if part != "embeddings":
            captioner.freeze_statistics()
        if part != "batch_norm":
            for module in modules["vision" if part == "resnet" else part]:
                module.requires_grad_(False)
