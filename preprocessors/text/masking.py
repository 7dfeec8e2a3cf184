"""The masked-LM task: a caption with whole words masked, to be completed without a picture."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from preprocessors.text.captions import Punctuation, TextTokenizer, clean_caption, encode_words
from preprocessors.text.corpora import StyledText
from preprocessors.text.styles import StyleRegistry
from preprocessors.text.words import compared_word, split_words

MASKED_PROMPT = ' what is the complete text of " {caption} "? write a {style} reply.'
BLANKS_PROMPT = ' fill in every ____ of " {caption} " and write all of it as a {style} reply.'
"""For language models, whose vocabulary has nothing for what is masked: it is told in words what to do."""
BLANK = " ____"
"""Stands for a word there."""


def masked_prompt(caption: str, style_token: str) -> str:
    """The source as text; ``caption`` with a space before each of its words, "" for the prompt alone."""
    return MASKED_PROMPT.replace(" {caption}", caption).replace("{style}", style_token)


class MaskTokenizer(TextTokenizer, Protocol):
    """A tokenizer that may have an entry for what is masked."""

    mask_token_id: int | None
    """None of a language model's: then a blank is written as text, see :data:`BLANK`."""


class _Frame(NamedTuple):
    """Ids of the prompt around the caption and the style; those of the style begin with its leading space."""

    before_caption: list[int]
    before_style: list[int]
    style: list[int]
    after_style: list[int]

    @property
    def length(self) -> int:
        return sum(map(len, self))


class CaptionMasker:
    """Makes sources of OFA's text infilling, aware of the style; for a tokenizer without a mask, the same in words.

    A word is what stands between white space in the cleaned caption, or a character of a script without spaces; all its
    sub-words become one mask, or one blank. At least one word is masked. The target is the whole caption, see
    :meth:`preprocessors.interface.CaptionPreprocessor.target_ids`.

    Args:
        tokenizer: Tokenizer of the model.
        registry: Styles of the model.
        typical_words: Lower-cased words that are typical of a style, by its name or alias.
        mask_rate: Probability of masking a word, in (0, 1).
        style_word_rate: The same for words typical of the style, in [0, 1].
        mask_style_rate: Probability, in [0, 1], that one mask stands for the style in the prompt.
        max_source_length: Most ids of a source between BOS and EOS; words at the end of a longer caption are left out.
        punctuation: Rule for the captions.

    Raises:
        ValueError: If ``typical_words`` names an unknown style, or the prompt of a style leaves no room for a caption.

    Source:
        Wang et al. 2022, arXiv:2202.03052 (OFA). The style in the prompt, the rates by word and the prompt with blanks
        are ours.
    """

    def __init__(
        self,
        tokenizer: MaskTokenizer,
        registry: StyleRegistry,
        typical_words: Mapping[str, Iterable[str]],
        *,
        mask_rate: float,
        style_word_rate: float,
        mask_style_rate: float,
        max_source_length: int,
        punctuation: Punctuation = "strip",
    ) -> None:
        self.tokenizer = tokenizer
        self.registry = registry
        self.typical_words = {registry.resolve(style): frozenset(words) for style, words in typical_words.items()}
        self.mask_rate = mask_rate
        self.style_word_rate = style_word_rate
        self.mask_style_rate = mask_style_rate
        self.max_source_length = max_source_length
        self.punctuation: Punctuation = punctuation
        mask = tokenizer.mask_token_id
        self._masked = tokenizer.encode_text(BLANK) if mask is None else [mask]
        self._prompt = BLANKS_PROMPT if mask is None else MASKED_PROMPT
        self._frames = {name: self._make_frame(name) for name in registry.names}

    def mask(self, caption: str, style: str, generator: random.Random) -> list[int]:
        """Source ids: BOS, the prompt with the masked caption and the style, EOS.

        Args:
            caption: Human caption; one without words gives a prompt around nothing.
            style: Name or alias of its style.
            generator: What the masks are drawn from.

        Raises:
            ValueError: If the style is unknown.
        """
        name = self.registry.resolve(style)
        frame, masked = self._frames[name], self._masked
        style_ids = masked if generator.random() < self.mask_style_rate else frame.style
        words = self._words_that_fit(caption, self.max_source_length - self._most_around(frame))
        chosen = self._choose_words([word for word, _ in words], self.typical_words.get(name, frozenset()), generator)
        source = [self.tokenizer.bos_token_id, *frame.before_caption]
        for number, (_, word_ids) in enumerate(words):
            source += masked if number in chosen else word_ids
        return [*source, *frame.before_style, *style_ids, *frame.after_style, self.tokenizer.eos_token_id]

    def _most_around(self, frame: _Frame) -> int:
        """Tokens around a caption; a blank can be longer than the style that it stands for."""
        longer = max(0, len(self._masked) - len(frame.style))
        return frame.length + (longer if self.mask_style_rate else 0)

    def _choose_words(self, words: Sequence[str], typical: frozenset[str], generator: random.Random) -> set[int]:
        compared = (compared_word(word, self.punctuation) for word in words)
        rates = [self.style_word_rate if word in typical else self.mask_rate for word in compared]
        chosen = {number for number, rate in enumerate(rates) if generator.random() < rate}
        if words and not chosen:
            chosen = {generator.randrange(len(words))}
        return chosen

    def _words_that_fit(self, caption: str, room: int) -> list[tuple[str, list[int]]]:
        words: list[tuple[str, list[int]]] = []
        for word in split_words(clean_caption(caption, punctuation=self.punctuation)):
            word_ids = encode_words(self.tokenizer, word)
            room -= max(len(word_ids), len(self._masked))  # a blank can be longer than a word
            if words and room < 0:
                break
            words.append((word, word_ids))  # a first word that is too long fits as well: alone, it is always masked
        return words

    def _make_frame(self, style: str) -> _Frame:
        # Piece by piece, because a mask stands for a word and its leading space: in a text, " <mask>" would be encoded
        # as a space of its own and the mask. A space begins a new piece anyway, so nothing else changes.
        before_caption, rest = self._prompt.split(" {caption}")
        before_style, after_style = rest.split(" {style}")
        pieces = (before_caption, before_style, f" {self.registry.token_of(style)}", after_style)
        frame = _Frame(*(self.tokenizer.encode_text(piece) for piece in pieces))
        if (most := self._most_around(frame)) + len(self._masked) > self.max_source_length:
            raise ValueError(
                f"masked_lm: its prompt for style {style!r} takes {most} tokens and a source has "
                f"{self.max_source_length}, so there is no room for a caption. Shorten the style's name, use "
                f"style.inject=token, or a model with more positions."
            )
        return frame


class MaskedSource:
    """Chooses what the masked-LM task reads: the captions of the data set and, if there is one, a text-only corpus.

    Args:
        masker: Masks the chosen text.
        corpus: Texts without pictures.

    Raises:
        ValueError: If a text has an unknown style; names its file and line.
    """

    def __init__(self, masker: CaptionMasker, corpus: Sequence[StyledText] = ()) -> None:
        self.masker = masker
        self.corpus = [(text.body, masker.registry.resolve(text.style, where=text.where)) for text in corpus]

    def draw(self, caption: str, style: str, num_rows: int, generator: random.Random) -> tuple[str, list[int]]:
        """The text for one row of the data set, and its masked source.

        Every corpus text is drawn as often as every row: with M texts and ``num_rows`` N, a text of the corpus comes
        with probability M / (M + N), each with the same.

        Args:
            caption: The row's own caption.
            style: Its style.
            num_rows: Rows of the data set.
            generator: What the text and its masks are drawn from.

        Returns:
            The whole text, which is the target, and the source ids.
        """
        number = generator.randrange(len(self.corpus) + num_rows)
        text, style = self.corpus[number] if number < len(self.corpus) else (caption, style)
        return text, self.masker.mask(text, style, generator)
