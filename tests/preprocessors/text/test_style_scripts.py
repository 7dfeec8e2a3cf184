"""Style names of any script."""

from __future__ import annotations

import unicodedata

import pytest

from pipeline.data import styles_of
from preprocessors.examples import CaptionExample
from preprocessors.text.corpora import StyledText
from preprocessors.text.style_names import fold_name, tidy_name
from preprocessors.text.styles import StyleRegistry, resolve_styles

NAMES = ["浪漫", "романтичный", "عاطفي", "😂", "Größe", "mélancolique", "โรแมนติก", "ロマン", "ΣΟΦΌΣ", "I ❤️ it", "👩‍🚀"]


@pytest.mark.parametrize("name", NAMES)
def test_style_of_any_script_is_found_however_it_is_typed(name):
    registry = StyleRegistry(NAMES)
    typed = [name.upper(), name.lower(), f" {name}\u3000", f"\ufeff{name}", f"\u200f{name}\u200e"]
    typed += [unicodedata.normalize(form, name) for form in ("NFC", "NFD")] + [name.replace("\ufe0f", "")]
    assert {registry.resolve(text) for text in typed} == {name}


@pytest.mark.parametrize("inject", ["words", "code", "token"])
def test_registry_of_any_script_is_saved_and_loaded(tmp_path, inject):
    registry = StyleRegistry(NAMES, inject=inject, aliases={"смешной": "😂"}, neutral="普通")
    registry.save_to_dir(tmp_path)
    again = StyleRegistry.load_from_dir(tmp_path)
    assert (again.names, again.hash, again.resolve("СМЕШНОЙ"), again.neutral) == (
        registry.names,
        registry.hash,
        "😂",
        "普通",
    )


def test_names_that_look_alike_are_one_style():
    with pytest.raises(ValueError, match="differ only in case or space"):
        StyleRegistry(["café", unicodedata.normalize("NFD", "Café")])
    assert fold_name("🏴󠁧󠁢󠁥󠁮󠁧󠁿") != fold_name("🏴󠁧󠁢󠁳󠁣󠁴󠁿")  # flags are told apart by characters that nobody sees
    assert fold_name("浪漫") != fold_name("浪漫的")


def test_unknown_style_of_another_script_is_told_with_the_nearest():
    with pytest.raises(ValueError, match="unknown style 'романтичны'; nearest: романтичный"):
        StyleRegistry(NAMES).resolve("романтичны", where="")


def test_new_registry_writes_names_composed_and_without_marks_around_them():
    decomposed = unicodedata.normalize("NFD", "mélancolique")
    assert tidy_name(f"\u200f {decomposed}\ufeff") == "mélancolique"
    texts = [StyledText("x", style, "") for style in (decomposed, "Mélancolique", "\u200fعاطفي")]
    assert styles_of(texts) == ["mélancolique", "عاطفي"]


def test_rows_whose_styles_differ_in_form_alone_become_one_example(tmp_path):
    forms = ("mélancolique", unicodedata.normalize("NFD", "mélancolique"))
    examples = [CaptionExample(f"a.png#{form}", tmp_path / "a.png", form, (form[:2],)) for form in forms]
    (merged,) = resolve_styles(examples, StyleRegistry([forms[0]]))
    assert (merged.example_id, len(merged.captions)) == ("a.png#mélancolique", 2)
