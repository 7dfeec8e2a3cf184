"""Configuration of OFA, field for field what ModelScope's ``config.json`` holds, plus the few fields of our own."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig
from transformers.activations import ACT2FN

from preprocessors.text.bpe_files import BIN_TOKENS, CODE_TOKENS

RESNET_LAYERS = {
    "resnet18": (2, 2, 2),
    "resnet34": (3, 4, 6),
    "resnet50": (3, 4, 6),
    "resnet101": (3, 4, 23),
    "resnet152": (3, 8, 36),
}
"""Bottleneck blocks per stage; OFA cuts the fourth stage off, and its 18 and 34 are bottleneck networks too."""

_UNSUPPORTED = {
    "use_ofasys": "the OFASys variant with a ViT is another model",
    "entangle_position_embedding": "position embeddings are never added to the token embeddings here",
    "use_gamma_feature": "no published captioning checkpoint scales its residual branches",
}


class OFAConfig(PreTrainedConfig):
    """Shape and behaviour of an OFA model.

    The names are those of the published ``config.json`` files. Ours on top: ``resnet_width``, ``resnet_layers`` and
    ``resnet_stem_stride`` (smaller vision networks; the defaults are the published shapes), ``vision`` and
    ``text_vocab_size``.

    Attributes:
        vocab_size: Entries of the embedding: BPE, then ``<code_k>``, ``<bin_k>``, then style tokens of ours.
        text_vocab_size: Entries of the BPE alone; captions are decoded over these. None: derived from ``vocab_size``.
        attn_scale_factor: Attention logits are divided by ``sqrt(head_dim * attn_scale_factor)``.
        image_bucket_size: Side of the table of image positions, in patches of 16 pixels.
        token_bucket_size: Distances in tokens that get a relative position of their own before they are binned.
        interpolate_position: Stretch the positions of an ``orig_patch_image_size`` image over a larger one.
        resnet_width: Channels after the stem; the network ends in ``16 * resnet_width`` channels.
        resnet_layers: Blocks per stage. None: what ``resnet_type`` stands for.
        vision: A pretrained network in place of the ResNet, a :class:`models.vision.table.VisionDescription`; its name
            then stands in ``resnet_type``, which makes ModelScope's code refuse the folder.

    Raises:
        ValueError: For an option of the reference that this implementation does not support, by name.
    """

    model_type = "ofa"
    keys_to_ignore_at_inference = ["past_key_values"]
    attribute_map = {
        "num_attention_heads": "encoder_attention_heads",
        "hidden_size": "d_model",
        "num_hidden_layers": "encoder_layers",
    }

    vocab_size: int = 59457
    text_vocab_size: int | None = None
    max_position_embeddings: int = 1024
    d_model: int = 512
    encoder_layers: int = 4
    encoder_ffn_dim: int = 2048
    encoder_attention_heads: int = 8
    decoder_layers: int = 4
    decoder_ffn_dim: int = 2048
    decoder_attention_heads: int = 8
    activation_function: str = "gelu"
    dropout: float = 0.1
    attention_dropout: float = 0.0
    activation_dropout: float = 0.0
    encoder_drop_path_rate: float = 0.0
    decoder_drop_path_rate: float = 0.0
    encoder_layerdrop: float = 0.0
    decoder_layerdrop: float = 0.0
    init_std: float = 0.02
    scale_embedding: bool = False
    encoder_normalize_before: bool = True
    decoder_normalize_before: bool = True
    normformer: bool = True
    layernorm_embedding: bool = True
    patch_layernorm_embedding: bool = True
    code_layernorm_embedding: bool = True
    add_type_embedding: bool = True
    share_decoder_input_output_embed: bool = True
    attn_scale_factor: float = 2.0
    share_attn_bias: bool = False
    token_bucket_size: int = 256
    image_bucket_size: int = 42
    code_image_size: int = 128
    interpolate_position: bool = False
    orig_patch_image_size: int = 224
    resnet_type: str = "resnet101"
    resnet_width: int = 64
    resnet_layers: list[int] | tuple[int, ...] | None = None
    resnet_stem_stride: int = 4
    resnet_drop_path_rate: float = 0.0
    vision: dict[str, Any] | None = None
    use_image_feature: bool = True
    use_ofasys: bool = False
    entangle_position_embedding: bool = False
    use_gamma_feature: bool = False
    exclude_mlp: bool = True
    temperature_init_value: float | None = None
    use_cache: bool = True
    is_encoder_decoder: bool = True
    tie_word_embeddings: bool = True
    pad_token_id: int = 1
    bos_token_id: int = 0
    eos_token_id: int = 2
    decoder_start_token_id: int = 0
    forced_eos_token_id: int | None = 2

    def __post_init__(self, **kwargs: Any) -> None:
        """Fill the derived fields and refuse what is not supported."""
        if self.resnet_layers is None and self.resnet_type in RESNET_LAYERS:
            self.resnet_layers = list(RESNET_LAYERS[self.resnet_type])
        if self.text_vocab_size is None:
            extra = CODE_TOKENS + BIN_TOKENS
            self.text_vocab_size = self.vocab_size - extra if self.vocab_size > extra else self.vocab_size
        self._refuse_unsupported()
        super().__post_init__(**kwargs)

    def _refuse_unsupported(self) -> None:
        faults = [f"{name}=true ({why})" for name, why in _UNSUPPORTED.items() if getattr(self, name)]
        faults += [
            f"{name}={getattr(self, name)} (only 0 is supported)"
            for name in ("encoder_layerdrop", "decoder_layerdrop")
            if getattr(self, name)
        ]
        if not self.use_image_feature:
            faults.append("use_image_feature=false (a captioner needs its picture)")
        if not self.exclude_mlp or self.temperature_init_value is not None:
            faults.append("exclude_mlp=false or temperature_init_value (contrastive heads are not part of a captioner)")
        if not self.tie_word_embeddings:
            faults.append(
                "tie_word_embeddings=false (for an output projection of its own: share_decoder_input_output_embed)"
            )
        if self.activation_function not in ACT2FN:
            faults.append(f"activation_function={self.activation_function!r} (known: gelu, relu, silu, ...)")
        faults += self._find_out_of_range()
        if self.resnet_layers is None and self.vision is None:
            faults.append(f"resnet_type={self.resnet_type!r} (known: {', '.join(RESNET_LAYERS)})")
        if self.resnet_stem_stride not in (2, 4):
            faults.append(f"resnet_stem_stride={self.resnet_stem_stride} (2 or 4)")
        for side in ("encoder", "decoder"):
            heads = getattr(self, f"{side}_attention_heads")
            if heads > 0 and self.d_model % heads:
                faults.append(f"{side}_attention_heads={heads} does not divide d_model={self.d_model}")
        if faults:
            raise ValueError("OFAConfig: not supported: " + "; ".join(faults))

    def _find_out_of_range(self) -> list[str]:
        sizes = ["vocab_size", "d_model", "max_position_embeddings", "token_bucket_size", "image_bucket_size"]
        sizes.append("resnet_width")
        sizes += [
            f"{side}_{name}" for side in ("encoder", "decoder") for name in ("layers", "ffn_dim", "attention_heads")
        ]
        rates = ["dropout", "attention_dropout", "activation_dropout", "resnet_drop_path_rate"]
        rates += ["encoder_drop_path_rate", "decoder_drop_path_rate"]
        given = {name: getattr(self, name) for name in sizes + rates}
        faults = [f"{name}={given[name]} (must be positive)" for name in sizes if given[name] < 1]
        return faults + [f"{name}={given[name]} (must be in [0, 1))" for name in rates if not 0 <= given[name] < 1]

    @property
    def patch_size(self) -> int:
        """Pixels per image position of the ResNet along each side: 16 for every published checkpoint."""
        return 4 * self.resnet_stem_stride


def _size(d_model: int, heads: int, layers: int, resnet_type: str) -> dict[str, Any]:
    shape: dict[str, Any] = {"d_model": d_model, "resnet_type": resnet_type}
    for side in ("encoder", "decoder"):
        shape |= {f"{side}_layers": layers, f"{side}_attention_heads": heads, f"{side}_ffn_dim": 4 * d_model}
    return shape


PRESETS: dict[str, dict[str, Any]] = {
    "nano": {
        **_size(128, 4, 2, "resnet18"),
        "resnet_width": 16,
        "resnet_layers": [1, 1, 1],
        "max_position_embeddings": 128,
        "token_bucket_size": 64,
        "image_bucket_size": 16,
    },
    "tiny": _size(256, 4, 4, "resnet50"),
    "medium": _size(512, 8, 4, "resnet101"),
    "base": _size(768, 12, 6, "resnet101"),
    "large": _size(1024, 16, 12, "resnet152"),
}
"""``OFAConfig`` fields of the published sizes, and ``nano``: under 2 M parameters, for demos and tests."""
