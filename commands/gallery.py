"""The page of ``caption --format html``: captions as they come from the model, told to the report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from captioning.model import CaptionModel
from captioning.wanted import Answer
from captioning.writing import Writing
from reports.gallery import CaptionedPicture, StyledCaptions, write_gallery


def page_writer(model: CaptionModel, writing: Writing) -> Callable[[Path, Sequence[Answer]], None]:
    """What writes the page of a model's captions."""

    def write(path: Path, answers: Sequence[Answer]) -> None:
        pictures = [
            CaptionedPicture(answer.picture.name, answer.picture.path, _rows(answer), answer.error)
            for answer in answers
        ]
        write_gallery(path, pictures, title=model.name, how=described(model, writing))

    return write


def described(model: CaptionModel, writing: Writing) -> str:
    """How captions are written, in a sentence."""
    rules = writing.rules(model.decoding)
    if writing.sampling == "beam":
        how = f"Beam search with {rules.num_beams} beams" if rules.num_beams > 1 else "The likeliest word each time"
    else:
        how = f"Drawn at temperature {writing.temperature:g}, seed {writing.seed}"
    guided = f", guidance {rules.guidance:g}" if rules.guidance != 1.0 else ""
    weights = "".join(f", {name} {weight:g}" for name, weight in model.lm_weights(writing).items() if weight)
    begun = f", going on from “{writing.prefix.strip()}”" if writing.prefix.strip() else ""
    return f"{how}{guided}{weights}{begun}."


def _rows(answer: Answer) -> list[StyledCaptions]:
    rows = []
    for style in answer.picture.styles() if not answer.error else ():
        given = [request.about.get("reference") for request in answer.picture.requests if request.style == style]
        references = [text for one in given for text in (one if isinstance(one, list) else [one]) if text]
        captions = [caption.text for caption in answer.captions[style]]
        rows.append(StyledCaptions(style, captions, [*map(str, references)]))
    return rows
