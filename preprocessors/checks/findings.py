"""What a check finds: cases of one kind, and for every kind what it is called, how bad it is and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

MAX_CASES = 12
"""Cases of a finding that are named one by one; all are counted."""
MAX_VALUE = 200
"""Characters of a value that are shown."""

Severity = Literal["error", "warning", "note"]
"""``error``: training stops at it. ``warning``: results differ by it. ``note``: worth a look."""


class Kind(NamedTuple):
    """A kind of fault."""

    severity: Severity
    title: str
    """What the cases are."""
    remedy: str


KINDS: Mapping[str, Kind] = {
    # Rows
    "unreadable_split": Kind("error", "splits that cannot be read", "Do what the message says."),
    "bad_row": Kind("error", "rows that cannot be read", "Correct or remove them."),
    "dropped_row": Kind("note", "rows that the reader leaves out", "Nothing, if so few may go; else correct them."),
    "not_utf8": Kind(
        "warning", "lines that are not UTF-8", "Save the file as UTF-8, from the encoding it was written in."
    ),
    # Pictures
    "missing_picture": Kind(
        "error",
        "pictures that are not there",
        "Copy them, or set data.images, data.image_suffix or data.on_bad_image=skip.",
    ),
    "name_of_another_form": Kind(
        "error",
        "picture names that differ from the files' in Unicode form, case or backslashes alone",
        "Write them as the files are named, or rename the files.",
    ),
    "truncated_picture": Kind(
        "error", "pictures that are cut short", "Copy them again, or set data.on_bad_image=skip."
    ),
    "undecodable_picture": Kind(
        "error", "files that are no readable pictures", "Replace them, or set data.on_bad_image=skip."
    ),
    "half_grey_picture": Kind(
        "warning",
        "pictures of which a part is gone: grey at the bottom, or zeros in the file",
        "Copy them again: the model would learn to caption grey.",
    ),
    "sideways_picture": Kind(
        "note",
        "pictures that stand upright by their EXIF tag alone",
        "Turn the files themselves where other programs read them without the tag.",
    ),
    "duplicate_picture": Kind(
        "warning", "copies of another picture of their split", "Keep one; its captions belong together."
    ),
    "near_duplicate_picture": Kind(
        "note",
        "pictures that look like another of their split",
        "Look at them; keep one where they are the same photo.",
    ),
    "picture_in_two_splits": Kind(
        "warning",
        "pictures in two splits",
        "Take them out of one: scores on pictures that were trained on say nothing about others.",
    ),
    "near_duplicate_in_two_splits": Kind(
        "warning",
        "pictures that look like one of another split",
        "Take those that are the same photo out of one split.",
    ),
    "similar_picture_names": Kind(
        "note",
        "picture names that differ from another in Unicode form, case or backslashes alone",
        "Use one spelling: on other systems both are the same file.",
    ),
    # Captions
    "placeholder_caption": Kind(
        "warning", "captions that are placeholders", "Remove them; nobody said them of a picture."
    ),
    "marks_only_caption": Kind("warning", "captions without a word", "Remove them; nothing is left to train on."),
    "list_as_text": Kind(
        "warning", "captions that are lists written as text", "Write the captions apart, as a JSON list."
    ),
    "end_token": Kind(
        "warning", "captions with special tokens of a tokenizer", "Remove the tokens; they would be learnt as words."
    ),
    "markup": Kind("warning", "captions with HTML tags or entities", "Replace them by the text they stand for."),
    "mojibake": Kind(
        "warning", "captions in UTF-8 that were read as Windows-1252", "Decode the source as UTF-8 again."
    ),
    "replacement_character": Kind(
        "warning", "captions with U+FFFD, where a byte was lost", "Read the source again, in its own encoding."
    ),
    "repeated_caption": Kind("warning", "captions that stand twice with one picture and style", "Keep one."),
    "same_caption_in_two_styles": Kind(
        "warning", "captions that stand with one picture in two styles", "Keep each in the style it is in."
    ),
    "duplicate_caption": Kind(
        "note",
        "captions that stand with other pictures of their style and split too",
        "Look whether rows have slipped.",
    ),
    "caption_in_two_splits": Kind(
        "note",
        "captions of val or test that are training captions of their style",
        "Look whether rows were shared out.",
    ),
    "no_spaces_between_words": Kind(
        "warning",
        "captions in a script without spaces between words",
        "Metrics by words are near 0 for them: score by characters or with a segmenter.",
    ),
    "longer_than_decoded": Kind(
        "warning",
        "training captions with more tokens than a caption may get",
        "Raise decode.max_length, or captions end in the middle.",
    ),
    "longer_than_positions": Kind(
        "warning",
        "training captions with more tokens than the model has places for",
        "Shorten them: training cuts them.",
    ),
    "punctuation_cost": Kind(
        "warning",
        "ways of scoring by which people's captions lose CIDEr to the rule that takes out punctuation",
        "Keep punctuation if the metric is to reward it, or say so beside the scores.",
    ),
    # Styles
    "near_miss_style": Kind(
        "warning",
        "styles that look like a misspelling of another",
        "Write both the same way; each is a style of its own.",
    ),
    "unknown_style": Kind("error", "styles of val or test that are not trained", "Correct the name, or train it."),
    "unusable_model": Kind("error", "models that cannot be used with this data", "Do what the message says."),
}
"""In the order in which they are told."""


class Case(NamedTuple):
    """One place at fault."""

    where: str
    """File and row."""
    value: str
    """What stands there."""
    pictures: tuple[Path, ...] = ()
    """To be shown beside it."""


@dataclass(frozen=True)
class Finding:
    """All cases of one kind."""

    kind: str
    count: int
    cases: tuple[Case, ...]
    """The first ``MAX_CASES``."""

    @property
    def severity(self) -> Severity:
        """How bad it is."""
        return KINDS[self.kind].severity

    @property
    def line(self) -> str:
        """In one line, with the first case."""
        first = self.cases[0]
        return f"{KINDS[self.kind].title}: {self.count:,}, e.g. {first.where}: {shorten(first.value)}"

    def describe(self) -> dict[str, Any]:
        """As JSON."""
        about = KINDS[self.kind]
        return {
            "kind": self.kind,
            "severity": about.severity,
            "count": self.count,
            "title": about.title,
            "remedy": about.remedy,
            "examples": [
                {"where": case.where, "value": shorten(case.value), "pictures": [str(path) for path in case.pictures]}
                for case in self.cases
            ],
        }


class Findings:
    """Gathers cases."""

    def __init__(self) -> None:
        self._found: dict[str, Finding] = {}

    def add(self, kind: str, cases: Iterable[Case]) -> None:
        """Add cases of a kind of ``KINDS``; none is no finding."""
        assert kind in KINDS
        given = iter(cases)
        before = self._found.get(kind, Finding(kind, 0, ()))
        shown = (*before.cases, *islice(given, MAX_CASES - len(before.cases)))
        count = before.count + len(shown) - len(before.cases) + sum(1 for _ in given)
        if count:
            self._found[kind] = Finding(kind, count, shown)

    def sorted(self) -> list[Finding]:
        """In the order of ``KINDS``."""
        return [self._found[kind] for kind in KINDS if kind in self._found]


def shorten(text: str) -> str:
    """The text in one line, cut where it is long."""
    line = " ".join(text.split())
    return line if len(line) <= MAX_VALUE else f"{line[:MAX_VALUE]}…"
