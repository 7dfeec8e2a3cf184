from __future__ import annotations

import math

import pytest
import torch

from captioning.completion import Completion, Pieces, split_typed
from captioning.model import CaptionModel
from tests.memorised_model import LEARNT


class Tokenizer:
    """Two ends of words, four words with their space, and the end."""

    eos_token_id = 0
    entries = (b"", b"cat", b" cat", b" sleeps", b"s", b" ", b"")

    def pieces(self):
        return self.entries


class Scripted:
    """The next token's chances by what was said; what is not named has none."""

    def __init__(self, script):
        self.script, self.said = script, [b""]
        self._look()

    def take(self, rows, token_ids):
        pairs = zip(rows.tolist(), token_ids.tolist(), strict=True)
        self.said = [self.said[row] + Tokenizer.entries[token] for row, token in pairs]
        self._look()

    def _look(self):
        self.log_probs = torch.tensor([self.script.get(said, [1.0] + [0.0] * 6) for said in self.said]).log()


def _complete(script, typed, *, at_start=False, num=3, words=1):
    search = Completion(Pieces(Tokenizer()), typed, at_start=at_start, num=num, words=words)
    return search.run(Scripted(script), search.most_tokens), search.found


def test_what_is_no_text_is_no_continuation(monkeypatch):
    monkeypatch.setattr(Tokenizer, "entries", (b"", "\N{SNOWMAN}".encode()[:2], b" cat", b"\x1b", b"s", b" ", b""))
    script = {b"": [0, 0.4, 0.2, 0.4, 0, 0, 0]}
    assert _complete(script, "")[0] == [" cat"]


def test_continuations_have_the_chances_of_their_words_and_of_what_ends_them():
    """A cat, cats by two ways, or sleep: each word counts with the chance that nothing more belongs to it."""
    script = {
        b"": [0.1, 0, 0.6, 0.3, 0, 0, 0],
        b" cat": [0.5, 0, 0, 0.1, 0.4, 0, 0],
        b" cats": [0.2, 0, 0, 0.8, 0, 0, 0],
    }
    texts, found = _complete(script, "")
    assert texts == [" cat", " sleeps", " cats"]
    chances = {text: math.exp(value) for text, value in found.items()}
    assert chances == pytest.approx({" cat": 0.6 * 0.6, " sleeps": 0.3, " cats": 0.6 * 0.4})


def test_half_typed_word_may_be_cut_into_tokens_in_any_way():
    """``ca`` may become one token, and a space may be one of its own; the tokens that do not fit have no say."""
    script = {
        b"": [0.3, 0, 0.05, 0.6, 0, 0.05, 0],
        b" ": [0, 1.0, 0, 0, 0, 0, 0],
        b" cat": [0.3, 0, 0, 0.7, 0, 0, 0],
    }
    texts, found = _complete(script, " ca")
    assert texts == ["t"]
    assert math.exp(found["t"]) == pytest.approx(0.1)


@pytest.mark.parametrize(("rare", "texts"), [(0.005, [" cat"]), (0.02, [" cat", " sleeps"])])
def test_continuation_that_hardly_ever_comes_is_left_out(rare, texts):
    """Less than a hundredth of what the likeliest has."""
    assert _complete({b"": [0, 0, 1 - rare, rare, 0, 0, 0]}, "")[0] == texts


def test_caption_that_has_likely_ended_gets_no_continuation():
    ended = {b"": [0, 0, 1.0, 0, 0, 0, 0], b" cat": [0.6, 0, 0, 0.4, 0, 0, 0]}
    assert _complete(ended, " cat")[0] == []
    goes_on = ended | {b" cat": [0.4, 0, 0, 0.6, 0, 0, 0]}
    assert _complete(goes_on, " cat")[0] == [" sleeps"]


def test_first_word_comes_without_its_space():
    script = {b"": [0, 0.2, 0.8, 0, 0, 0, 0], b"cat": [0, 0, 0, 1.0, 0, 0, 0], b" cat": [0, 0, 0, 1.0, 0, 0, 0]}
    for typed, expected in (("", ["cat sleeps"]), ("c", ["at sleeps"])):
        assert _complete(script, typed, at_start=True, words=2)[0] == expected


@pytest.mark.parametrize(
    ("text", "cleaned", "parts"),
    [
        ("", "", ("", "")),
        ("   ", "", ("", "")),
        ("th", "th", ("", "th")),
        ("the cat", "the cat", ("the", " cat")),
        ("the cat ", "the cat", ("the cat", " ")),
        ("the, cat", "the cat", ("the", " cat")),
    ],
)
def test_typed_text_is_split_before_its_last_word(text, cleaned, parts):
    assert split_typed(text, cleaned) == parts


@pytest.fixture(scope="module")
def model(memorised) -> CaptionModel:
    return CaptionModel.open(memorised, device="cpu")


@pytest.mark.parametrize("style", ["pirate", "robot"])
def test_every_beginning_of_a_learnt_caption_is_completed_with_its_next_word(model, style):
    caption, picture = LEARNT[style], torch.full((3, 32, 32), 90, dtype=torch.uint8)
    for end in range(len(caption)):
        text, rest = caption[:end], caption[end:]
        found = model.complete(text, picture, style, words=1)
        first = rest.split()[0]
        wanted = f" {first}" if rest.startswith(" ") else first
        assert wanted in found, text
        assert len(found) == len({*found}) <= 5
    assert model.complete(caption, picture, style) == []


def test_pieces_of_a_text_are_its_bytes_and_what_is_looked_up_by_beginnings_is_found(model):
    tokenizer, pieces = model._captioner.tokenizer, Pieces(model._captioner.tokenizer)
    text = " the captain\N{SMILING FACE WITH SUNGLASSES} buriéd"
    assert b"".join(pieces.bytes_of[token] for token in tokenizer.encode_text(text)) == text.encode()
    assert not any(pieces.bytes_of[token] for token in tokenizer.all_special_ids)
    by_hand = [number for number, piece in enumerate(pieces.bytes_of) if piece.startswith(b" ca")]
    assert sorted(pieces.beginning_with(b" ca")) == by_hand
    assert {pieces.bytes_of[number] for number in by_hand} >= {b" captain"}
    within = [number for number, piece in enumerate(pieces.bytes_of) if piece and b" capt".startswith(piece)]
    assert sorted(pieces.within(b" capt")) == [number for number in within if pieces.bytes_of[number] != b" capt"]


def test_completion_appends_so_many_words_and_is_the_caption_where_it_is_sure(model):
    picture = torch.full((3, 32, 32), 90, dtype=torch.uint8)
    for words in (1, 2, 3):
        found = model.complete("the captain", picture, "pirate", num=1, words=words)
        assert found == [" " + " ".join(["buried", "treasure", "on"][:words])]
    assert model.complete("the captain buried treasure on an", picture, "pirate", num=1) == [" island"]


def test_completion_looks_at_a_picture_once_however_many_keys_are_pressed(memorised):
    model, passed = CaptionModel.open(memorised, device="cpu"), []
    (vision,) = model._captioner.parts()["vision"]
    vision.register_forward_hook(lambda *_: passed.append(1))
    for text in ("t", "th", "the"):
        model.complete(text, torch.full((3, 32, 32), 90, dtype=torch.uint8), "pirate")
    assert len(passed) == 1


def test_completion_of_a_word_longer_than_the_model_has_positions_finds_nothing(model):
    assert model.complete("x" * 1500, torch.full((3, 32, 32), 90, dtype=torch.uint8), "pirate") == []


@pytest.mark.parametrize("numbers", [{"num": 0}, {"words": 0}])
def test_completion_of_nothing_is_refused(model, numbers):
    with pytest.raises(ValueError, match=r"num=\d, words=\d: both must be at least 1"):
        model.complete("the", torch.zeros(3, 32, 32, dtype=torch.uint8), "pirate", **numbers)
