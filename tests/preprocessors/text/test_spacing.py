from __future__ import annotations

import pytest

from preprocessors.text.spacing import join_tokens


@pytest.mark.parametrize(
    ("tokens", "written"),
    [
        ("A water bird standing at the ocean 's edge .", "A water bird standing at the ocean's edge."),
        ("they do n't mind , and we 'll wait .", "they don't mind, and we'll wait."),
        ("IT 'S LATE , ISN'T IT ?", "IT'S LATE, ISN'T IT?"),
        ("`` We 're nearly there , '' she said .", '"We\'re nearly there," she said.'),
        ('" We \'re nearly there , " she said .', '"We\'re nearly there," she said.'),
        ("a shirt with `` adhd `` on it .", 'a shirt with "adhd" on it.'),
        ("someone shouts `` go ! ''. twice", 'someone shouts "go!". twice'),
        ("a boat -LRB- red -RRB- and ( blue ) sails .", "a boat (red) and (blue) sails."),
        ("wait . . .", "wait..."),
        ("what a day , is n't it ? yes !", "what a day, isn't it? yes!"),
    ],
)
def test_join_tokens_gives_what_people_write(tokens, written):
    assert join_tokens(tokens) == written
    assert join_tokens(written) == written


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Quelle vue ! Et toi ?",
        "it costs .50 or so",
        "wait ... what",
        "the letters 's' and 't'",
        "he wrote 6'' and `x`",
        "smile :) or ( or (not)",
        "a 5 - 3 win",
    ],
)
def test_join_tokens_leaves_what_people_may_have_written(text):
    assert join_tokens(text) == text
