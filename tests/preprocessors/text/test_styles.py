import json
from pathlib import Path

import pytest

from preprocessors.examples import CaptionExample
from preprocessors.text.styles import FILE_NAME, StyleRegistry, resolve_styles


@pytest.fixture(scope="module")
def personalities(shared: Path) -> list[str]:
    groups = json.loads((shared / "data" / "personality_captions" / "personalities.json").read_text())
    return [name for group in groups.values() for name in group]


def test_registry_adds_neutral_once_and_last():
    assert StyleRegistry(["Sweet", "Calm"]).names == ("Sweet", "Calm", "neutral")
    assert StyleRegistry(["Sweet", " NEUTRAL "]).names == ("Sweet", "NEUTRAL")
    assert StyleRegistry(["Sweet", "Plain"], neutral="plain").neutral == "Plain"


@pytest.mark.parametrize("written", ["Sweet", "sweet", "  SWEET\n"])
def test_resolve_ignores_case_and_surrounding_space(written: str):
    registry = StyleRegistry(["Calm", "Sweet"])
    assert registry.resolve(written) == "Sweet"
    assert registry.id_of(written) == 1


def test_resolve_alias_in_any_case_gives_canonical_name():
    registry = StyleRegistry(["humorous"], aliases={"Funny": "Humorous"})
    assert registry.resolve(" FUNNY ") == "humorous"


def test_resolve_unknown_names_row_nearest_and_count():
    registry = StyleRegistry(["Romantic", "Humorous", "Calm"])
    with pytest.raises(
        ValueError, match=r"^rows.json, row 12: unknown style 'Romatic'; nearest: Romantic, .*; 4 known"
    ) as caught:
        registry.resolve("Romatic", where="rows.json, row 12")
    assert "train a model with this style" in str(caught.value)


def test_resolve_personality_outside_the_215_is_refused(personalities: list[str]):
    registry = StyleRegistry(personalities)
    assert (len(registry), registry.neutral) == (215, "Neutral")  # which is one of the 215
    with pytest.raises(ValueError, match="unknown style 'Crude'; nearest: Cruel, Cute, Scornful; 215 known"):
        registry.resolve("Crude")


@pytest.mark.parametrize(
    ("inject", "token", "vocabulary"),
    [
        ("words", "stoic (unemotional)", []),
        ("code", "<code_1>", []),
        ("token", "<style_1>", ["<style_0>", "<style_1>", "<style_2>"]),
    ],
)
def test_token_of_each_injection_gives_its_text(inject: str, token: str, vocabulary: list[str]):
    registry = StyleRegistry(["Sweet", "Stoic (Unemotional)"], inject=inject)
    assert registry.token_of("stoic (unemotional)") == token
    assert registry.style_tokens() == vocabulary


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"names": ["Calm", "calm "]}, "'Calm' and 'calm' differ only in case"),
        ({"names": ["Calm", " "]}, "style number 1 has a blank name"),
        ({"names": ["Calm"], "aliases": {"cool": "Cold"}}, "alias 'cool' leads to 'Cold'"),
        ({"names": ["Calm", "Cool"], "aliases": {"cool": "Calm"}}, "'cool' for 'Calm' is itself the name of a style"),
        ({"names": ["A", "B"], "aliases": {"x": "A", "X": "B"}}, "is given for two styles"),
        ({"names": ["Calm"], "inject": "tokens"}, "must be one of words, code, token"),
        ({"names": [f"s{number}" for number in range(8192)], "inject": "code"}, "8193 styles, but only 8192 codes"),
    ],
)
def test_registry_bad_names_are_refused(arguments: dict, message: str):
    with pytest.raises(ValueError, match=message):
        StyleRegistry(**arguments)


def test_hash_changes_with_names_order_aliases_inject_and_neutral():
    variants = [
        StyleRegistry(["A", "B"]),
        StyleRegistry(["B", "A"]),
        StyleRegistry(["A", "C"]),
        StyleRegistry(["A", "B"], aliases={"x": "A"}),
        StyleRegistry(["A", "B"], inject="token"),
        StyleRegistry(["A", "B", "neutral"], neutral="A"),
    ]
    assert len({registry.hash for registry in variants}) == len(variants)
    assert StyleRegistry(["A", "B"]).hash == StyleRegistry(["A", "B", "neutral"]).hash


def test_save_and_load_keeps_ids_aliases_and_hash(tmp_path: Path):
    registry = StyleRegistry(["Zärtlich", "Calm"], inject="code", aliases={"cool": "Calm"}, neutral="plain")
    registry.save_to_dir(tmp_path)
    loaded = StyleRegistry.load_from_dir(tmp_path)
    assert (loaded.names, loaded.aliases, loaded.inject) == (registry.names, registry.aliases, "code")
    assert loaded.neutral == "plain"
    assert loaded.hash == registry.hash
    loaded.check_known_to(registry, where="model")
    stored = json.loads((tmp_path / FILE_NAME).read_text(encoding="utf-8"))
    assert stored.keys() == {"names", "aliases", "ids", "token_template", "inject", "neutral", "hash"}


@pytest.mark.parametrize(
    "change",
    [
        {"names": ["Calm", "Sweet", "neutral"]},
        {"ids": {"Sweet": 1, "Calm": 0, "neutral": 2}},
        {"inject": "token"},
        {"token_template": "<x_{id}>"},
        {"neutral": "Calm"},
        {"hash": "0" * 64},
        {"names": None},
        {"aliases": 3},
    ],
)
def test_load_edited_file_is_refused(tmp_path: Path, change: dict):
    StyleRegistry(["Sweet", "Calm"]).save_to_dir(tmp_path)
    path = tmp_path / FILE_NAME
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ValueError, match=r"styles\.json: .*Copy it again from the training run"):
        StyleRegistry.load_from_dir(tmp_path)


def test_load_without_file_or_with_other_json_is_refused(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"styles\.json: not found; .*Copy it"):
        StyleRegistry.load_from_dir(tmp_path)
    (tmp_path / FILE_NAME).write_text("[]")
    with pytest.raises(ValueError, match="not a style registry"):
        StyleRegistry.load_from_dir(tmp_path)


def test_check_known_to_other_styles_names_model_and_difference():
    here, there = StyleRegistry(["A", "B"]), StyleRegistry(["A", "C"], inject="code", neutral="plain")
    expected = (
        r"^old/output: .*not in the model: B, neutral; inject 'words', there 'code'; neutral 'neutral', there 'plain'"
    )
    with pytest.raises(ValueError, match=expected):
        here.check_known_to(there, where="old/output")


def test_check_known_to_model_with_more_styles_in_another_order_is_accepted():
    model = StyleRegistry(["C", "B", "A"], aliases={"bee": "B"})
    StyleRegistry(["a", "bee"]).check_known_to(model, where="old/output")
    with pytest.raises(ValueError, match="not in the model: C"):
        StyleRegistry(["C"]).check_known_to(StyleRegistry(["A"]), where="old/output")


def test_resolve_styles_rewrites_ids_and_merges_what_is_the_same_style():
    def example(style: str, row: int) -> CaptionExample:
        return CaptionExample(f"d/a#1.jpg#{style}", Path("d/a#1.jpg"), style, (f"caption {row}",), "rows.jsonl", row)

    registry = StyleRegistry(["Humorous", "Calm"], aliases={"funny": "Humorous"})
    resolved = resolve_styles([example("humorous", 1), example("calm", 2), example("Funny", 3)], registry)
    assert [(item.example_id, item.style, item.captions) for item in resolved] == [
        ("d/a#1.jpg#Humorous", "Humorous", ("caption 1", "caption 3")),
        ("d/a#1.jpg#Calm", "Calm", ("caption 2",)),
    ]
    with pytest.raises(ValueError, match=r"^rows\.jsonl, row 9: unknown style 'clam'; nearest: Calm"):
        resolve_styles([example("clam", 9)], registry)
