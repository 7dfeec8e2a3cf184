"""Stems of English words by the Snowball rules of METEOR's time, which later releases changed.

Source:
    Porter 2001, https://snowballstem.org/algorithms/english/stemmer.html.
"""

from __future__ import annotations

import re

_WHOLE = {
    **{"skis": "ski", "skies": "sky", "dying": "die", "lying": "lie", "tying": "tie", "idly": "idl", "gently": "gentl"},
    **{"ugly": "ugli", "early": "earli", "only": "onli", "singly": "singl"},
    **{word: word for word in ("sky", "news", "howe", "atlas", "cosmos", "bias", "andes")},
}
_AFTER_PLURAL = {"inning", "outing", "canning", "herring", "earring", "proceed", "exceed", "succeed"}
_VOWELS = "aeiouy"
_REGION = re.compile(f"[{_VOWELS}][^{_VOWELS}]")
_STARTS = re.compile("gener|commun|arsen")
_VOWEL = re.compile(f"[{_VOWELS}]")
_SHORT = re.compile(f"(?:[^{_VOWELS}][{_VOWELS}][^{_VOWELS}wxY]|^[{_VOWELS}][^{_VOWELS}])$")
_MARKED_Y = re.compile(f"(?<=[{_VOWELS}])y")

# The longest suffix that a word ends with is the only one tried.
_SECOND = {
    **{"tional": "tion", "enci": "ence", "anci": "ance", "abli": "able", "entli": "ent", "izer": "ize"},
    **{"ization": "ize", "ational": "ate", "ation": "ate", "ator": "ate", "alism": "al", "aliti": "al", "alli": "al"},
    **{"fulness": "ful", "ousli": "ous", "ousness": "ous", "iveness": "ive", "iviti": "ive", "biliti": "ble"},
    **{"bli": "ble", "ogi": "og", "fulli": "ful", "lessli": "less", "li": ""},
}
_THIRD = {
    **{"tional": "tion", "ational": "ate", "alize": "al", "icate": "ic", "iciti": "ic", "ical": "ic"},
    **{"ful": "", "ness": "", "ative": ""},
}
_FOURTH = dict.fromkeys(
    "al ance ence er ic able ible ant ement ment ent ism ate iti ous ive ize ion".split(),
    "",
)
_BEFORE = {"ogi": "l", "li": "cdeghkmnrt", "ion": "st"}
"""The letters that one of must stand before a suffix."""


def stem(word: str) -> str:
    """The stem of a word in lower case; a word of one or two letters is its own."""
    if word in _WHOLE:
        return _WHOLE[word]
    if len(word) < 3:
        return word
    # A y that is a consonant is Y; each is looked at after those before it.
    word = re.sub("^y", "Y", word.removeprefix("'"))
    word = _mark_consonants(word)
    first, second = _regions(word)
    word = _plural(word)
    if word not in _AFTER_PLURAL:
        word = _participle(word, first)
        if len(word) > 2 and word[-1] in "yY" and word[-2] not in _VOWELS:
            word = word[:-1] + "i"
        word = _replace(word, _SECOND, first)
        word = _replace(word, _THIRD, first, {"ative": second})
        word = _replace(word, _FOURTH, second)
        word = _last_letter(word, first, second)
    return word.replace("Y", "y")


def _mark_consonants(word: str) -> str:
    letters = list(word)
    for place in range(1, len(letters)):
        if letters[place] == "y" and letters[place - 1] in _VOWELS:
            letters[place] = "Y"
    return "".join(letters)


def _regions(word: str) -> tuple[int, int]:
    """Where the word goes on after its first vowel with a consonant behind it, and after the next one."""
    start = _STARTS.match(word) or _REGION.search(word)
    first = start.end() if start else len(word)
    following = _REGION.search(word, first)
    return first, following.end() if following else len(word)


def _plural(word: str) -> str:
    if word.endswith(("'s'", "'s", "'")):
        word = word[: -len(next(suffix for suffix in ("'s'", "'s", "'") if word.endswith(suffix)))]
    if word.endswith("sses"):
        return word[:-2]
    if word.endswith(("ied", "ies")):
        return word[:-2] if len(word) > 4 else word[:-1]
    if word.endswith("s") and not word.endswith(("us", "ss")) and _VOWEL.search(word[:-2]):
        return word[:-1]
    return word


def _participle(word: str, first: int) -> str:
    suffix = _longest(word, ("eedly", "eed", "ingly", "edly", "ing", "ed"))
    if not suffix:
        return word
    bare = word[: -len(suffix)]
    if suffix.startswith("eed"):
        return f"{bare}ee" if len(bare) >= first else word
    if not _VOWEL.search(bare):
        return word
    if bare.endswith(("at", "bl", "iz")):
        return f"{bare}e"
    if bare.endswith(("bb", "dd", "ff", "gg", "mm", "nn", "pp", "rr", "tt")):
        return bare[:-1]
    return f"{bare}e" if len(bare) == first and _SHORT.search(bare) else bare


def _replace(word: str, suffixes: dict[str, str], region: int, others: dict[str, int] | None = None) -> str:
    suffix = _longest(word, suffixes)
    if not suffix:
        return word
    bare = word[: -len(suffix)]
    if len(bare) < max(region, (others or {}).get(suffix, 0)):
        return word
    if suffix in _BEFORE and not (bare and bare[-1] in _BEFORE[suffix]):
        return word
    return bare + suffixes[suffix]


def _last_letter(word: str, first: int, second: int) -> str:
    bare = word[:-1]
    if word.endswith("e") and (len(bare) >= second or (len(bare) >= first and not _SHORT.search(bare))):
        return bare
    if word.endswith("ll") and len(bare) >= second:
        return bare
    return word


def _longest(word: str, suffixes: dict[str, str] | tuple[str, ...]) -> str:
    return max((suffix for suffix in suffixes if word.endswith(suffix)), key=len, default="")
