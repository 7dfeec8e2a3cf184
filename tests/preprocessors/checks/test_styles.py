from __future__ import annotations

from functools import partial

from preprocessors.checks.styles import check_styles


def test_rare_misspelling_is_told_and_a_pair_that_is_meant_is_not(make, found):
    rows = [(12, "humorous"), (1, "Humourous"), (10, "Rational"), (9, "Irrational"), (3, "matter-of-fact")]
    rows += [(1, "Matter of Fact"), (2, "HUMOROUS")]
    train = [make(f"{style}{k}.jpg", style, "x") for count, style in rows for k in range(count)]
    assert found(check_styles, {"train": train}) == {
        "near_miss_style": [
            "'Humourous' (1 rows) for 'humorous' (14 rows)",
            "'Matter of Fact' (1 rows) for 'matter-of-fact' (3 rows)",
        ]
    }


def test_unknown_style_is_told_once_a_split_with_its_rows_and_the_nearest(make, found):
    train = [make("a.jpg", "romantic", "x"), make("b.jpg", "humorous", "x")]
    val = [make("c.jpg", "Romantc", "x"), make("d.jpg", "romantc ", "x"), make("e.jpg", "ROMANTIC", "x")]
    assert found(check_styles, {"train": train, "val": val, "test": [make("f.jpg", "zzz", "x")]}) == {
        "unknown_style": ["'Romantc' (2 rows; nearest: romantic)", "'zzz' (1 rows)"]
    }


def test_neutral_style_of_a_split_without_styles_is_one_that_every_model_knows(make, found):
    splits = {"train": [make("a.jpg", "romantic", "x")], "test": [make("c.jpg", "Plain"), make("d.jpg", "neutral")]}
    assert found(partial(check_styles, neutral="plain"), splits) == {"unknown_style": ["'neutral' (1 rows)"]}
