"""The tokenizer against the official Java one, and against itself in other ways."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.tokenizers import ptb as ptb_tokenizer
from metrics.tokenizers.lexer import Lexer
from metrics.tokenizers.ptb import PUNCTUATION, PTBTokenizer, tokenize_many
from metrics.tokenizers.ptb_rules import GRAMMAR, RULES

LINE_BREAKS = "\n\r\v\f\u2028\u2029"

RECORDED = [
    ("", ""),
    ("   ", ""),
    ("A man is riding a horse .", "a man is riding a horse"),
    ("It's the dogs' ball, isn't it?", "it 's the dogs ball is n't it"),
    ("cannot gonna 'tis d'you Y'all", "can not gon na 't is d'you y' all"),
    ("self-made, and/or 1/2", "self-made and/or 1/2"),
    ("$3.50 £5 €5 50¢ 1,000", "$ 3.50 # 5 $ 5 50 cents 1,000"),
    ('“quoted” ‘text’ "too" …', "quoted text too"),
    ("(in) [square] {curly}", "-lrb- in -rrb- -lsb- square -rsb- -lcb- curly -rcb-"),
    ("see www.example.com/a?b=c or mail me@x.org", "see www.example.com/a?b=c or mail me@x.org"),
    ("wow!!! ... -- — :-) <3", "wow !!! :--rrb- < 3"),
    ("He met Mr. Smith at 5 p.m. in the U.S. The end", "he met mr. smith at 5 p.m. in the u.s. the end"),
    ("call (650) 723-0293 now", "call -lrb-650-rrb-\xa0723-0293 now"),
    ("café naïve 日本 привет", "café naïve 日本 привет"),
    ("dog 😀 cat \x01\x7f end", "dog cat end"),
    ("soft\xadhyphen ½ cup AT&amp;T", "softhyphen 1/2 cup at&t"),
    ("a \xa0foo.com b", "a foo.com b"),
    ("\xad\xad", ""),
    ("AT&AMP;T and A&B", "at&t and a&b"),
    ("G\u0131mme GIMME \u017fo", "g\u0131m me gim me \u017fo"),
    ("Lieut. x Rd. y Mo. z", "lieut. x rd. y mo. z"),
    ("a.bmp b.bat", "a.bmp b.bat"),
    ("x.com\xa0", "x.com"),
    ("1/2-3 a/b/c/d", "1/2 -3 a/b/c / d"),
    ("\u24c0 K \u212a", "\u24da k k"),
    ("z---z z-----z", "z z z ----- z"),
    ("\u201bquote\u201b \u20a05", "quote $ 5"),
    ("the \u1885 letter \U0001d54f", "the \u1885 letter"),
]
"""What the Java tokenizer gave (pycocoevalcap 1.2, OpenJDK 17, 2026-11-22); the parity test asks it again."""


@pytest.mark.parametrize(("text", "words"), RECORDED)
def test_tokenize_recorded_captions_as_java(text: str, words: str):
    assert tokenize_many([text, ""])[0] == words


@pytest.mark.java
def test_tokenize_recorded_captions_are_what_java_says_now():
    captions = {row: [{"caption": text}] for row, (text, _) in enumerate(RECORDED)}
    # A last line of its own: each caption is then followed by the same kind of line as when it stands alone.
    assert java({**captions, "end": [{"caption": ""}]}) == {
        **{row: [words] for row, (_, words) in enumerate(RECORDED)},
        "end": [""],
    }


@pytest.mark.java
@pytest.mark.slow
def test_tokenize_all_shared_captions_without_difference(shared: Path):
    captions = {row: [{"caption": text}] for row, text in enumerate(read_captions(shared / "data"))}
    assert len(captions) > 150_000
    ours, theirs = PTBTokenizer().tokenize(captions), java(captions)
    assert [(captions[row], ours[row], theirs[row]) for row in captions if ours[row] != theirs[row]] == []


@pytest.mark.java
@pytest.mark.parametrize(
    "template",
    [
        *("{}", "'{}s \"{} '{}b"),
        *(
            pytest.param(text, marks=pytest.mark.slow)
            for text in ("#{}a @{} <{}>", "a{}b", "d'{} {}n't {}.c o{}o", "Inc. {}b")
        ),
    ],
)
def test_tokenize_every_unicode_character_as_java(template: str):
    chars = (chr(code) for code in range(0x10000) if not 0xD800 <= code < 0xE000)
    assert_same_as_java([template.replace("{}", char) for char in chars if char not in LINE_BREAKS])


@pytest.mark.java
def test_tokenize_every_state_of_the_rules_as_java():
    """A shortest text for each state of our automaton, followed by each kind of character; a tenth of these texts."""
    texts = [reached + char for reached, kinds in walk_states() for char in kinds]
    # A token of several captions is one in Java, and Java itself decides which letter a capital sigma is at the end.
    texts = [text for text in texts if not set(text) & set(LINE_BREAKS) and "<" not in text and "^" not in text]
    assert len(texts) > 200_000
    assert_same_as_java(random.Random(3).sample(texts, len(texts) // 10))


@pytest.mark.java
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_tokenize_random_mixtures_as_java(seed: int):
    """Every kind of token beside every other, with and without space."""
    rng = random.Random(seed)
    separators = [" "] * 8 + [""] * 6 + ["  ", "\u00a0", " \u00a0", "\u2003", "\u3000", "\t", "\x1c", "\x85"]
    mixtures = [
        "".join(rng.choice(PIECES) + rng.choice(separators) for _ in range(rng.randint(0, 9))) for _ in range(20_000)
    ]
    alphabet = "aAbBiIsSkKnNtTdDuUxX019.,'\"-_/:;@#$&>()[]{}!? =*+\\’‘`éß"
    letters = ["".join(rng.choice(alphabet) for _ in range(rng.randint(0, 14))) for _ in range(40_000)]
    assert_same_as_java(mixtures + letters)


def test_tokenize_many_initial_at_the_end_depends_on_the_next_caption():
    # "z. A" reads like the end of a sentence, "z. Two" like an initial: only the former loses its period.
    assert tokenize_many(["on the beach with family z.", "A girl"]) == ["on the beach with family z", "a girl"]
    assert tokenize_many(["on the beach with family z.", "Two girls"]) == ["on the beach with family z.", "two girls"]


def test_tokenize_many_smiley_needs_something_after_it():
    # A smiley is one token if no letter follows, and at the end of the text nothing follows.
    assert tokenize_many(["so happy :)", "so sad :("]) == ["so happy :-rrb-", "so sad -lrb-"]


@pytest.mark.parametrize("line_break", list(LINE_BREAKS))
def test_tokenize_many_line_break_inside_a_caption_is_a_space(line_break: str):
    assert tokenize_many([f"a dog{line_break}runs.", "a cat"]) == ["a dog runs", "a cat"]


def test_tokenize_many_tag_over_two_captions_is_no_token():
    # As one text, <a b=" ... "> would be one tag over both lines, as it is within one.
    assert tokenize_many(['see <a b="', '"> here']) == ["see < a b =", "> here"]
    assert tokenize_many(['see <a b=""> here']) == ['see <a\u00a0b=""> here']


def test_tokenize_many_half_a_surrogate_pair_is_a_question_mark():
    assert tokenize_many(["http://a/\ud83d x", "http://a/\U0001f600 x"]) == ["http://a/? x", "http://a/\U0001f600 x"]


def test_tokenizer_keeps_ids_and_number_of_captions():
    captions = {7: [{"caption": "One."}, {"caption": ""}], "x": [{"caption": "Two dogs"}], "none": []}
    assert PTBTokenizer().tokenize(captions) == {7: ["one", ""], "x": ["two dogs"]}


@pytest.mark.parametrize("caption", [None, 3, ["a dog"], b"a dog"])
def test_tokenize_many_caption_that_is_no_string_is_named(caption: Any):
    with pytest.raises(ValueError, match="caption 1 is .*must be strings"):
        tokenize_many(["fine", caption])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(max_size=30), max_size=4))
def test_tokenize_many_any_unicode_gives_clean_lines(texts: list[str]):
    tokenized = tokenize_many(texts)
    assert len(tokenized) == len(texts)
    for words in tokenized:
        assert not set(words) & set(LINE_BREAKS)
        assert words == "" or all(word and word not in PUNCTUATION for word in words.split(" "))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.lists(
            st.sampled_from("a A dog U.S. Inc. 5 1/2 555 1234 (650) . ... ' \" n't it's <a > x.com".split()), max_size=6
        ),
        max_size=4,
    )
)
def test_tokenize_many_remembered_pieces_give_what_reading_whole_lines_gives(lines: list[list[str]]):
    texts = [" ".join(line) for line in lines]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ptb_tokenizer, "_words_before_newline", lambda piece: None)
        patch.setattr(ptb_tokenizer, "_words_at_end", lambda piece: None)
        whole = tokenize_many(texts)
    assert tokenize_many(texts) == whole


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text("abc ,.!?'-", max_size=20), max_size=5), st.randoms(use_true_random=False))
def test_tokenize_many_plain_captions_do_not_depend_on_their_order(texts: list[str], rng: random.Random):
    order = list(range(len(texts)))
    rng.shuffle(order)
    # Small letters only: no caption begins a sentence, so that none is the end of an abbreviation's.
    assert tokenize_many([texts[row] for row in order] + [""]) == [
        tokenize_many([*texts, ""])[row] for row in order
    ] + [""]


def walk_states() -> Iterator[tuple[str, list[str]]]:
    """For each state a shortest text that leads to it, and a character of each kind that the rules tell apart."""
    automaton = Lexer(GRAMMAR, RULES)._all
    kinds: dict[Any, str] = {}
    for char in (chr(code) for code in range(0x10000) if not 0xD800 <= code < 0xE000):
        kinds.setdefault(frozenset(index for index, contains in automaton._sets if contains(char)), char)
    reached, seen = [("", automaton.start)], {id(automaton.start)}
    for text, state in reached:
        yield text, list(kinds.values())
        for char in kinds.values():
            following = state[char]
            if following is not None and id(following) not in seen:
                seen.add(id(following))
                reached.append((text + char, following))


def java(captions: dict[Any, Any]) -> dict[Any, list[str]]:
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer as JavaTokenizer

    result: dict[Any, list[str]] = JavaTokenizer().tokenize(captions)
    return result


def assert_same_as_java(texts: list[str]) -> None:
    theirs = java({row: [{"caption": text}] for row, text in enumerate(texts)})
    differences = [
        (text, ours, theirs[row][0])
        for row, (text, ours) in enumerate(zip(texts, tokenize_many(texts), strict=True))
        if ours != theirs[row][0]
    ]
    assert differences == []


def read_captions(data: Path) -> Iterator[str]:
    """Every caption of the shared data, its line breaks made spaces."""
    for text in find_captions(data):
        yield "".join(" " if char in LINE_BREAKS else char for char in text)


def find_captions(data: Path) -> Iterator[str]:
    for line in (data / "flickrstyle/Flickr8k.token.txt").read_text("utf-8").splitlines():
        yield line.split("\t", 1)[1]
    for row in json.loads((data / "flickrstyle/captions.json").read_text("utf-8")):
        yield from (row["humorous"], row["romantic"], *row["factual"])
    for name in ("pcap_test_derived", "pcap_valid_derived"):
        for row in json.loads((data / f"personality_captions/{name}.json").read_text("utf-8")):
            yield row["comment"]
            yield from row.get("additional_comments_tok16", [])
    for row in json.loads((data / "senticap/senticap.json").read_text("utf-8"))["images"]:
        yield from (sentence["raw"] for sentence in row["sentences"])
    references = json.loads((data / "coco_fakecap/captions_val2014_fakecap1000.json").read_text("utf-8"))
    yield from (row["caption"] for row in references["annotations"])
    results = json.loads((data / "coco_fakecap/captions_val2014_fakecap_results.json").read_text("utf-8"))
    yield from (row["caption"] for row in results)


PIECES = """
a A b B I i the The dog dogs Mr Mr. Mrs. Dr. Inc Inc. Co. co. Ltd ltd. pty. limited lim U.S. U.S U.K. U.S.S.R.
u.s. a.m. p.m. e.g. i.e. etc etc. Jan. Sept. Fri. No. no. nos. figs. fig. ca. art. 5 10 100 1,000 3.14 1/2 1
2/3 12:30 10-12 1990s '90s '90 '80 555 555-1234 (650) 723-0293 +1 415 5551 20/20 1/1/2020 12-25-99 $5 $ US$ #
#1 #tag @bob @ bob@mail.com <bob@x.org> http://a.b/c https://x.y/z?q=1&r=(2) http://a{b www.foo.com foo.com
Foo.com bar.org/x.html file.txt photo.jpg. x.py, a.c c++ C# f# ' '' " ` `` `' ’ ‘ “ ” ‚ „ ‹ › « » 's 'S 're
've 'll 'd 'm n't N'T n’t don't can't won't cannot Cannot gonna wanna gimme lemme 'tis 'twas 'em 'n'
rock'n'roll o'clock O'Neil O'o d'Artagnan l'eau y'all c'mon cont'd ol' li'l e'er ma'am girls' dog's it’s -- -
--- ---- ----- – — ... .... . .. ! !! ?! ? , ; : :) :( :-) ;) =) :D :P <3 ^_^ (^_^) x_x >.[^x=<>] = == ( ) [ ]
{ } -LRB- -rrb- < > << >> </b> <b> <br/> <!x> <a> &amp; &lt; &gt; &quot; &apos; &nbsp; &eacute; &mdash; &#39;
& AT&T R&D S&P-500 S&Ls A+B a+b % ° ¢ £ € ¥ ¼ ½ ⅔ ⅛ ² ³ ™ © é naïve Ünï ÇA ß ﬁ 日本 中文。 、 привет עברית ١٢٣ 😀 👍🏽
☃ ★ \u00ad soft\u00adhyphen \u200b \ufeff \x01 \x7f _ __ * ** \\* \\/ / // \\ | ~ ^ and/or he/she
man/woman/child pro- anti- pro-life x-ray U.S.-U.K Sino-U.S. non-U.S. Canada-U.S. self-made A-b-c 4-year-old
5,000-b.c E! Yahoo! ph.d. Ed.D. Ph.D. M.D. C.D.s Cap'n c'est magazine About An He She They This Why Who
""".split()
