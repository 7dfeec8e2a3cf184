from __future__ import annotations

from reports.run.endings import endings_card


def _style(n, cut):
    return {"n": n, "cut": cut, "cut_share": cut / n, "references_over": None}


def test_card_has_share_count_and_the_worst_styles():
    styles = {"a": _style(50, 1), "b": _style(50, 20), "c": _style(50, 0), "d": _style(50, 3), "e": _style(50, 2)}
    length = {"max_length": 16, "cut": 26, "cut_share": 0.104, "references_over": 0.21, "per_style": styles}
    (card,) = endings_card({"n": 250, "length": length})
    assert (card["label"], card["value"]) == ("Cut at the limit", "10.4%")
    assert card["notes"] == [
        "26 of 250, at 16 tokens",
        "b 40.0%, d 6.0%, e 4.0%, …",
        "people’s captions longer than that: 21.0%",
    ]


def test_card_of_one_style_or_nothing_cut_is_short_and_older_results_have_none():
    length = {"max_length": 16, "cut": 0, "cut_share": 0.0, "references_over": 0.0, "per_style": {"a": _style(5, 0)}}
    assert endings_card({"n": 5, "length": length})[0]["notes"] == ["0 of 5, at 16 tokens"]
    assert endings_card({"n": 5}) == []
