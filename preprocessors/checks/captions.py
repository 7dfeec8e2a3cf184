"""Faults of single captions, and captions that stand where they should not."""

from __future__ import annotations

import ast
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from preprocessors.checks.findings import Case, Findings
from preprocessors.examples import CaptionExample
from preprocessors.text.captions import clean_caption
from preprocessors.text.style_names import fold_name

PLACEHOLDER = re.compile(
    r"\[[A-Z][A-Z0-9 _-]*\]|"
    r"\[?(?i:n/a|nan|null|none|timeout|time out|todo|tbd|undefined|no caption|placeholder)\]?"
)
"""Whole captions that annotation tools and tables leave where nobody wrote one."""
END_TOKEN = re.compile(
    r"</?s>|<(?:eos|bos|sos|pad|unk|mask|start|end|image)>|\[(?:SEP|CLS|PAD|UNK|MASK|EOS|BOS)\]|<\|[a-z_]+\|>",
    re.IGNORECASE,
)
MARKUP = re.compile(r"</?[a-z][a-z0-9-]*(?:\s[^<>]*)?/?>|&(?:[a-z]{2,8}|#\d{1,7}|#x[0-9a-f]{1,6});", re.IGNORECASE)
_BYTES = {bytes([code]).decode("cp1252", errors="ignore") or chr(code): code for code in range(0x80, 0x100)}
"""Of what a byte looks like in Windows-1252; five that it lacks are control characters."""
_MORE = "[" + "".join(re.escape(shown) for shown, code in _BYTES.items() if code < 0xC0) + "]"
_TWO = f"[ÂÃÄÅ]{_MORE}"
MOJIBAKE = re.compile(f"{_TWO}|[à-ï]{_MORE}{{2}}|[ðñòóô]{_MORE}{{3}}|(?:[ÎÏÐÑ×ØÙ]{_MORE}){{2}}")
"""UTF-8 read as Windows-1252. Letters beside quotation marks look like the rarer pairs, which must come in twos."""
UNSPACED = ("CJK UNIFIED", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")
"""Beginnings of the Unicode names of letters that are written without spaces between words."""

Splits = Mapping[str, Sequence[CaptionExample]]
"""Examples by the name of their split."""


def check_captions(splits: Splits, findings: Findings) -> None:
    """Add what is wrong with captions."""
    every = [(example, caption) for examples in splits.values() for example in examples for caption in example.captions]
    for kind, is_at_fault in FAULTS.items():
        findings.add(kind, (_case(example, caption) for example, caption in every if is_at_fault(caption)))
    for examples in splits.values():
        findings.add("repeated_caption", _repeated(examples))
        findings.add("same_caption_in_two_styles", _in_two_styles(examples))
        findings.add("duplicate_caption", _with_other_pictures(examples))
    findings.add("caption_in_two_splits", _in_two_splits(splits))


def is_placeholder(caption: str) -> bool:
    """Whether a caption is what stands where nobody wrote one, such as ``[TIMEOUT]``."""
    return PLACEHOLDER.fullmatch(caption.strip()) is not None and END_TOKEN.fullmatch(caption.strip()) is None


def has_no_words(caption: str) -> bool:
    """Whether nothing but marks stands there."""
    return not clean_caption(caption)


def is_list(caption: str) -> bool:
    """Whether a caption is a list of texts, as Python or JSON write it."""
    text = caption.strip()
    if not (
        text.startswith(("[", "(")) and text.endswith(("]", ")")) and len(text) > 2 and text[1:].lstrip()[0] in "'\""
    ):
        return False
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False
    return isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)


def has_end_token(caption: str) -> bool:
    """Whether a tokenizer's special token stands in it."""
    return END_TOKEN.search(caption) is not None


def has_markup(caption: str) -> bool:
    """Whether it holds an HTML tag or entity."""
    return any(END_TOKEN.fullmatch(found[0]) is None for found in MARKUP.finditer(caption))


def is_mojibake(caption: str) -> bool:
    """Whether it holds UTF-8 that was read as Windows-1252, such as ``Ã©`` for ``é``."""
    return not caption.isascii() and any(_is_utf8(found[0]) for found in MOJIBAKE.finditer(caption))


def has_no_spaces(caption: str) -> bool:
    """Whether half of its letters and more are of a script that puts no spaces between words."""
    if caption.isascii():
        return False
    letters = [unicodedata.name(character, "") for character in caption if character.isalpha()]
    return 2 * sum(name.startswith(UNSPACED) for name in letters) >= max(1, len(letters))


FAULTS: Mapping[str, Callable[[str], bool]] = {
    "placeholder_caption": is_placeholder,
    "marks_only_caption": has_no_words,
    "list_as_text": is_list,
    "end_token": has_end_token,
    "markup": has_markup,
    "mojibake": is_mojibake,
    "replacement_character": lambda caption: "\N{REPLACEMENT CHARACTER}" in caption,
    "no_spaces_between_words": has_no_spaces,
}
"""By kind, whether a caption alone is at fault."""


def _is_utf8(shown: str) -> bool:
    try:
        bytes(_BYTES[character] for character in shown).decode()
    except (UnicodeDecodeError, KeyError):
        return False
    return True


def _case(example: CaptionExample, caption: str, note: str = "") -> Case:
    return Case(example.where, f"{caption} ({note})" if note else caption, (example.image_path,))


def fold_caption(caption: str) -> str:
    """The form in which captions are compared: without punctuation, case and outer space; "" if nothing is left."""
    return clean_caption(caption).casefold()


def _compared(example: CaptionExample) -> Iterator[tuple[str, str]]:
    """Captions of an example with their folded form; those that say nothing are left out."""
    for caption in example.captions:
        if (folded := fold_caption(caption)) and not is_placeholder(caption):
            yield folded, caption


def _repeated(examples: Iterable[CaptionExample]) -> Iterator[Case]:
    for example in examples:
        if len(example.captions) > 1:
            seen: set[str] = set()
            for folded, caption in _compared(example):
                if folded in seen:
                    yield _case(example, caption)
                seen.add(folded)


def _in_two_styles(examples: Iterable[CaptionExample]) -> Iterator[Case]:
    styles: dict[tuple[str, str], str] = {}
    for example in examples:
        for folded, caption in dict(_compared(example)).items():
            first = styles.setdefault((str(example.image_path), folded), example.style)
            if first != example.style:
                yield _case(example, caption, f"{first} and {example.style}")


def _with_other_pictures(examples: Iterable[CaptionExample]) -> Iterator[Case]:
    firsts: dict[tuple[str, str], CaptionExample] = {}
    for example in examples:
        for folded, caption in dict(_compared(example)).items():
            first = firsts.setdefault((fold_name(example.style), folded), example)
            if first.image_path != example.image_path:
                yield _case(
                    example, caption, f"also row {first.row}" if first.source == example.source else first.where
                )


def _in_two_splits(splits: Splits) -> Iterator[Case]:
    trained = {
        (fold_name(example.style), folded): example
        for example in splits.get("train", ())
        for folded, _ in _compared(example)
    }
    for name, examples in splits.items():
        if name != "train":
            for example in examples:
                for folded, caption in dict(_compared(example)).items():
                    if first := trained.get((fold_name(example.style), folded)):
                        yield _case(example, caption, f"train: {first.where}")
