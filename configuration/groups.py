"""The groups of a run's configuration: fields, defaults, ranges, and the rules between fields of one group."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from configuration.data import DataConfig
from configuration.documents import DocumentsConfig
from configuration.lora import LoraConfig
from configuration.objectives import MaskedLmConfig, PreferenceConfig, ScstConfig, UnlikelihoodConfig
from configuration.text import LmConfig
from configuration.types import (
    ConfigPath,
    Group,
    MetricName,
    Name,
    NameOrFolder,
    Names,
    OneOf,
    Prompt,
    Relation,
    RowsOrAuto,
)
from metrics.table import TEXT_METRICS, with_pictures
from metrics.text_lm import DOCUMENT_METRICS
from models import CAPTIONERS, captioner_class
from preprocessors.documents.table import CAPTIONS
from preprocessors.formats.table import FORMATS
from preprocessors.text.prompts import DEFAULT_PROMPT
from utils.plugins import is_plugin


class ModelConfig(Group):
    """The model to start from, a captioner or with task text a language model: a trained or a new one."""

    name: NameOrFolder | None = None
    """Model folder, or id on the ModelScope hub: of OFA or, by its config.json, of BLIP, Florence-2, SmolVLM, Idefics3
    or PaliGemma of transformers (docs/models.md); with task text of any causal language model of transformers."""
    revision: Name | None = None
    """Revision of the hub model; None = the newest."""
    preset: Literal["nano", "tiny", "medium", "base", "large"] | None = None
    """Size of a new model with random weights; None = start from ``name``."""
    kind: Annotated[str, OneOf(CAPTIONERS, "kind of captioner", load=captioner_class)] | None = None
    """What captioner it is; None = what the folder says, of a new one ``ofa``. A ``package.module:Class`` is one of
    your own (docs/plugins.md)."""
    vision: NameOrFolder | None = None
    """Pretrained vision network of a new model: ``efficientnet_lite0`` .. ``2``, or a folder or hub id of transformers
    (ResNet, ConvNeXt, DINOv2, Swin, the towers of CLIP and SigLIP); None = OFA's own ResNet."""
    vision_weights: Literal["kept", "named"] = "kept"
    """Whether model folders hold the pretrained network's weights, or name them with their hash."""
    overrides: dict[str, Any] = {}
    """OFAConfig fields that differ from the preset's."""
    bpe_size: int = Field(default=2000, ge=300)
    """Vocabulary entries of the BPE trained on the training captions of a new model."""

    RELATIONS = (
        Relation(
            ("overrides", "preset"),
            lambda group: not group.overrides or group.preset is not None,
            "only a new model can be changed; remove it or use model.preset",
        ),
        Relation(
            ("vision", "preset"),
            lambda group: group.vision is None or group.preset is not None,
            "only a new model can be given a vision network; remove it or use model.preset",
        ),
        Relation(
            ("vision_weights", "vision"),
            lambda group: group.vision_weights == "kept" or group.vision is not None,
            "only a pretrained network can be named; set model.vision, or remove this",
        ),
    )


class StyleConfig(Group):
    """How the style reaches the model."""

    inject: Literal["words", "code", "token"] = "words"
    """The style's name, a reserved ``<code_k>``, or a new ``<style_k>`` in the prompt."""
    prompt: Prompt = DEFAULT_PROMPT
    """Text beside the picture; ``{}`` is the style. "" or null = this default."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Probability that a training row is given the neutral style instead of its own."""
    neutral: Name = "neutral"
    """Name of the style for plain captions."""
    aliases: dict[Name, Name] = {}
    """Other spellings of styles, each to the style's name: in the data, in ``data.styles`` and when captions are asked
    for. Saved with the model."""


class ImageConfig(Group):
    """How a picture becomes pixels."""

    size: int | None = Field(default=None, ge=32)
    """Height and width that the model sees, pixels; None = what its vision network was made for, 480 for OFA's own."""
    max_size: int | None = Field(default=None, ge=32)
    """Height and width before the random crop, pixels."""
    random_crop: bool = False
    """Training only: resize to ``max_size``, crop ``size`` at a random place."""
    mean_std: Literal["half", "imagenet"] | None = None
    """Normalisation: 0.5 for every channel, or ImageNet's statistics; None = the vision network's own, ``half`` for
    OFA's."""
    max_pixels: int = Field(default=250_000_000, ge=1)
    """Most pixels of a picture file, width times height; larger ones are refused as a likely attack on the memory."""
    resizer: Literal["pillow", "torch"] | None = None
    """What resizes pictures. pillow = as for the published models; torch = four times as fast, and JPEGs of twice the
    size are decoded at half of it. None = the model's own: torch for a new one, pillow for a published one."""
    cache: ConfigPath = Path("work_dir/.pictures")
    """Folder of pictures that are decoded and resized already, kept for all runs."""
    cache_mb: int = Field(default=0, ge=0)
    """Most disk space of that folder, MiB; a picture takes 3 bytes a pixel of ``size`` (147 KiB at 224). 0 = off."""
    feature_cache: ConfigPath = Path("work_dir/.features")
    """Folder of features of pictures that cannot change (frozen vision network), kept for all runs."""
    feature_cache_mb: int = Field(default=4096, ge=0)
    """Most disk space of that folder, MiB; 0 = no features are kept."""
    feature_views: int = Field(default=1, ge=1, le=16)
    """Views of a training picture whose features are kept; each row draws one in each epoch. 1 = the picture, 2 = and
    its mirror image, more = and crops of both. For a frozen vision network, in place of ``random_crop``."""

    RELATIONS = (
        Relation(
            ("max_size", "size"),
            lambda group: group.max_size is None or group.max_size >= (group.size or 0),
            "must be at least image.size",
        ),
        Relation(
            ("random_crop", "max_size"),
            lambda group: not group.random_crop or group.max_size is not None,
            "needs image.max_size, the size that is cropped from",
        ),
        Relation(
            ("feature_views", "max_size"),
            lambda group: group.feature_views <= 2 or group.max_size is not None,
            "more than 2 views are crops and need image.max_size, the size that is cropped from",
        ),
        Relation(
            ("feature_views", "random_crop"),
            lambda group: group.feature_views == 1 or not group.random_crop,
            "crops are drawn anew for every row with image.random_crop; set it to false, or image.feature_views to 1",
        ),
    )


class TrainConfig(Group):
    """Optimisation."""

    epochs: int | None = Field(default=3, ge=1)
    """Passes over the training rows; None = until ``max_hours`` are over or somebody stops it (task text). The learning
    rate rises over a share of the first epoch then, and stays."""
    max_hours: float | None = Field(default=None, gt=0)
    """Training ends after so many hours, those before interruptions counted, as if it had come to its last step."""
    steps: int | None = Field(default=None, ge=1)
    """Optimizer steps of an epoch where training shards are streamed; None = the rows say."""
    batch_size: RowsOrAuto = 16
    """Rows per device and forward pass; where they do not fit into memory, they are divided, with the same update.
    auto = a device's share of ``global_batch_size``, in pieces of as many rows as are found to fit."""
    global_batch_size: int | None = Field(default=None, ge=1)
    """Rows per optimizer step over all devices, for ``batch_size`` auto; otherwise they are batch_size times
    accumulation_steps times devices."""
    group_pictures: bool = False
    """Rows of one picture follow one another, so that those of a batch share its pass through the vision network."""
    group_lengths: bool = False
    """Captions of a batch are about as long, so that less of it is padding; the order stays random otherwise. With
    ``group_pictures``, rows of one picture stay together and count as long as the longest."""
    captions_per_row: int = Field(default=1, ge=1)
    """Captions of a row (a picture in a style) that are learnt at once, on one pass through the encoder; a row with
    fewer gives all it has. They take turns from epoch to epoch: with K of n captions, each is learnt in K of n epochs,
    and all are after n / K, rounded up. Batches, steps and epochs are counted in rows."""
    accumulation_steps: int = Field(default=1, ge=1)
    """Forward passes per optimizer step."""
    lr: float = Field(default=5e-5, gt=0)
    """Peak learning rate of AdamW."""
    lr_end: float = Field(default=1e-7, ge=0)
    """Learning rate at the last step."""
    num_cycles: int | None = Field(default=None, ge=1)
    """The learning rate falls in so many half cosines, each from the peak; None = linearly, once."""
    warmup: float = Field(default=0.06, ge=0, lt=1)
    """Share of the steps in which the learning rate rises."""
    weight_decay: float = Field(default=0.001, ge=0)
    """AdamW's decoupled weight decay."""
    clip: float = Field(default=1.0, gt=0)
    """Largest L2 norm of the gradient."""
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    """Probability mass spread over the vocabulary, as OFA defines it."""
    drop_worst: float = Field(default=0.0, ge=0, lt=1)
    """Share of the tokens with the highest loss that are left out."""
    rdrop: float = Field(default=0.0, ge=0)
    """Weight of R-Drop's KL term, per token."""
    freeze: list[Literal["vision", "resnet", "embeddings", "batch_norm"]] = []
    """Parts that are not trained; ``resnet`` is another word for ``vision``."""
    vision_stages: int | None = Field(default=None, ge=1)
    """Train the last so many stages of the vision network; None = all of OFA's own, none of a pretrained network."""
    vision_lr: float | None = Field(default=None, gt=0)
    """Peak learning rate of the vision network; None = ``lr``."""
    skip_spikes: bool = False
    """Leave out optimizer steps whose loss or gradient stands far above that of the steps before; false = tell only."""
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    """Number format of the forward pass; auto = bf16 where the device has it, else fp32."""
    seed: int = Field(default=7, ge=0, lt=2**32)
    """Seed of weights, order, crops and dropout."""
    num_workers: int = Field(default=0, ge=0)
    """Processes that load pictures; 0 = the main one."""
    report_to: list[Literal["tensorboard", "wandb", "mlflow", "trackio"]] = ["tensorboard"]
    """Tools that get a copy of the numbers in ``metrics.jsonl``, as installed and set up; one that fails is dropped."""

    RELATIONS = (
        Relation(
            ("lr_end", "lr"),
            lambda group: group.lr_end <= group.lr,
            "the learning rate would rise from train.lr={lr:g} to train.lr_end={lr_end:g}; "
            "lower train.lr_end or raise train.lr",
        ),
        Relation(
            ("num_cycles", "epochs"),
            lambda group: group.num_cycles is None or group.epochs is not None,
            "a training without an end has no last step to fall to; give train.epochs, or remove it",
        ),
        Relation(
            ("batch_size", "global_batch_size"),
            lambda group: (group.batch_size == "auto") == (group.global_batch_size is not None),
            "auto and train.global_batch_size go together; give both, or a number and no train.global_batch_size",
        ),
        Relation(
            ("batch_size", "accumulation_steps"),
            lambda group: group.batch_size != "auto" or group.accumulation_steps == 1,
            "auto divides train.global_batch_size by itself; remove train.accumulation_steps",
        ),
        Relation(
            ("batch_size", "drop_worst"),
            lambda group: group.batch_size != "auto" or group.drop_worst == 0,
            "the worst tokens of a batch are known only if it is not divided; give a number, or set train.drop_worst "
            "to 0",
        ),
        Relation(
            ("vision_stages", "freeze"),
            lambda group: group.vision_stages is None or not {"vision", "resnet"} & {*group.freeze},
            "train.freeze names the vision network, of which these stages are a part; remove one of the two",
        ),
    )


class DecodeConfig(Group):
    """How captions are generated."""

    num_beams: int = Field(default=5, ge=1, le=256)
    """Beams; 1 = greedy."""
    max_length: int | None = Field(default=None, ge=1)
    """Most caption tokens before EOS; None = what the model folder says, and where it says nothing what covers 99.5% of
    the training captions."""
    min_length: int = Field(default=1, ge=0)
    """Fewest caption tokens before EOS."""
    no_repeat_ngram_size: int = Field(default=3, ge=0)
    """No n-gram of this length occurs twice; 0 = off."""
    length_penalty: float = 1.0
    """Exponent of the length that a beam's score is divided by."""
    guidance: float = Field(default=1.0, ge=0)
    """Weight of a style against the neutral one: neutral + guidance * (styled - neutral); 1 = off."""
    lm: ConfigPath | None = None
    """Folder of a language model of the styles, in the captioner's vocabulary, that captions of validation and
    evaluation are written with; None = the captioner alone."""
    lm_weight: float = Field(default=0.0, ge=0)
    """Shallow fusion: times the language model's log p(caption | style), added to the captioner's (Gulcehre 2015,
    arXiv:1503.03535); 0 = off."""
    lm_guidance: float = Field(default=0.0, ge=0)
    """Times what the style adds to the language model, log p(caption | style) - log p(caption | neutral), added as well
    (after GeDi, Krause 2020, arXiv:2009.06367); 0 = off."""

    RELATIONS = (
        Relation(
            ("min_length", "max_length"),
            lambda group: group.max_length is None or group.min_length <= group.max_length,
            "must be at most decode.max_length",
        ),
        Relation(
            ("lm", "lm_weight", "lm_guidance"),
            lambda group: (group.lm is not None) == bool(group.lm_weight or group.lm_guidance),
            "goes with decode.lm_weight or decode.lm_guidance above 0; give the folder of a language model and a "
            "weight, or neither",
        ),
    )


class EvalConfig(Group):
    """Evaluation and report."""

    split: Literal["val", "test"] = "val"
    """Rows to evaluate on."""
    batch_size: int = Field(default=16, ge=1)
    """Rows per device and generation."""
    styles: Names | None = None
    """Evaluate these styles only; None = all."""
    metrics: list[MetricName] = Field(default=list(TEXT_METRICS), min_length=1)
    """Caption metrics to compute; SPICE needs Java and takes longest, CLIPScore and RefCLIPScore need eval.clip."""
    meteor: Literal["python", "java"] = "python"
    """What computes METEOR: our own, or the Java program, whose scores are the same."""
    clip: NameOrFolder | None = None
    """A CLIP model of transformers, as a folder or hub id; naming one adds CLIPScore and RefCLIPScore to the metrics,
    unless they name one of the two. None = none."""
    lm: ConfigPath | None = None
    """Folder of a language model of the styles, whose perplexity on the captions is told beside that of n-grams; None =
    none."""
    neighbours: int = Field(default=10_000, ge=0)
    """Most training pictures that each evaluated one's nearest are sought among, whose captions the captioner is to
    beat; their names' hashes draw them. 0 = none."""
    leaderboard: ConfigPath | None = None
    """JSON Lines file that the results of every evaluation are added to, for ``runs leaderboard``; None = none."""
    samples: int = Field(default=8, ge=0)
    """Validation rows captioned at every validation into samples.jsonl."""
    report_images: int = Field(default=24, ge=0)
    """Pictures shown in report.html."""

    @property
    def measured(self) -> list[str]:
        """The caption metrics that are computed."""
        return self.metrics if self.clip is None else with_pictures(self.metrics)


class CheckpointConfig(Group):
    """When to validate and save, and what to keep."""

    every_epochs: float = Field(default=1.0, gt=0)
    """Epochs between validations; each saves a checkpoint."""
    every_minutes: float | None = Field(default=None, gt=0)
    """Save one as well when the last is so old, without a validation; None = with validations only."""
    keep_last: int = Field(default=2, ge=2)
    """Newest checkpoints kept; one could be damaged while it is written over an older one."""
    keep_best: int = Field(default=1, ge=1)
    """Best checkpoints kept beside them."""
    select: Annotated[str, OneOf(["loss", "nll", *TEXT_METRICS], "validation number")] = "loss"
    """Validation number by which the best is chosen, which becomes output/; in self-critical and preference training
    CIDEr, unless set. A caption metric captions the whole validation split every time."""
    on_lost_best: Literal["error", "next"] = "error"
    """What to do at the end if the best checkpoint is gone or damaged: stop, or take the best of what is left."""


OBJECTIVES = {"scst": "self-critical", "preference": "preference"}
"""Groups of what stands in for cross-entropy, and what training on it is called."""


def _not_with(objective: str, group: str, name: str) -> Relation:
    return Relation(
        (f"{group}.{name}", f"{objective}.enabled"),
        lambda config: not getattr(config, objective).enabled or getattr(getattr(config, group), name) == 0,
        f"not used in {OBJECTIVES[objective]} training; set it to 0",
    )


def _starts_from_a_model(objective: str) -> Relation:
    # In place of the general rule, which would ask for a preset as well.
    return Relation(
        ("model.name", "model.preset", f"{objective}.enabled"),
        lambda config: not getattr(config, objective).enabled or config.model.name is not None,
        f"{OBJECTIVES[objective]} training starts from a trained captioner: give --checkpoint RUN/output",
    )


def _not_streamed(key: str, off: object) -> Relation:
    group, name = key.split(".")
    return Relation(
        (key, "data.streaming"),
        lambda config: not config.data.streaming or getattr(getattr(config, group), name) == off,
        f"needs to know all training rows; set it to {json.dumps(off)}, or data.streaming to false",
    )


def _needs_cross_entropy(objective: str, name: str) -> Relation:
    return Relation(
        (f"unlikelihood.{name}", f"{objective}.enabled", f"{objective}.cross_entropy_weight"),
        lambda config: _scores_captions(getattr(config, objective)) or getattr(config.unlikelihood, name) == 0,
        f"unlikelihood is computed on people's captions, which this {OBJECTIVES[objective]} run does not score; "
        f"set {objective}.cross_entropy_weight above 0, or this to 0",
    )


def _several_need_cross_entropy(objective: str) -> Relation:
    return Relation(
        ("train.captions_per_row", f"{objective}.enabled", f"{objective}.cross_entropy_weight"),
        lambda config: _scores_captions(getattr(config, objective)) or config.train.captions_per_row == 1,
        f"this {OBJECTIVES[objective]} run learns from no captions of people; set {objective}.cross_entropy_weight "
        "above 0, or this to 1",
    )


def _scores_captions(objective: ScstConfig | PreferenceConfig) -> bool:
    return not objective.enabled or objective.cross_entropy_weight > 0


_NOT_OF_TEXT: Sequence[tuple[str, object]] = (
    *(("model.kind", None), ("model.vision", None), ("model.overrides", {}), ("style.dropout", 0)),
    *(("scst.enabled", False), ("preference.enabled", False), ("lora.rank", None)),
    *(("masked_lm.weight", 0), ("unlikelihood.leakage", 0), ("data.streaming", False), ("train.freeze", [])),
    *(("train.rdrop", 0), ("train.drop_worst", 0), ("train.captions_per_row", 1), ("train.vision_stages", None)),
    *(("train.vision_lr", None), ("train.group_pictures", False), ("train.group_lengths", False)),
)
"""What a text run has no use for, and how it is switched off."""


def _not_of_text(key: str, off: object) -> Relation:
    group, name = key.split(".")
    return Relation(
        (key, "task"),
        lambda config: config.task != "text" or getattr(getattr(config, group), name) == off,
        f"not used with task text; set it to {json.dumps(off)}",
    )


def _only_of_text(name: str, group: type[Group]) -> Relation:
    return Relation(
        (name, "task"),
        lambda config: getattr(config, name) == group() or config.task == "text",
        "only used with task text; remove it",
    )


class RunConfig(Group):
    """Everything that a run is made from."""

    task: Literal["captions", "text"] = "captions"
    """What is trained: a captioner, or a language model on documents."""
    model: ModelConfig
    data: DataConfig = Field(default_factory=DataConfig)
    style: StyleConfig = Field(default_factory=StyleConfig)
    image: ImageConfig = Field(default_factory=ImageConfig)
    train: TrainConfig = Field(default_factory=TrainConfig)
    lora: LoraConfig = Field(default_factory=LoraConfig)
    masked_lm: MaskedLmConfig = Field(default_factory=MaskedLmConfig)
    unlikelihood: UnlikelihoodConfig = Field(default_factory=UnlikelihoodConfig)
    scst: ScstConfig = Field(default_factory=ScstConfig)
    preference: PreferenceConfig = Field(default_factory=PreferenceConfig)
    decode: DecodeConfig = Field(default_factory=DecodeConfig)
    eval: EvalConfig = Field(default_factory=EvalConfig)
    checkpoint: CheckpointConfig = Field(default_factory=CheckpointConfig)
    documents: DocumentsConfig = Field(default_factory=DocumentsConfig)
    lm: LmConfig = Field(default_factory=LmConfig)
    work_dir: ConfigPath
    """The run folder."""

    RELATIONS = (
        Relation(
            ("data.format", "task"),
            lambda config: bool(config.data.format) or (config.task == "text" and config.documents.format != CAPTIONS),
            f"missing; must be one of {', '.join(FORMATS)}",
        ),
        *(_not_of_text(key, off) for key, off in _NOT_OF_TEXT),
        Relation(
            ("checkpoint.select", "task"),
            lambda config: config.task != "text" or config.checkpoint.select in ("loss", "nll"),
            "a text run has no captions to score; use loss or nll",
        ),
        Relation(
            ("train.epochs", "task"),
            lambda config: config.train.epochs is not None or config.task == "text",
            "only a text run is trained without an end; give a number",
        ),
        Relation(
            ("unlikelihood.sequence", "task"),
            lambda config: config.unlikelihood.sequence == 0 or config.task == "text",
            "only used with task text; set it to 0",
        ),
        *(_only_of_text(name, group) for name, group in (("documents", DocumentsConfig), ("lm", LmConfig))),
        Relation(
            ("documents.tokenizer", "model.name"),
            lambda config: config.documents.tokenizer is None or config.model.name is None,
            "the model to start from has a tokenizer; remove it, or use model.preset",
        ),
        *(_starts_from_a_model(objective) for objective in OBJECTIVES),
        Relation(
            ("model.name", "model.preset", "scst.enabled", "preference.enabled"),
            lambda config: (
                (config.model.name is None) != (config.model.preset is None)
                or (config.model.name is None and (config.scst.enabled or config.preference.enabled))
            ),
            "give exactly one of model.name (folder or hub id) and model.preset (new model); set the other to null",
        ),
        Relation(
            ("preference.enabled", "scst.enabled"),
            lambda config: not (config.preference.enabled and config.scst.enabled),
            "a run learns from pairs or from rewards, not both; set one of the two to false (--cider is the second)",
        ),
        Relation(
            ("train.captions_per_row", "preference.enabled", "preference.pairs"),
            lambda config: (
                not config.preference.enabled or config.preference.pairs is None or config.train.captions_per_row == 1
            ),
            "a pair of preference.pairs has one chosen caption; set it to 1",
        ),
        Relation(
            ("train.steps", "data.streaming"),
            lambda config: (config.train.steps is not None) == config.data.streaming,
            "train.steps and data.streaming go together: a stream has no length of its own",
        ),
        *(
            _not_streamed(key, off)
            for key, off in (
                *(("scst.enabled", False), ("preference.enabled", False)),
                *(("masked_lm.weight", 0), ("masked_lm.weight_end", None)),
                *(("train.group_pictures", False), ("train.group_lengths", False), ("train.global_batch_size", None)),
                *(("unlikelihood.leakage", 0), ("image.feature_views", 1)),
            )
        ),
        Relation(
            ("train.captions_per_row", "data.streaming"),
            lambda config: not config.data.streaming or config.train.captions_per_row == 1,
            "rows that are streamed give one caption at a time; set it to 1, or data.streaming to false",
        ),
        *(
            # The references of a row are in its own style: a caption drawn for the neutral one has none.
            _not_with(objective, group, name)
            for objective in OBJECTIVES
            for group, name in (("train", "rdrop"), ("train", "drop_worst"), ("style", "dropout"))
        ),
        Relation(
            ("model.vision_weights", "train.vision_stages"),
            lambda config: config.model.vision_weights == "kept" or config.train.vision_stages is None,
            "weights that are trained must be kept; set it to kept, or remove train.vision_stages",
        ),
        Relation(
            ("lora.rank", "model.preset"),
            lambda config: config.lora.rank is None or config.model.preset is None,
            "adapters stand beside weights that were trained, and a new model's are random; remove it, or use "
            "model.name",
        ),
        Relation(
            ("lora.quantize", "preference.enabled", "scst.kl_weight"),
            lambda config: (
                config.lora.quantize is None
                or not (config.preference.enabled or (config.scst.enabled and config.scst.kl_weight))
            ),
            "not with pairs or scst.kl_weight, which compare with a copy of the model; remove one of the two",
        ),
        Relation(
            ("lora.rank", "train.vision_stages"),
            lambda config: config.lora.rank is None or config.train.vision_stages is None,
            "adapters are trained and no stage of the vision network; remove one of the two, or name layers of it in "
            "lora.targets",
        ),
        Relation(
            ("train.group_pictures", "image.random_crop"),
            lambda config: not (config.train.group_pictures and config.image.random_crop),
            "every row has a crop of its own, so rows of a picture have nothing to share; set one of the two to false",
        ),
        *(_several_need_cross_entropy(objective) for objective in OBJECTIVES),
        *(_needs_cross_entropy(objective, name) for objective in OBJECTIVES for name in ("repetition", "leakage")),
    )

    @property
    def measured(self) -> Collection[str]:
        """Names of the numbers that an evaluation gives for all rows together."""
        return DOCUMENT_METRICS if self.task == "text" else self.eval.measured

    @property
    def draws(self) -> bool:
        """Whether it learns from captions that the model draws itself, which are rewarded by ``scst.rewards``."""
        return self.scst.enabled or self.preference.draws

    @property
    def plugins(self) -> list[str]:
        """Names of a user's own code, for :func:`utils.plugins.load_plugin`."""
        named = (self.model.kind or "", self.data.format, self.documents.format, *self.scst.rewards)
        return [name for name in named if is_plugin(name)]

    def to_json_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers; ``load_config`` reads them back to an equal configuration."""
        return self.model_dump(mode="json")
