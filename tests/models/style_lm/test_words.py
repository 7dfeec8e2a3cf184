from __future__ import annotations

import math

import pytest
import torch

from models.style_lm.words import Continuation, Entries, grow, next_words


def _log_probs(lm, text):
    """Of what follows, over all of it."""
    with torch.no_grad():
        return lm.logits(torch.tensor([text]))[0, -1].log_softmax(-1)


class Script:
    """In place of a model's steps: what follows depends on the last token alone."""

    def __init__(self, following: dict[int, list[float]], prompts):
        self.following, self.last = following, [prompt[-1] for prompt in prompts]

    @property
    def logits(self) -> torch.Tensor:
        return torch.tensor([self.following[number] for number in self.last])

    def take(self, rows, token_ids):
        assert all(row < len(self.last) for row in rows.tolist())
        self.last = token_ids.tolist()


class Scripted:
    device = torch.device("cpu")

    def __init__(self, tokenizer, following):
        self.tokenizer, self.following = tokenizer, following

    def steps(self, prompts, most):
        return Script(self.following, prompts)


class Pieces:
    """Eight entries, of which two begin words and one is EOS."""

    bos_id, eos_id, pieces = 0, 1, ["", "", " c", " d", "at", "og", "."]

    def __len__(self):
        return len(self.pieces)

    def decode(self, token_ids):
        return "".join(self.pieces[number] for number in token_ids)


def test_entries_that_start_words_are_those_with_white_space_first():
    assert Entries(Pieces()).starts.tolist() == [False, False, True, True, False, False, False]


def test_entries_are_found_by_what_they_begin_with():
    tokenizer = Pieces()
    tokenizer.pieces = ["", "a", "at", "b", "ate", "a", "", "au"]
    entries = Entries(tokenizer)
    assert sorted(entries.longer_than("a")) == [2, 4, 7]
    assert entries.longer_than("ate") == entries.longer_than("c") == entries.longer_than("") == []


def test_next_words_are_begun_by_the_likeliest_and_gone_on_with_to_their_ends():
    """Behind BOS " d", then " c", then the end, "at" being likelier and no beginning; "d" "og" ends before " c"."""
    likely = {0: [0, 1, 2, 3, 9, 0, 0], 3: [0, 0, 0, 0, 0, 9, 0], 5: [0, 0, 9, 0, 0, 0, 0]}
    likely |= {2: [0, 0, 0, 0, 9, 0, 0], 4: [0, 0, 0, 0, 0, 0, 9], 6: [0, 9, 0, 0, 0, 0, 0], 1: [0.0] * 7}
    lm = Scripted(Pieces(), {key: [float(number) for number in row] for key, row in likely.items()})
    assert next_words(lm, [[0], [9, 0]], 3, Entries(Pieces())) == [["dog", "cat.", ""]] * 2


def test_next_words_of_a_model_equal_those_of_whole_passes(tiny_lm, letters):
    """With letters each word is begun by white space; each is grown by passes over all of it."""
    lm, entries = tiny_lm(initializer_range=0.1), Entries(letters)
    prompt, wanted = [0, 5, 6], []
    for token in [1, *entries.starts.nonzero()[:, 0].tolist()]:
        text, log_prob = [*prompt, token], _log_probs(lm, prompt)[token].item()
        while text[-1] != 1 and len(text) < len(prompt) + 8:
            score, best = _log_probs(lm, text).max(-1)
            if best == 1 or entries.starts[best] and letters.decode(text[len(prompt) :]).strip():
                break
            text.append(int(best))
            log_prob += score.item()
        wanted.append((-log_prob, letters.decode(text[len(prompt) :]).strip()))
    assert next_words(lm, [prompt, [0]], 3, entries)[0] == [word for _, word in sorted(wanted)]
    assert max(len(word) for _, word in wanted) > 1


def test_word_of_an_unlikely_token_stands_behind_one_that_is_surer():
    """ " c" has 0.6 and " d" 0.4, but a third of " c" goes on with "at", and all of " d" with "og"."""
    never = -40.0
    likely = {0: [never, never, math.log(0.6), math.log(0.4), never, never, never]}
    likely |= {2: [never, never, never, never, 0.01, 0.0, 0.0], 3: [never, never, never, never, never, 0.0, never]}
    likely |= {last: [never, 0.0, never, never, never, never, never] for last in (4, 5)}
    assert next_words(Scripted(Pieces(), likely), [[0]], 2, Entries(Pieces()))[0] == ["dog", "cat"]


def test_grown_continuations_have_their_words_and_no_part_of_the_next():
    """ " d" "og" " d" "og" ... for ever; a score counts the first word alone, and what has ended stays as it was."""
    steps = Script({3: [0, 0, 0, 0, 0, 9, 0], 5: [0, 0, 0, 9, 0, 0, 0]}, [[0], [0]])
    found = [Continuation(1, [3], -1.0), Continuation(0, [1], -2.0, ended=True), Continuation(0, [3], -3.0)]
    grow(steps, found, Entries(Pieces()), words=2, most=9)
    surely = torch.tensor([0.0, 0, 0, 0, 0, 9, 0]).log_softmax(-1)[5].item()
    assert [one.tokens for one in found] == [[3, 5, 3, 5], [1], [3, 5, 3, 5]]
    assert [one.score for one in found] == pytest.approx([-1.0 + surely, -2.0, -3.0 + surely])
    assert all(one.ended for one in found)
    cut = Continuation(0, [3], -1.0)
    grow(Script(steps.following, [[0]]), [cut], Entries(Pieces()), words=2, most=3)
    assert (cut.tokens, cut.ended) == ([3, 5, 3], False)
