"""Several styles in one prompt, and styles that join a registry later."""

from __future__ import annotations

import itertools

import pytest

from preprocessors.text.styles import StyleRegistry

NAMES = ["Romantic", "Calm", "Humorous"]


@pytest.mark.parametrize(
    ("inject", "token"),
    [
        ("words", "romantic and calm and humorous"),
        ("code", "<code_0> <code_1> <code_2>"),
        ("token", "<style_0> <style_1> <style_2>"),
    ],
)
def test_combination_reads_the_same_in_any_order(inject, token):
    registry = StyleRegistry(NAMES, inject=inject, aliases={"funny": "Humorous"})
    for order in itertools.permutations(["romantic", " CALM ", "funny"]):
        assert registry.resolve("+".join(order)) == "Romantic+Calm+Humorous"
        assert registry.token_of("+".join(order)) == token
    assert registry.parts_of("funny+calm") == ("Calm", "Humorous")


def test_style_combined_with_itself_is_the_style():
    registry = StyleRegistry(NAMES, aliases={"funny": "Humorous"})
    assert registry.resolve("humorous + funny") == "Humorous"
    assert registry.token_of("funny+humorous") == "humorous"


def test_name_with_a_plus_is_a_style_of_its_own_in_any_order():
    registry = StyleRegistry(["A", "B", "A+B"])
    assert registry.resolve("a+b") == registry.resolve("b+a") == "A+B"
    assert registry.id_of("b+a") == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("calm+funy", r"^rows, row 3: unknown style 'funy' in 'calm\+funy'; nearest: "),
        ("calm+", r"^rows, row 3: unknown style '' in 'calm\+'; nearest: "),
        ("+", r"unknown style ''"),
        ("neutral+calm", r"style 'neutral\+calm': 'neutral' stands for no style"),
    ],
)
def test_combination_of_what_cannot_be_combined_is_told(name, message):
    with pytest.raises(ValueError, match=message):
        StyleRegistry(NAMES).resolve(name, where="rows, row 3")


def test_combination_has_no_id():
    with pytest.raises(ValueError, match="a combination has no id"):
        StyleRegistry(NAMES).id_of("calm+romantic")


def test_extended_registry_keeps_ids_and_text_of_what_it_had():
    before = StyleRegistry(["B", "A"], inject="token", aliases={"bee": "B"})
    after = before.extended(["a", "BEE", "Ceh", "neutral", "Deh"], {"cee": "ceh"})
    assert after.names == ("B", "A", "neutral", "Ceh", "Deh")
    assert [after.token_of(name) for name in before.names] == [before.token_of(name) for name in before.names]
    assert after.aliases == {"bee": "B", "cee": "ceh"}
    assert (after.neutral, after.inject, after.resolve("CEE")) == ("neutral", "token", "Ceh")
    assert before.extended(["a"]).hash == before.hash


@pytest.mark.parametrize(
    ("names", "aliases", "message"),
    [
        ([], {"BEE": "A"}, "alias 'BEE' leads to 'A', and to 'B' in the model"),
        ([], {"cee": "C"}, "alias 'cee' leads to 'C', which is no style"),
        (["C"], {"A": "C"}, "alias 'A' for 'C' is itself the name of a style"),
        ([" "], {}, "blank name"),
    ],
)
def test_extension_that_would_change_what_a_name_means_is_refused(names, aliases, message):
    with pytest.raises(ValueError, match=message):
        StyleRegistry(["B", "A"], aliases={"bee": "B"}).extended(names, aliases)


def test_registry_that_only_lacks_styles_is_read_alike():
    here, there = StyleRegistry(["A", "B"]), StyleRegistry(["A"])
    here.check_read_as_in(there, where="old/output")
    with pytest.raises(ValueError, match="not in the model: B"):
        here.check_known_to(there, where="old/output")
    with pytest.raises(ValueError, match=r"^old/output: .*inject 'words', there 'code'"):
        here.check_read_as_in(StyleRegistry(["A"], inject="code"), where="old/output")
