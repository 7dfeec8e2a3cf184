"""Which parts of OFA are trained."""

from __future__ import annotations

from collections.abc import Iterable

from models.ofa import OFAForConditionalGeneration

UNUSED_BY_CAPTIONING = ("embed_image_positions", "image_pos_ln", "image_rel_pos_table_list", "code_layernorm_embedding")
"""Decoder modules of image generation; they never get a gradient, for which DDP would wait in vain."""


def freeze_parts(model: OFAForConditionalGeneration, parts: Iterable[str]) -> None:
    """Take parameters out of training, in place.

    Args:
        model: The captioner. What captioning never uses is frozen always.
        parts: Any of ``resnet`` (weights and batch-norm statistics), ``batch_norm`` (statistics only) and
            ``embeddings`` (tokens, and with them the tied output projection).

    Raises:
        ValueError: For an unknown part.
    """
    for name in UNUSED_BY_CAPTIONING:
        module = getattr(model.decoder, name)
        if module is not None:
            module.requires_grad_(False)
    for part in parts:
        if part == "resnet":
            model.encoder.embed_images.requires_grad_(False)
            model.encoder.embed_images.freeze_statistics()
        elif part == "batch_norm":
            model.encoder.embed_images.freeze_statistics()
        elif part == "embeddings":
            model.get_input_embeddings().requires_grad_(False)
            model.get_output_embeddings().requires_grad_(False)
        else:
            raise ValueError(f"train.freeze: unknown part {part!r}; known: resnet, batch_norm, embeddings")
