from __future__ import annotations

import unicodedata

import pytest

from preprocessors.text.style_names import fold_name, nearest_names, slip_of, spelled_out
from preprocessors.text.styles import StyleRegistry

ALIASES = {"Funny": "humorous", "lustig": "humorous"}


def test_names_are_compared_without_the_two_spellings_of_an_accent():
    composed, decomposed = "Zärtlich", unicodedata.normalize("NFD", "zärtlich")
    assert len(composed) < len(decomposed)
    assert fold_name(composed) == fold_name(f" {decomposed}\n")
    assert StyleRegistry([composed]).resolve(decomposed) == composed
    with pytest.raises(ValueError, match="differ only in case or space"):
        StyleRegistry([composed, decomposed])


@pytest.mark.parametrize("written", ["funny", " FUNNY ", "lustig"])
def test_alias_is_spelled_out_in_any_case(written):
    assert spelled_out(written, ALIASES) == "humorous"


def test_what_is_no_alias_stays_as_written():
    assert spelled_out(" Romantic ", ALIASES) == " Romantic "
    assert spelled_out("funny", {}) == "funny"


def test_slip_is_near_and_another_word_is_none():
    assert slip_of("Romatic", ["romantic", "pirate"]) == "romantic"
    assert slip_of("shakespeare", ["romantic", "pirate"]) is None
    assert nearest_names("PIRAT", ["romantic", "pirate"]) == ["pirate", "romantic"]


@pytest.mark.parametrize("inject", ["words", "token"])
def test_styles_in_other_scripts_have_names_aliases_and_neighbours(inject):
    registry = StyleRegistry(["浪漫", "幽默", "رومانسي"], inject=inject, aliases={"搞笑": "幽默"}, neutral="中性")
    assert registry.resolve(" 搞笑 ") == "幽默"
    assert registry.resolve("幽默+浪漫") == "浪漫+幽默"
    assert registry.token_of("浪漫") == {"words": "浪漫", "token": "<style_0>"}[inject]
    with pytest.raises(ValueError, match="unknown style '浪曼'; nearest: 浪漫, "):
        registry.resolve("浪曼")


def test_unknown_name_near_an_alias_is_told_the_style_once():
    registry = StyleRegistry(["humorous", "calm"], aliases=ALIASES)
    with pytest.raises(ValueError, match="unknown style 'funy'; nearest: humorous, ") as caught:
        registry.resolve("funy")
    assert str(caught.value).count("humorous") == 1


def test_alias_to_no_style_is_told_the_nearest():
    with pytest.raises(ValueError, match="alias 'funny' leads to 'humorus', which is no style; nearest: humorous"):
        StyleRegistry(["humorous", "calm"], aliases={"funny": "humorus"})
