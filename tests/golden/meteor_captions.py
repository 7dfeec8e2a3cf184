"""Captions of our own that METEOR has something to decide about, the same every time."""

from __future__ import annotations

import random
from collections.abc import Iterator

NOUNS = "man men woman women dog dogs child children car automobile photo picture wave waves couch sofa street".split()
VERBS = "runs running ran sits sitting rides riding holds holding looks looking jumps jumped plays played".split()
ADJECTIVES = "big large small little red happy happier happily young beautiful beautifully very wooden".split()
PLACES = (
    *("on the beach", "in front of a house", "at night", "next to each other", "in the middle of the road"),
    *("on top of a hill", "a lot of people", "for the first time", "in order to win", "as well as the others"),
)
AWKWARD = (
    *(
        "",
        ".",
        "...",
        "a",
        "the the the the the the",
        "a a a a b a a",
        "U.S. of A.",
        "e.g. a dog, i.e. it",
        "No. 5 or No.",
    ),
    *(
        "don't you",
        "the dog's bone",
        "'quoted' \"words\" ``here''",
        "well-known -- 3-4",
        "1,000 or 3.5, maybe",
        "(a|b)",
    ),
    *(
        "İstanbul ΣΑΣ ß",
        "你好 世界",
        "😀 dogs 𝐀",
        "caf\u00e9 cafe\u0301",
        "one\xa0two\u2003three",
        "\x00 a \x1c",
        "a\tb  c",
    ),
    *("DOTMULTI. x", "Mr. Smith. Mr. jones", "skies skiing news inning proceed", "siblings Siblings SIBLING", "Aa BB"),
)


def segments() -> Iterator[tuple[list[str], str]]:
    """References and a hypothesis, time and again."""
    draw = random.Random(15)
    for text in AWKWARD:
        yield [text, f"{caption(draw)} {text}"], text
        yield [caption(draw)], text
    for _ in range(60):
        captions = [caption(draw) for _ in range(4)]
        yield captions[1:], captions[0]
        words = captions[1].split()
        draw.shuffle(words)
        yield captions[1:], " ".join(words)
    long = " ".join(caption(draw) for _ in range(12))
    yield [long[10:]], long


def caption(draw: random.Random) -> str:
    """Something that a person might say of a picture."""
    people = [f"{draw.choice(['a', 'the', 'two'])} {draw.choice(ADJECTIVES)} {draw.choice(NOUNS)}" for _ in range(2)]
    end = draw.choice(["", " .", ", too", "!"])
    return f"{people[0]} {draw.choice(VERBS)} {draw.choice(PLACES)} and {people[1]} {draw.choice(VERBS)}{end}"
