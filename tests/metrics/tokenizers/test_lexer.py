"""Lexing by rules, against hand-read expectations and Python's ``re``."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.tokenizers.expressions import Grammar
from metrics.tokenizers.lexer import Lexer, Rule

EMPTY = Grammar({}, {}, {})


def first_token(rules: list[Rule], text: str, grammar: Grammar = EMPTY) -> tuple[str, str]:
    match = Lexer(grammar, rules).match(text, 0, len(text))
    return match.rule.name, text[: match.end]


def test_match_longest_rule_wins_over_an_earlier_one():
    assert first_token([Rule("word", "[a-z]+"), Rule("file", r"[a-z]+\.txt")], "notes.txt") == ("file", "notes.txt")


def test_match_equal_length_earlier_rule_wins():
    assert first_token([Rule("keyword", "if"), Rule("word", "[a-z]+")], "if") == ("keyword", "if")


def test_match_context_counts_for_the_length_but_is_not_consumed():
    rules = [Rule("word", "[a-z]+"), Rule("stem", "[a-z]", "[a-z]*'s")]
    assert first_token(rules, "dog's") == ("stem", "d")
    assert first_token(rules, "dogs") == ("word", "dogs")


def test_match_ambiguous_division_gives_the_longest_token():
    # Both "x" and "xx" leave a context that matches in "xxxy": the longer token is taken.
    assert first_token([Rule("token", "x{1,2}", "x+y")], "xxxy") == ("token", "xx")


def test_match_letters_are_caseless_outside_brackets_only():
    rules = [Rule("word", "mr[A-Z]"), Rule("other", "[A-Za-z]+")]
    assert first_token(rules, "MRX") == ("word", "MRX")
    assert first_token(rules, "mrx") == ("other", "mrx")


def test_match_named_parts_and_sets_are_put_together():
    grammar = Grammar({"PAIR": "{EVEN}{EVEN}", "LIST": "{PAIR}(,{PAIR})*"}, {"EVEN": "02468".__contains__}, {})
    assert first_token([Rule("list", "{LIST}")], "20,46,81", grammar) == ("list", "20,46")


def test_match_case_variants_belong_to_their_letter():
    grammar = Grammar({}, {}, {"k": "\u212a"})
    assert first_token([Rule("unit", "ok")], "O\u212a", grammar) == ("unit", "O\u212a")


@pytest.mark.parametrize(
    ("text", "is_settled"),
    [
        ("ab ", True),  # The space ended the word.
        ("ab", False),  # More letters could follow.
        ("ab;", True),  # Nothing can follow ";".
        ("12", False),
    ],
)
def test_match_is_settled_only_if_no_following_text_could_change_it(text: str, is_settled: bool):
    lexer = Lexer(EMPTY, [Rule("word", "[a-z]+"), Rule("end", "[a-z]+;"), Rule("number", "[0-9]+")])
    assert lexer.match(text, 0, len(text)).is_settled is is_settled


def test_match_nothing_fits_is_an_error_that_quotes_the_text():
    with pytest.raises(ValueError, match=r"no rule matches '\?\?'"):
        Lexer(EMPTY, [Rule("word", "[a-z]+")]).match("??", 0, 2)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("a)", r"'\)' at 1 closes nothing"),
        ("(a", "ends too early"),
        ("[ab", "ends too early"),
        ("a{2", "too early"),
        ("{X}", "is named 'X'"),
    ],
)
def test_parse_malformed_expression_names_the_fault(expression: str, message: str):
    with pytest.raises(ValueError, match=message):
        EMPTY.parse(expression)


@settings(max_examples=100, deadline=None)
@given(st.text("abc.", max_size=12))
def test_match_single_rule_equals_re_where_greedy_is_longest(text: str):
    expression = r"a{2,3}(b|c+)?[^b]*|\.+b?"
    lexer = Lexer(EMPTY, [Rule("one", expression), Rule("rest", "[a-z.]")])
    longest = max(
        (len(found[0]) for found in [re.match(part, text) for part in expression_branches()] if found), default=0
    )
    if text:
        match = lexer.match(text, 0, len(text))
        assert (match.rule.name, match.end) == (("one", longest) if longest else ("rest", 1))


def expression_branches() -> list[str]:
    """The branches of the expression above with each way to take its optional part."""
    return [r"a{2,3}b[^b]*", r"a{2,3}c+[^b]*", r"a{2}[^b]*", r"a{3}[^b]*", r"\.+b", r"\.+"]
