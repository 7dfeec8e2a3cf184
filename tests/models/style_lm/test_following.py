"""Texts that another model grows: whatever becomes of their rows, scores are those of whole passes."""

from __future__ import annotations

import pytest
import torch

from models.style_lm.following import Following


def _whole(lm, prompt, text):
    """Over the whole text at once."""
    with torch.no_grad():
        return lm.logits(torch.tensor([[*prompt, *text]]))[0, -1].log_softmax(-1)


@pytest.fixture
def counted(tiny_lm, monkeypatch):
    """A language model, and the shapes (N, L) of all that it has read."""
    lm, shapes = tiny_lm(), []
    network = lm.network.forward

    def forward(input_ids, **given):
        shapes.append(tuple(input_ids.shape))
        return network(input_ids=input_ids, **given)

    monkeypatch.setattr(lm.network, "forward", forward)
    return lm, shapes


def test_beams_in_another_order_are_followed_and_read_a_token_at_a_time(counted):
    """Prompts of different lengths; beams are repeated, dropped and exchanged, only within their picture."""
    lm, shapes = counted
    prompts = [lm.prompt("pirate"), lm.prompt(None), lm.prompt("pirate")]
    following, generator = Following(lm, prompts), torch.Generator().manual_seed(0)
    texts = torch.zeros(9, 0, dtype=torch.int64)
    for step in range(6):
        found = following.log_probs(texts)
        for row, text in enumerate(texts.tolist()):
            assert torch.allclose(found[row], _whole(lm, prompts[row // 3], text), atol=1e-5), (step, row)
        parents = torch.randint(3, (3, 3), generator=generator) + torch.tensor([[0], [3], [6]])
        texts = torch.cat([texts[parents.flatten()], torch.randint(2, 29, (9, 1), generator=generator)], 1)
    read = [shape for shape in shapes if shape[0] > 1]
    assert read[0] == (2, len(prompts[0]))  # two pictures have the same style, and all their beams the same text
    assert {length for _, length in read[1:]} == {1}


def test_samples_that_have_ended_are_not_read_any_more(counted):
    lm, shapes = counted
    following, prompt = Following(lm, [lm.prompt("romantic")]), lm.prompt("romantic")
    texts = torch.tensor([[4, 5, 6, 7], [8, 1, -100, -100], [9, 10, 1, -100]])
    for length in range(5):
        found = following.log_probs(texts[:, :length])
        for row, text in enumerate(texts[:, :length].tolist()):
            expected = torch.zeros(30) if 1 in text else _whole(lm, prompt, text)
            assert torch.allclose(found[row], expected, atol=1e-5)
    assert [rows for rows, length in shapes if length == 1] == [3, 2, 1, 1]
    assert not following.log_probs(torch.tensor([[4, 1], [1, -100]])).any()


def test_texts_that_go_on_from_none_are_read_from_their_beginning(tiny_lm):
    """Another prefix, the same length again, and a step that is left out."""
    lm = tiny_lm()
    following, prompt = Following(lm, [lm.prompt("pirate")]), lm.prompt("pirate")
    for text in ([3, 4], [3, 4], [5, 6], [5, 6, 7], [5, 7, 8, 9], [5, 7, 8, 9, 3, 4], []):
        found = following.log_probs(torch.tensor([text], dtype=torch.int64).reshape(1, -1))
        assert torch.allclose(found[0], _whole(lm, prompt, text), atol=1e-5)


def test_text_beyond_the_positions_is_refused_though_it_is_followed(tiny_lm):
    lm = tiny_lm(n_positions=10)
    following, length = Following(lm, [lm.prompt("pirate")]), 10 - len(lm.prompt("pirate"))
    for end in range(length + 1):
        following.log_probs(torch.full((2, end), 5))
    with pytest.raises(ValueError, match="has positions for 10"):
        following.log_probs(torch.full((2, length + 1), 5))
