"""Which parts of a captioner are trained."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import nn

from models.captioner import Captioner

FREEZABLE = ("vision", "batch_norm", "embeddings")


def freeze_parts(captioner: Captioner, parts: Iterable[str], vision_stages: int | None = None) -> None:
    """Take parameters out of training, in place.

    Args:
        captioner: What captioning never uses is frozen always.
        parts: Any of ``vision`` (the vision network's weights and batch-norm statistics), ``batch_norm`` (its
            statistics only) and ``embeddings`` (tokens, and with them a tied output projection).
        vision_stages: Of the vision network only the last so many stages are trained; None leaves that to ``parts``.

    Raises:
        ValueError: For an unknown part, or more stages than there are.
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
            for module in modules[part]:
                module.requires_grad_(False)
    if vision_stages is not None:
        for module in modules["vision"]:
            module.requires_grad_(False)
        for stage in last_stages(captioner, vision_stages):
            stage.requires_grad_(True)


def last_stages(captioner: Captioner, count: int) -> Sequence[nn.Module]:
    """The last so many stages of the vision network.

    Raises:
        ValueError: If it has fewer.
    """
    stages = captioner.parts().get("vision_stages", ())
    if count > len(stages):
        raise ValueError(f"train.vision_stages={count}: the vision network has {len(stages)}")
    return stages[-count:]
