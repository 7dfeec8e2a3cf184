"""Lines of text: a caption each, behind its picture and style where that could be in doubt."""

from __future__ import annotations

from captioning.outputs.target import Lines, Target, one_line
from captioning.wanted import Answer, WantedPicture


class TextOutput:
    """Captions line by line, tabs between; pictures that could not be captioned have none."""

    def __init__(self, target: Target) -> None:
        self._target, self._lines = target, Lines(target)

    def has(self, picture: WantedPicture, style: str) -> bool:
        """Never: it begins anew."""
        return False

    def add(self, answer: Answer) -> None:
        """Write its captions."""
        for style in answer.picture.styles() if not answer.error else ():
            labels = [one_line(answer.picture.name)] * self._target.names_pictures + [style] * self._target.names_styles
            self._lines.write(
                "".join("\t".join([*labels, one_line(caption.text)]) + "\n" for caption in answer.captions[style])
            )

    def close(self) -> None:
        """Close the file."""
        self._lines.close()
