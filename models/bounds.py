"""What may stand in the JSON files of a model folder: the type and range of every entry that is used, and why.

A folder may come from anybody. Each bound leaves published models much room and keeps what is built from one number
below a second and a gigabyte. Entries that no table here names are never used.
"""

from __future__ import annotations

from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,  # of pydantic, which takes no other before Python 3.12
)

from pydantic import ConfigDict, Field, TypeAdapter, with_config
from typing_extensions import TypedDict

STRICT = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)

Vocabulary = Annotated[int, Field(ge=1, le=1_000_000)]
"""Published: 59,457. The largest of the captioners: 257,216."""
TokenId = Annotated[int, Field(ge=0, lt=1_000_000)]
Width = Annotated[int, Field(ge=1, le=16_384)]
"""Published: 256 (tiny) to 1,280 (huge)."""
InnerWidth = Annotated[int, Field(ge=1, le=65_536)]
"""Published: four times the width."""
Layers = Annotated[int, Field(ge=1, le=128)]
"""Published: 4 (tiny) to 24 (huge). Each takes five milliseconds to make."""
Blocks = Annotated[int, Field(ge=1, le=128)]
"""In a stage of a ResNet. Published: 36 in ResNet-152."""
Heads = Annotated[int, Field(ge=1, le=256)]
"""Published: 4 to 16."""
TextPositions = Annotated[int, Field(ge=1, le=2048)]
"""Published: 1,024. Tables of all pairs grow with the square; making one at the bound takes 300 MB."""
ImagePositions = Annotated[int, Field(ge=1, le=56)]
"""Patches along a side. Published: 42. The table of all pairs grows with the fourth power; making one at the bound
takes 300 MB."""
Buckets = Annotated[int, Field(ge=1, le=8192)]
"""Published: 256."""
Channels = Annotated[int, Field(ge=1, le=1024)]
"""Of a ResNet's stem. Published: 64."""
Pixels = Annotated[int, Field(ge=1, le=4096)]
"""A side of a picture. Published: 480."""
Rate = Annotated[float, Field(ge=0, lt=1)]
Word = Annotated[str, Field(min_length=1, max_length=1000)]
"""Names of kinds, styles and tokens."""
Text = Annotated[str, Field(max_length=10_000)]
"""Prompts and places."""
Names = Annotated[list[Word], Field(max_length=20_000)]
"""Styles. The largest set there is has 215."""
ChannelValues = Annotated[list[Annotated[float, Field(ge=-1000, le=1000)]], Field(min_length=3, max_length=3)]
Deviations = Annotated[list[Annotated[float, Field(ge=1e-6, le=1000)]], Field(min_length=3, max_length=3)]
"""Pixels are divided by them."""


@with_config(STRICT)
class VisionFields(TypedDict):
    """``vision`` of ``config.json``, a :class:`models.vision.table.VisionDescription`."""

    kind: Word
    config: NotRequired[dict[str, Any]]
    source: Text
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    size: Pixels
    mean: ChannelValues
    std: Deviations
    channels: Annotated[int, Field(ge=1, le=65_536)]
    stride: Annotated[int, Field(ge=1, le=256)]
    named: bool


@with_config(STRICT)
class OFAFields(TypedDict, total=False):
    """``config.json`` of an OFA model: the fields of :class:`models.ofa.configuration_ofa.OFAConfig`."""

    vocab_size: Vocabulary
    text_vocab_size: Vocabulary | None
    max_position_embeddings: TextPositions
    d_model: Width
    encoder_layers: Layers
    encoder_ffn_dim: InnerWidth
    encoder_attention_heads: Heads
    decoder_layers: Layers
    decoder_ffn_dim: InnerWidth
    decoder_attention_heads: Heads
    activation_function: Word
    dropout: Rate
    attention_dropout: Rate
    activation_dropout: Rate
    encoder_drop_path_rate: Rate
    decoder_drop_path_rate: Rate
    encoder_layerdrop: Rate
    decoder_layerdrop: Rate
    init_std: Annotated[float, Field(ge=0, le=10)]
    scale_embedding: bool
    encoder_normalize_before: bool
    decoder_normalize_before: bool
    normformer: bool
    layernorm_embedding: bool
    patch_layernorm_embedding: bool
    code_layernorm_embedding: bool
    add_type_embedding: bool
    share_decoder_input_output_embed: bool
    attn_scale_factor: Annotated[float, Field(gt=0, le=1000)]
    share_attn_bias: bool
    token_bucket_size: Buckets
    image_bucket_size: ImagePositions
    code_image_size: Annotated[int, Field(ge=0, le=4096)]
    interpolate_position: bool
    orig_patch_image_size: Annotated[int, Field(ge=16, le=4096)]
    resnet_type: Word
    resnet_width: Channels
    resnet_layers: Annotated[list[Blocks], Field(min_length=3, max_length=3)] | None
    resnet_stem_stride: Annotated[int, Field(ge=2, le=4)]
    resnet_drop_path_rate: Rate
    vision: VisionFields | None
    use_image_feature: bool
    use_ofasys: bool
    entangle_position_embedding: bool
    use_gamma_feature: bool
    exclude_mlp: bool
    temperature_init_value: float | None
    use_cache: bool
    is_encoder_decoder: bool
    tie_word_embeddings: bool
    pad_token_id: TokenId
    bos_token_id: TokenId
    eos_token_id: TokenId
    decoder_start_token_id: TokenId
    forced_eos_token_id: TokenId | None


@with_config(STRICT)
class BeamSearchFields(TypedDict):
    """``model.beam_search`` of ``configuration.json``."""

    beam_size: Annotated[int, Field(ge=1, le=256)]
    """Usual: 5. Each beam has scores over the whole vocabulary."""
    max_len_b: Annotated[int, Field(ge=1, le=2048)]
    min_len: Annotated[int, Field(ge=0, le=2048)]
    no_repeat_ngram_size: Annotated[int, Field(ge=0, le=1_000_000)]


@with_config(STRICT)
class SettingsFields(TypedDict):
    """``model`` of a ``configuration.json`` of ours."""

    patch_image_size: Pixels
    max_image_size: NotRequired[Pixels]
    imagenet_default_mean_and_std: bool
    mean_std: NotRequired[Annotated[tuple[ChannelValues, Deviations], Field(strict=False)]]
    prompt: NotRequired[Text]
    style_prompt: Text
    trained_styles: Names
    beam_search: BeamSearchFields
    length_penalty: Annotated[float, Field(ge=-1000, le=1000)]
    guidance: NotRequired[Annotated[float, Field(ge=0, le=1_000_000)]]
    punctuation: NotRequired[Literal["strip", "keep"]]
    resizer: NotRequired[Literal["pillow", "torch"]]


@with_config(STRICT)
class StyleFields(TypedDict):
    """``styles.json``; its own hash says whether the rest of it is right."""

    names: Names
    aliases: Annotated[dict[Word, Word], Field(max_length=100_000)]
    inject: Word
    neutral: Word


OFA: TypeAdapter[Any] = TypeAdapter(OFAFields)
SETTINGS: TypeAdapter[Any] = TypeAdapter(SettingsFields)
STYLES: TypeAdapter[Any] = TypeAdapter(StyleFields)

FOREIGN_NUMBER = 1_000_000
"""Most of a number in the configuration of a network of transformers, of which we do not know the fields."""
FOREIGN_LAYERS = 256
"""Most of a number there whose key speaks of layers, blocks, stages or depth."""
FOREIGN_ENTRIES = 100_000
"""Most entries of a list or object there: published are 21,841 names of classes."""
_DEEP = ("layer", "depth", "block", "stage", "repeat")


def find_foreign_faults(content: Any, place: str) -> list[str]:
    """What is out of bounds in a configuration of transformers, a reason for each; empty if nothing is.

    Args:
        content: As read, nested no deeper than JSON files may be.
        place: Key that it stands under, for messages.
    """
    if isinstance(content, dict | list):
        if len(content) > FOREIGN_ENTRIES:
            return [f"{place} has {len(content):,} entries, and at most {FOREIGN_ENTRIES:,} are read"]
        inner = content.items() if isinstance(content, dict) else ((place, value) for value in content)
        joined = ((f"{place}.{key}" if isinstance(content, dict) else key, value) for key, value in inner)
        faults = [fault for key, value in joined for fault in find_foreign_faults(value, key)]
        if isinstance(content, dict) and content.get("quantization_config"):
            faults.append(f"{place}.quantization_config: quantised weights are not supported")
        return faults
    if isinstance(content, bool) or not isinstance(content, int | float):
        return []
    key = place.rpartition(".")[2].lower()
    layers = isinstance(content, int) and any(part in key for part in _DEEP) and "scale" not in key
    most = FOREIGN_LAYERS if layers else FOREIGN_NUMBER
    return [] if abs(content) <= most else [f"{place}={content}: must be at most {most:,}"]
