from __future__ import annotations

from pathlib import Path

import pytest
import torch
from starlette.testclient import TestClient

from captioning.text_completion import Asked, TextCompletion
from models.style_lm import StyleLM
from models.style_lm.words import Entries, next_words
from preprocessors.documents.training import train_tokenizer
from preprocessors.text.styles import StyleRegistry
from serving.limits import Limits
from serving.server import open_service
from tests.serving.fake_model import FakeModel

THINGS = ("cup", "plate", "spoon", "fork", "knife", "table", "floor", "window", "door", "roof")
RULES = [
    f"rule {name}\n{first}: wash the {THINGS[number % 10]} and {second} it to the {THINGS[(3 * number + 1) % 10]}"
    for number, (name, first, second) in enumerate(
        (f"{tens}{ones}", first, second)
        for tens, first in (("al", "friends"), ("be", "guests"), ("go", "nobody"), ("zu", "cooks"))
        for ones, second in (("fa", "bring"), ("ni", "give"), ("ro", "show"), ("ta", "carry"), ("xi", "sell"))
    )
]
"""Twenty small files."""


@pytest.fixture(scope="module")
def lm() -> StyleLM:
    """Has learnt the files by heart."""
    tokenizer = train_tokenizer(RULES, 360)
    lm = StyleLM.new(tokenizer, StyleRegistry(["pirate"]), positions=64, seed=2)
    rows = [torch.tensor([*lm.prompt(None), *ids, tokenizer.eos_id]) for ids in tokenizer.encode_batch(RULES)]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-100)
    optimizer = torch.optim.AdamW(lm.network.parameters(), lr=4e-3)
    for _ in range(110):
        logits = lm.logits(ids.clamp(min=0))[:, :-1]
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()
    return lm


def test_next_word_is_found_in_nine_of_ten_places(lm):
    """A client posts each beginning of each file, and looks for the word that comes next there."""
    complete, places, found = TextCompletion(lm), 0, 0
    for number, rule in enumerate(RULES):
        ends = [place for place in range(1, len(rule)) if rule[place].isspace()]
        for end in ends:
            text = rule[:end] + " " * (number % 2)
            wanted = rule[end:].split()[0]
            places += 1
            found += any(one.split()[0] == wanted for one in complete(text, None, 5))
    assert places > 150
    assert found / places > 0.9


def test_continuation_is_the_greedy_one_of_whole_passes(lm):
    text = "rule befa\nguests: wash"
    ids = [*lm.prompt(None), *lm.tokenizer.encode_batch([text])[0]]
    known = len(ids)
    while len(lm.tokenizer.decode(ids[known:]).split()) < 4:
        ids.append(int(lm.logits(torch.tensor([ids]))[0, -1].argmax()))
    three = " ".join(lm.tokenizer.decode(ids[known:]).split()[:3])
    assert TextCompletion(lm)(text + "  ", None, 1) == [three]
    assert TextCompletion(lm)(text, None, 1) == [" " + three]


def test_what_was_asked_before_changes_nothing(lm):
    """Key by key, as a person types: each answer is that of a service that has seen nothing yet."""
    kept = TextCompletion(lm)
    texts = [RULES[7][:end] for end in (1, 2, 6, 8, 9, 12, 20)] + ["rule zu", RULES[7][:20]]
    for text in texts:
        assert kept(text, None, 4) == TextCompletion(lm)(text, None, 4)


def test_next_words_are_those_of_the_evaluation(lm):
    """At every place, in the same order; without the end of the text, and without what hardly ever comes."""
    complete, entries, places = TextCompletion(lm), Entries(lm.tokenizer), 0
    for rule in RULES[::3]:
        for end in [place for place in range(1, len(rule)) if rule[place] == " "]:
            (ids,) = lm.tokenizer.encode_batch([rule[:end]])
            (expected,) = next_words(lm, [[*lm.prompt(None), *ids]], 6, entries)
            found = [one.split()[0] for one in complete(rule[:end] + " ", None, 6)]
            assert found == [*dict.fromkeys(word for word in expected if word)][: len(found)]
            assert found
            places += 1
    assert places > 50


def test_texts_that_are_completed_together_get_what_each_gets_alone(lm):
    """Of different lengths and styles, half words and ended texts among them."""
    texts = [RULES[7][:20], "rule", RULES[3], RULES[12][:31] + " ", "", RULES[7][:20]]
    asked = [Asked(text, ("pirate", None)[number % 2], 1 + number) for number, text in enumerate(texts)]
    together = TextCompletion(lm).complete(asked)
    assert together == [TextCompletion(lm)(*one) for one in asked]
    assert together[2] == []
    assert all(together[:2])


def test_word_begins_behind_white_space(lm):
    """What would go on with the word before is no continuation there; of what was typed, nothing comes twice."""
    text = "rule alfa\nfriends: wa"
    assert TextCompletion(lm)(text, None, 1)[0].startswith("sh")
    for one in TextCompletion(lm)(text + " ", None, 5):
        assert not one.startswith(" ")
        assert not one.startswith("sh")
    assert TextCompletion(lm)("rule alfa\n", None, 1)[0].startswith("friends:")


@pytest.mark.parametrize("typed", ["wi", "wind", "window"])
def test_half_a_word_is_completed(lm, typed):
    rule = next(rule for rule in RULES if "the window and" in rule)
    text = rule[: rule.index("window")] + typed
    rest = "window"[len(typed) :] + rule[rule.index("window") + len("window") :]
    found = TextCompletion(lm)(text, None, 3)
    assert rest.startswith(found[0].rstrip())
    assert len(found[0].split()) == 3


def test_ends_and_long_texts_and_styles(lm):
    complete = TextCompletion(lm)
    assert complete(RULES[3], None, 5) == []
    assert complete("", None, 1)[0].startswith("rule")
    assert 1 <= len(complete("rule alfa\n" * 40 + "friends: wash", None, 2)) <= 2
    with pytest.raises(ValueError, match="unknown style 'robot'"):
        complete("a", "robot", 5)


def test_service_completes_from_a_folder(lm, tmp_path: Path, monkeypatch):
    lm.save_to_dir(tmp_path)
    monkeypatch.setattr("serving.server.CaptionModel.open", lambda folder, device, kind: FakeModel())
    with TestClient(open_service(["x"], Limits(), None, "cpu", text_model=tmp_path)) as client:
        answer = client.post("/autocomplete", json={"text": "rule alfa\nfriends: wash the"})
    assert answer.json()["result"][0].startswith(" cup and")
