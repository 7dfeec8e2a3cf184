from __future__ import annotations

import torch

from models.style_lm.words import next_words, word_starts


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


def test_word_starts_are_the_entries_with_white_space_first():
    assert word_starts(Pieces()).tolist() == [False, False, True, True, False, False, False]


def test_next_words_are_begun_by_the_likeliest_and_gone_on_with_to_their_ends():
    """Behind BOS " d", then " c", then the end, "at" being likelier and no beginning; "d" "og" ends before " c"."""
    likely = {0: [0, 1, 2, 3, 9, 0, 0], 3: [0, 0, 0, 0, 0, 9, 0], 5: [0, 0, 9, 0, 0, 0, 0]}
    likely |= {2: [0, 0, 0, 0, 9, 0, 0], 4: [0, 0, 0, 0, 0, 0, 9], 6: [0, 9, 0, 0, 0, 0, 0], 1: [0.0] * 7}
    lm = Scripted(Pieces(), {key: [float(number) for number in row] for key, row in likely.items()})
    assert next_words(lm, [[0], [9, 0]], 3, word_starts(Pieces())) == [["dog", "cat.", ""]] * 2


def test_next_words_of_a_model_equal_those_of_whole_passes(tiny_lm, letters):
    """With letters each word is begun by white space; each is grown by passes over all of it."""
    lm, starts = tiny_lm(initializer_range=0.1), word_starts(letters)
    prompt = [0, 5, 6]
    first = lm.logits(torch.tensor([prompt]))[0, -1]
    wanted = []
    for token in sorted([1, *starts.nonzero()[:, 0].tolist()], key=lambda number: -first[number]):
        text = [*prompt, token]
        while text[-1] != 1 and len(text) < len(prompt) + 8:
            best = int(lm.logits(torch.tensor([text]))[0, -1].argmax())
            if best == 1 or starts[best]:
                break
            text.append(best)
        wanted.append(letters.decode(text[len(prompt) :]).strip())
    assert next_words(lm, [prompt, [0]], 3, starts)[0] == wanted
    assert max(map(len, wanted)) > 1
