"""Captions of pictures as documents: text in a style, without the pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence

from preprocessors.documents.interface import Document
from preprocessors.documents.reading import REMEDY, BadDocument, Position, Read
from preprocessors.examples import CaptionExample, texts_of
from preprocessors.text.captions import Punctuation, clean_caption
from preprocessors.text.style_names import fold_name


class CaptionDocuments:
    """Every caption is a document, as a captioner is trained on it; its style is what is told about it.

    Args:
        examples: Of a split.
        punctuation: Rule for the captions.
        neutral: The style that says nothing.
        links: Whether the captions of a picture in a style link to its captions in the neutral style: what is said of a
            picture in a style is read behind what is plainly seen.

    Raises:
        ValueError: If there are to be links, and there is no caption in the neutral style.
    """

    def __init__(
        self, examples: Sequence[CaptionExample], *, punctuation: Punctuation, neutral: str, links: bool = False
    ) -> None:
        self.examples, self.punctuation, self.links = examples, punctuation, links
        self._neutral = fold_name(neutral)
        self.num_bytes = sum(len(caption) for _, _, captions in texts_of(examples) for caption in captions)
        self._plain = self._titles_of_plain_captions() if links else {}
        if links and not self._plain:
            raise ValueError(
                f"documents.links: styled captions link to plain ones, and no caption is in the style {neutral!r}. "
                "Name the style of the plain ones with style.neutral, or set documents.links to false."
            )

    def fingerprint(self) -> str:
        """See :class:`DocumentSource`; of the captions themselves."""
        digest = hashlib.sha256(f"captions {self.punctuation}".encode())
        for example_id, style, captions in texts_of(self.examples):
            digest.update("\x1f".join((example_id, style, *captions, "\x1e")).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    def read(self, position: Position = ()) -> Iterator[Read]:
        """See :class:`DocumentSource`; a place is the number of captions before it."""
        (begin,) = position or (0,)
        number = size = 0
        for example_id, style, captions in texts_of(self.examples):
            links = self._links_of(example_id, style)
            for place, caption in enumerate(captions):
                number, size = number + 1, size + len(caption)
                if number > begin:
                    yield Read(self._document(caption, style, links, f"{example_id}#{place}"), (number,), size)

    def _document(self, caption: str, style: str, links: Iterable[str], title: str) -> Document | BadDocument:
        body = clean_caption(caption, punctuation=self.punctuation)
        if not body:
            return BadDocument("blank body", f"{title}: the caption {caption!r} has no words. {REMEDY}")
        return Document(body, (style,), tuple(links), title if self.links else None, title)

    def _titles_of_plain_captions(self) -> dict[str, list[str]]:
        titles: dict[str, list[str]] = {}
        for example_id, style, captions in texts_of(self.examples):
            if fold_name(style) == self._neutral:
                picture = example_id.removesuffix(f"#{style}")
                titles.setdefault(picture, []).extend(f"{example_id}#{place}" for place in range(len(captions)))
        return titles

    def _links_of(self, example_id: str, style: str) -> list[str]:
        if not self.links or fold_name(style) == self._neutral:
            return []
        return self._plain.get(example_id.removesuffix(f"#{style}"), [])
