"""What goes in and out, as JSON or as the fields of a form."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

MOST_BEAMS = 16
LONGEST_TEXT = 500
"""Characters of a prefix, or of a text that is to be continued."""
LONGEST_NAME = 200
"""Characters of a style's or a model's name."""
IMAGE = "The picture's bytes in base64, or a data URL. Paths and other URLs are never opened."

Name = Annotated[str, Field(max_length=LONGEST_NAME)]
Number = Annotated[float, Field(allow_inf_nan=False)]


class Schema(BaseModel):
    """Unknown names are refused: one that is misspelt would change nothing in silence."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class WritingFields(Schema):
    """How captions are written; what is not given is as the model folder says."""

    num: int = Field(1, ge=1, le=MOST_BEAMS, description="Captions of each style; at most num_beams with beam.")
    sampling: Literal["beam", "multinomial"] = Field("beam", description="The likeliest captions, or drawn ones.")
    num_beams: int | None = Field(None, ge=1, le=MOST_BEAMS, description="Width of the search; 1 is greedy.")
    max_length: int | None = Field(None, ge=1, le=1000, description="Most tokens of a caption.")
    min_length: int | None = Field(None, ge=0, le=1000, description="Fewest tokens of a caption.")
    no_repeat_ngram_size: int | None = Field(None, ge=0, le=1000, description="No n-gram of this length occurs twice.")
    length_penalty: Number | None = Field(None, ge=-10, le=10, description="Exponent of the length; above 0: longer.")
    guidance: Number | None = Field(None, ge=0, le=20, description="Weight of the style against the neutral one.")
    lm_weight: Number | None = Field(
        None, ge=0, le=20, description="Weight of the language model beside the captioner, where the service has one."
    )
    lm_guidance: Number | None = Field(None, ge=0, le=20, description="Weight of what the style adds to that model.")
    temperature: Number = Field(1.0, ge=0.01, le=100, description="Of multinomial sampling.")
    top_p: Number = Field(1.0, gt=0, le=1, description="Sample from the likeliest tokens of this probability.")
    seed: int = Field(0, ge=0, lt=2**63, description="Equal seeds draw equal captions.")
    prefix: str = Field("", max_length=LONGEST_TEXT, description="Every caption starts with it.")


class CaptionRequest(WritingFields):
    """A picture to be captioned."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"image": "iVBORw0KGgo...", "styles": ["romantic", "pirate"], "num": 2}]}
    )

    image: str = Field(min_length=1, description=IMAGE)
    style: Name | None = Field(None, description="One style, alias, or combination; the neutral one if none is given.")
    styles: Annotated[list[Name], Field(min_length=1, max_length=1000)] | Literal["all"] | None = Field(
        None, description="Several styles, or all that the model has learnt."
    )
    model: Name | None = Field(None, description="Name of a model; the first one if not given.")

    @model_validator(mode="after")
    def _one_way_of_styles(self) -> Self:
        if self.style is not None and self.styles is not None:
            raise ValueError("give either style or styles")
        return self

    def asked_styles(self) -> list[str | None] | Literal["all"]:
        """The styles asked for; None is the neutral one."""
        return [self.style] if self.styles is None else "all" if self.styles == "all" else [*self.styles]


class CaptionForm(WritingFields):
    """The same as a form: the picture's file in the field ``image``; ``style`` may repeat."""

    image: bytes = Field(min_length=1, description="The picture's file.", json_schema_extra={"format": "binary"})
    style: list[Name] = Field(default_factory=list, max_length=1000, description="Styles; the neutral one if none.")
    styles: list[Name] = Field(default_factory=list, max_length=1000, description="The same, or `all`.")
    model: Name | None = Field(None, description="Name of a model; the first one if not given.")

    def asked_styles(self) -> list[str | None] | Literal["all"]:
        """The styles asked for; None is the neutral one."""
        both = [*self.style, *self.styles]
        return "all" if both == ["all"] else [*both] or [None]


class CompletionRequest(Schema):
    """A caption that somebody is writing."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"text": "the cat", "style": "romantic", "image": "iVBORw0KGgo..."}]}
    )

    text: str = Field(max_length=LONGEST_TEXT, description="What is written already; the last word may be half.")
    style: Name | None = Field(None, description="Style of the caption; the neutral one if not given.")
    image: str | None = Field(None, min_length=1, description=IMAGE)
    model: Name | None = Field(None, description="Name of a model; the first one if not given.")
    num: int = Field(5, ge=1, le=MOST_BEAMS, description="Continuations, at most.")


class Answer(BaseModel):
    """What we say is ours to check."""

    model_config = ConfigDict(frozen=True)


class CaptionText(Answer):
    """One caption."""

    text: str
    log_prob: float | None = Field(description="Natural log of its probability, the end included.")
    cut: bool = Field(description="Cut at the limit of its length.")


class StyleCaptions(Answer):
    """Captions in one style, likeliest first."""

    style: str
    captions: list[CaptionText]


class PictureSize(Answer):
    """Pixels, as the picture is seen."""

    width: int
    height: int


class CaptionAnswer(Answer):
    """Captions in every style that was asked for, in that order."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "demo",
                    "captions": [
                        {"style": "romantic", "captions": [{"text": "a red ball", "log_prob": -3.2, "cut": False}]}
                    ],
                    "picture": {"width": 640, "height": 480},
                    "seconds": 0.121,
                }
            ]
        }
    )

    model: str
    captions: list[StyleCaptions]
    picture: PictureSize
    seconds: float = Field(description="From the request's arrival to this answer.")


class CompletionAnswer(Answer):
    """What may follow the text, to be appended to it, likeliest first."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"result": [" sleeps on a mat", " sleeps"]}]})

    result: list[str]


class ModelInfo(Answer):
    """A model and how it captions unless told otherwise."""

    name: str
    styles: list[str]
    neutral: str
    image_size: int = Field(description="Pixels a side that the model sees.")
    parameters: int
    decoding: dict[str, Any]


class ModelsAnswer(Answer):
    """The models, and the one that answers if none is named."""

    models: list[ModelInfo]
    default: str


class StyleInfo(Answer):
    """A style and its other names."""

    name: str
    aliases: list[str]


class StylesAnswer(Answer):
    """The styles that a model has learnt."""

    model: str
    neutral: str
    styles: list[StyleInfo]


class Health(Answer):
    """Whether the service lives, or can take requests."""

    status: Literal["ok", "draining"]


class Fault(Answer):
    """What went wrong: a code for programs, a sentence for people."""

    code: str
    message: str


class ErrorAnswer(Answer):
    """Every answer that is not a success."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"error": {"code": "unknown_style", "message": "unknown style 'pirat'; ..."}}]}
    )

    error: Fault
