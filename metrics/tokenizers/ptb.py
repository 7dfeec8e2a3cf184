r"""Captions to words as the COCO metrics see them: Stanford's PTBTokenizer 3.4.1 without Java.

Gives what pycocoevalcap's ``PTBTokenizer`` gives: Penn Treebank tokens, lower-cased, without its list of punctuation.
Quirks included: the list names brackets in capitals while the tokens are lower-cased, so "-lrb-" stays.

Captions are tokenised as the lines of one text, as there, and the next line can matter: "family z." keeps its period
as an initial does, but not if the next caption begins with "A" as a sentence does. A single caption is the last line
of its text.

Two differences are deliberate, for there the words of one caption become those of another. Every character that ends a
line in Java is read as a space, as pycocoevalcap reads ``\n`` alone; and a tag with a line break inside its quotes
(``<a b="`` in one caption, ``">`` in the next) is no token. Three more are in corners that no caption is known to be
in: capital sigma beside digits or hyphens, letters whose other case is younger than Unicode 13 inside web addresses,
and repeated spaces inside a token.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache

from metrics.tokenizers.lexer import Lexer
from metrics.tokenizers.ptb_rules import GRAMMAR, RULES

TOKENIZER_NAME = "PTBTokenizer 3.4.1, lower-cased, pycocoevalcap's punctuation dropped"
"""Goes into results and document frequencies: only captions tokenised the same way can be compared."""

PUNCTUATION = frozenset(
    ["''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", ".", "?", "!", ",", ":", "-", "--", "...", ";"]
)
"""pycocoevalcap's list of tokens to drop, compared after lower-casing."""

_NO_BREAK_SPACE = "\u00a0"
_SPECIAL = re.compile("[\n\r\v\f\u2028\u2029\U00010000-\U0010ffff]")
_SURROGATES = re.compile("[\ud800-\udfff]+")
_MAX_REMEMBERED = 500_000
"""Pieces of text to remember with their words, by what follows them: about 150 MB of ordinary words."""
_MAX_PIECE = 60
"""Characters of a piece worth remembering."""


def tokenize(text: str) -> str:
    """Tokenise one caption.

    Args:
        text: A caption as a person or a model wrote it; may be empty. Nothing follows it: ``tokenize_many`` may give
            its last word otherwise.

    Returns:
        Lower-cased words separated by single spaces; "" if there is none.

    Raises:
        ValueError: If ``text`` is not a string.
    """
    return tokenize_many([text])[0]


def tokenize_many(texts: Iterable[str]) -> list[str]:
    """Tokenise captions as the lines of one text: the end of a caption may depend on the beginning of the next.

    Args:
        texts: Captions; may be empty. Half of a surrogate pair becomes "?".

    Returns:
        For each caption its lower-cased words, separated by single spaces.

    Raises:
        ValueError: If a caption is not a string, naming its position.
    """
    lines = _as_lines(list(texts))
    document = "\n".join(lines)
    tokenized, start = [], 0
    for line in lines:
        *inner, last = line.split(" ")
        end = start + len(line)
        words = [*map(_words_before_space, inner)]
        words.append(_words_before_newline(last) if end < len(document) else _words_at_end(last))
        if None in words:
            tokenized.append(_tokenize_line(document, start, end))
        else:
            tokenized.append(" ".join(filter(None, words)))
        start = end + 1
    return tokenized


class PTBTokenizer:
    """pycocoevalcap's tokenizer class without Java."""

    def tokenize(self, captions_by_id: Mapping[str, Sequence[Mapping[str, str]]]) -> dict[str, list[str]]:
        """Tokenise all captions of all images.

        Args:
            captions_by_id: By image id its captions, each a mapping with the key ``caption``.

        Returns:
            By image id the tokenised captions; ids without captions are left out.

        Raises:
            ValueError: If a caption is not a string.
        """
        ids = [key for key, captions in captions_by_id.items() for _ in captions]
        texts = [caption["caption"] for captions in captions_by_id.values() for caption in captions]
        tokenized: dict[str, list[str]] = {}
        for key, text in zip(ids, tokenize_many(texts), strict=True):
            tokenized.setdefault(key, []).append(text)
        return tokenized


def _as_lines(texts: list[str]) -> list[str]:
    """Each caption in one line of UTF-16 code units, which is what the rules are about."""
    try:
        has_special = _SPECIAL.search("".join(texts))
    except TypeError:
        row, text = next((row, text) for row, text in enumerate(texts) if not isinstance(text, str))
        raise ValueError(f"caption {row} is {text!r}, a {type(text).__name__}; captions must be strings.") from None
    return [_SPECIAL.sub(_replace_special, text) for text in texts] if has_special else texts


def _replace_special(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x10000:
        return " "
    return chr(0xD800 + ((code - 0x10000) >> 10)) + chr(0xDC00 + (code & 0x3FF))


def _tokenize_line(document: str, start: int, end: int) -> str:
    """Words of the line between two positions, read as a whole."""
    tokens = (token for token, _ in _read_tokens(document, start, end, len(document)))
    # An address may end with white space that is not " "; at the end of a line pycocoevalcap strips it.
    return " ".join(_drop_punctuation(" ".join(tokens).rstrip().split(" ")))


# Most pieces between spaces are the same words wherever they stand, and are remembered. A line with a piece for which
# the rules look further, such as a number or an abbreviation, is read as a whole.
@lru_cache(maxsize=_MAX_REMEMBERED)
def _words_before_space(piece: str) -> str | None:
    return _tokenize_piece(piece, " ")


@lru_cache(maxsize=_MAX_REMEMBERED)
def _words_before_newline(piece: str) -> str | None:
    return _tokenize_piece(piece, "\n")


@lru_cache(maxsize=_MAX_REMEMBERED)
def _words_at_end(piece: str) -> str | None:
    return _tokenize_piece(piece, "")


def _tokenize_piece(piece: str, follower: str) -> str | None:
    """Words of a piece of a line; None if they depend on more than the one character that follows ("": none does)."""
    # The rules take white space together that begins before the piece, and might end after it.
    if len(piece) > _MAX_PIECE or piece[:1].isspace():
        return None
    tokens = []
    for token, is_settled in _read_tokens(piece + follower, 0, len(piece), len(piece + follower)):
        if (follower and not is_settled) or token[-1:].isspace():
            return None
        tokens.append(token)
    return " ".join(_drop_punctuation(tokens))


def _drop_punctuation(tokens: Iterable[str]) -> list[str]:
    return [token for token in tokens if token and token not in PUNCTUATION]


def _read_tokens(text: str, start: int, end: int, limit: int) -> Iterator[tuple[str, bool]]:
    """Tokens between ``start`` and ``end``, each with whether it is the same whatever comes after ``limit``.

    What is no token, such as white space, is "".
    """
    at = start
    while at < end:
        match = _lexer().match(text, at, limit)
        is_settled = match.is_settled
        if match.end > end:  # A tag would go on in the next line.
            match = _lexer().match(text, at, end)
        kind = match.rule.name
        token_end = match.end - _SPLIT_OFF.get(kind, 0)
        # "U.S." keeps the period that is read again, the initial in "I. The" does not.
        spelling = text[at : match.end if kind == "acronym" and match.end - at > 2 else token_end]
        yield _as_printed(_SPELLINGS[kind](spelling)), is_settled
        at = token_end


@cache
def _lexer() -> Lexer:
    return Lexer(GRAMMAR, RULES)


def _as_printed(spelling: str) -> str:
    """The token as Java prints it."""
    if _SURROGATES.search(spelling):
        spelling = spelling.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
        spelling = _SURROGATES.sub("?", spelling)
    return spelling.lower()


def _without_soft_hyphens(token: str) -> str:
    return token.replace("\u00ad", "") or "-"


def _replace_quotes(token: str, single: str, double: str) -> str:
    """Quotation marks in the way of LaTeX; straight ones take the side given, curly ones have their own."""
    for pattern, mark in (
        ("&apos;|'", single),
        ('"|&quot;', double),
        ("[\u0091\u2018\u201b\u2039]", "`"),
        ("[\u0092\u2019\u203a]", "'"),
        ("[\u0093\u201c\u00ab]", "``"),
        ("[\u0094\u201d\u00bb]", "''"),
    ):
        token = re.sub(pattern, mark, token)
    return token


def _escape_parentheses(token: str) -> str:
    return token.replace("(", "-LRB-").replace(")", "-RRB-")


def _replace_all(replacements: Mapping[str, str]) -> Callable[[str], str]:
    table = str.maketrans(dict(replacements))
    return lambda token: token.translate(table)


def _always(word: str) -> Callable[[str], str]:
    return lambda token: word


_SPLIT_OFF = {"split_2": 2, "split_3": 3, "acronym": 1}
"""By kind, how many characters are read again: "cannot" is "can" and "not"."""

_SPELLINGS: dict[str, Callable[[str], str]] = {
    **dict.fromkeys(["text", "split_2", "split_3", "acronym"], lambda token: token),
    "skip": _always(""),
    "word": _without_soft_hyphens,
    "ampersand": lambda token: re.sub("(?i)&amp;", "&", token),
    "opening_quote": lambda token: _replace_quotes(token, "`", "``"),
    "closing_quote": lambda token: _replace_quotes(token, "'", "''"),
    "markup": _replace_all({" ": _NO_BREAK_SPACE}),
    "phone": lambda token: _escape_parentheses(token).replace(" ", _NO_BREAK_SPACE),
    "smiley": _escape_parentheses,
    "fraction": _replace_all({"\u00bc": "1/4", "\u00bd": "1/2", "\u00be": "3/4", "\u2153": "1/3", "\u2154": "2/3"}),
    "currency": _replace_all({"\u00a2": "cents", "\u00a3": "#"} | dict.fromkeys("\u0080\u00a4\u20a0\u20ac", "$")),
    "dash": _always("--"),
    "hyphens": lambda token: "--" if 3 <= len(token) <= 4 else token,
    "ellipsis": _always("..."),
    "less": _always("<"),
    "greater": _always(">"),
    "left_parenthesis": _always("-LRB-"),
    "right_parenthesis": _always("-RRB-"),
    "left_bracket": _always("-LSB-"),
    "right_bracket": _always("-RSB-"),
    "left_brace": _always("-LCB-"),
    "right_brace": _always("-RCB-"),
}
"""By the name of a rule, how its tokens are written."""
