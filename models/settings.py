"""How a captioner is to be used: what its folder says beside weights and vocabulary."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preprocessors.pictures.images import MEAN_STD, Normalisation, Resizer
from preprocessors.text.captions import Punctuation
from utils.small_json import check_against, read_small_json

FILE_NAME = "configuration.json"
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
"""Where a model folder may hold its weights; of several the first is opened."""


@dataclass(frozen=True)
class Decoding:
    """How captions are generated; recorded beside them.

    Attributes:
        num_beams: 1 is greedy.
        max_length: Most caption tokens before EOS.
        min_length: Fewest caption tokens before EOS.
        no_repeat_ngram_size: No n-gram of this length occurs twice; 0 is off.
        length_penalty: Exponent of the length that a beam's score is divided by.
        guidance: Weight of a style against the neutral one: log-probabilities are those of the neutral prompt and so
            many times what the styled one adds to them; 1 is off.
    """

    num_beams: int = 5
    max_length: int = 16
    min_length: int = 1
    no_repeat_ngram_size: int = 3
    length_penalty: float = 1.0
    guidance: float = 1.0


@dataclass(frozen=True)
class CaptionerSettings:
    """The ``model`` section of ``configuration.json``, in our words.

    ModelScope reads the sizes, the neutral prompt and the beam search there; the rest is ours.

    Attributes:
        image_size: Height and width that the model sees, pixels.
        max_image_size: Height and width before a random crop in training, pixels.
        mean_std: Normalisation of pixels.
        prompt: Text beside the picture; ``{}`` is the style.
        neutral_prompt: The same with the neutral style in it.
        trained_styles: Those that the model has learnt, as its registry writes them.
        decoding: How it captions unless told otherwise.
        punctuation: Rule for the captions that it was trained on; OFA's in published models and in older folders.
        resizer: What resizes pictures, see :data:`preprocessors.pictures.images.Resizer`.
    """

    image_size: int
    max_image_size: int
    mean_std: Normalisation
    prompt: str
    neutral_prompt: str
    trained_styles: tuple[str, ...]
    decoding: Decoding
    punctuation: Punctuation = "strip"
    resizer: Resizer = "pillow"

    def to_model_section(self) -> dict[str, Any]:
        """The settings under the names that stand in the file."""
        is_imagenet, is_known = self.mean_std == MEAN_STD["imagenet"], self.mean_std in MEAN_STD.values()
        return {
            "patch_image_size": self.image_size,
            "max_image_size": self.max_image_size,
            "imagenet_default_mean_and_std": is_imagenet,
            **({} if is_known else {"mean_std": [list(part) for part in self.mean_std]}),
            "prompt": self.neutral_prompt,
            "style_prompt": self.prompt,
            "trained_styles": list(self.trained_styles),
            "beam_search": {
                "beam_size": self.decoding.num_beams,
                "max_len_b": self.decoding.max_length,
                "min_len": self.decoding.min_length,
                "no_repeat_ngram_size": self.decoding.no_repeat_ngram_size,
            },
            "length_penalty": self.decoding.length_penalty,
            "guidance": self.decoding.guidance,
            "punctuation": self.punctuation,
            **({} if self.resizer == "pillow" else {"resizer": self.resizer}),
        }

    def differences(self, wanted: CaptionerSettings, model: str) -> list[str]:
        """In what a model, which was trained with these settings, is asked for otherwise; a sentence each."""
        compared = [
            ("image.size", wanted.image_size, self.image_size),
            ("style.prompt", wanted.prompt, self.prompt),
            ("image.mean_std", _name_of(wanted.mean_std), _name_of(self.mean_std)),
            ("image.resizer", wanted.resizer, self.resizer),
            ("data.punctuation", wanted.punctuation, self.punctuation),
        ]
        return [
            f"{name}: {asked!r} is asked for, but {model} was trained with {trained!r}"
            for name, asked, trained in compared
            if asked != trained
        ]


def _name_of(mean_std: Normalisation) -> str:
    return next((name for name, known in MEAN_STD.items() if known == mean_std), str(tuple(mean_std)))


def _read_mean_std(section: dict[str, Any]) -> Normalisation:
    if "mean_std" not in section:
        return MEAN_STD["imagenet" if section["imagenet_default_mean_and_std"] else "half"]
    mean, std = section["mean_std"]
    return Normalisation(tuple(mean), tuple(std))


def read_settings(folder: Path) -> CaptionerSettings | None:
    """The settings of a folder of ours; None for others', which may name sizes but not how a style enters the prompt.

    Raises:
        ValueError: If ``configuration.json`` is damaged, or an entry has another type or is out of bounds.
    """
    path = folder / FILE_NAME
    description = read_small_json(path) if path.is_file() else {}
    section = description.get("model")
    if not isinstance(section, dict) or "style_prompt" not in section:
        return None
    from models.bounds import SETTINGS  # here, since tables that load nothing heavy lead to this file

    section = check_against(SETTINGS, section, path, "model")
    section = {"max_image_size": section["patch_image_size"], "prompt": section["style_prompt"]} | section
    beam = section["beam_search"]
    return CaptionerSettings(
        image_size=section["patch_image_size"],
        max_image_size=section["max_image_size"],
        mean_std=_read_mean_std(section),
        prompt=section["style_prompt"],
        neutral_prompt=section["prompt"],
        trained_styles=tuple(section["trained_styles"]),
        decoding=Decoding(
            num_beams=beam["beam_size"],
            max_length=beam["max_len_b"],
            min_length=beam["min_len"],
            no_repeat_ngram_size=beam["no_repeat_ngram_size"],
            length_penalty=section["length_penalty"],
            guidance=section.get("guidance", 1.0),
        ),
        punctuation=section.get("punctuation", "strip"),
        resizer=section.get("resizer", "pillow"),
    )
