from __future__ import annotations

import pytest
import torch

from models.style_lm import SIZES, StyleLM

PROMPTS = ([0, 5, 6], [0], [0, 9, 8, 7, 6])


def pack_of(*documents: list[int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ids, positions and mask of documents in one row."""
    ids = torch.tensor([[number for document in documents for number in document]])
    numbers = torch.cat([torch.full((len(document),), place) for place, document in enumerate(documents)])
    positions = torch.cat([torch.arange(len(document)) for document in documents])[None]
    causal = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool).tril()
    return ids, positions, (causal & numbers[:, None].eq(numbers))[None, None]


@pytest.mark.parametrize("changed", [0, 2])
def test_documents_of_a_pack_never_see_each_other(tiny_lm, changed):
    """One document is another one; the logits of the one between keep every bit."""
    lm, documents = tiny_lm(), [[0, 5, 6, 7, 1], [0, 8, 9, 10, 11, 12, 1], [0, 13, 14, 1]]
    with torch.no_grad():
        before = lm.logits(*pack_of(*documents))[0, 5:12]
        documents[changed] = [0, *(number + 9 for number in documents[changed][1:-1]), 1]
        after = lm.logits(*pack_of(*documents))[0]
    assert torch.equal(before, after[5:12])
    alone = lm.logits(torch.tensor([documents[1]]))[0]
    assert torch.allclose(before, alone, atol=1e-5)


def test_a_pack_without_the_mask_would_leak(tiny_lm):
    """What the test above could not tell from a mask, were the documents alike to the model."""
    lm, documents = tiny_lm(), [[0, 5, 6, 7, 1], [0, 8, 9, 10, 1]]
    ids, positions, _ = pack_of(*documents)
    everything = torch.ones(1, 1, 10, 10, dtype=torch.bool).tril()
    masked = lm.logits(*pack_of(*documents))[0, 5:]
    assert (lm.logits(ids, positions, everything)[0, 5:] - masked).abs().max() > 0.05


def test_positions_begin_again_with_each_document(tiny_lm):
    lm = tiny_lm()
    lm.logits(*pack_of([0, 5, 6, 1], [0, 8, 9, 1]))[0, 4:].sum().backward()
    moved = lm.network.transformer.wpe.weight.grad.abs().sum(1)
    assert (moved[:4] > 0).all()
    assert not moved[4:].any()


def test_log_probs_are_those_of_each_text_alone(tiny_lm, letters):
    lm, texts, styles = tiny_lm(), ["abc", "a long one here", ""], ["pirate", None, "Romantic"]
    found = lm.log_probs(texts, styles)
    assert found.shape == (3, 16)
    for row, (text, style) in enumerate(zip(texts, styles, strict=True)):
        prompt, ids = lm.prompt(style), [*letters.encode_batch([text])[0], 1]
        scores = lm.logits(torch.tensor([[*prompt, *ids]]))[0].log_softmax(-1)
        wanted = [scores[len(prompt) - 1 + place, number].item() for place, number in enumerate(ids)]
        assert found[row, : len(ids)].tolist() == pytest.approx(wanted, abs=1e-5)
        assert not found[row, len(ids) :].any()


def test_log_probs_of_ids_are_those_of_their_texts(tiny_lm, monkeypatch):
    lm, texts, styles = tiny_lm(), ["abc", "a long one here", "xyz"], [None, None, "pirate"]
    whole = lm.log_probs(texts, styles)
    monkeypatch.setattr("models.style_lm.model.LOGITS_AT_ONCE", 1)  # row by row
    assert torch.allclose(lm.log_probs(lm.encode(texts), styles), whole, atol=1e-6)
    assert lm.log_probs([], []).shape == (0, 1)


def test_log_probs_refuse_what_does_not_fit(tiny_lm):
    lm = tiny_lm()
    with pytest.raises(ValueError, match="2 texts and 1 styles"):
        lm.log_probs(["a", "b"], [None])
    with pytest.raises(ValueError, match="42 tokens: the language model has positions for 40"):
        lm.log_probs(["a" * 41], [None])
    with pytest.raises(ValueError, match="unknown style 'pirat'"):
        lm.log_probs(["a"], ["pirat"])


def test_steps_with_a_cache_say_what_the_whole_text_says(tiny_lm):
    """Prompts of three lengths; then rows are swapped, one is dropped and one is doubled."""
    lm = tiny_lm()
    steps, texts = lm.steps(PROMPTS, most=3), [list(prompt) for prompt in PROMPTS]
    for rows, tokens in [([0, 1, 2], [3, 4, 5]), ([2, 0], [6, 7]), ([1, 0, 0, 1], [8, 9, 10, 11])]:
        _check_steps(lm, steps, texts)
        steps.take(torch.tensor(rows), torch.tensor(tokens))
        texts = [[*texts[row], token] for row, token in zip(rows, tokens, strict=True)]
    _check_steps(lm, steps, texts)


def _check_steps(lm, steps, texts):
    with torch.no_grad():
        wanted = torch.stack([lm.logits(torch.tensor([text]))[0, -1].log_softmax(-1) for text in texts])
    assert torch.allclose(steps.log_probs, wanted, atol=1e-5)


def test_steps_of_equal_prompts_need_no_mask(tiny_lm):
    lm = tiny_lm()
    steps = lm.steps([[0, 5], [0, 6]], most=2)
    steps.take(torch.tensor([1, 0]), torch.tensor([7, 8]))
    _check_steps(lm, steps, [[0, 6, 7], [0, 5, 8]])


def test_entries_behind_the_tokenizer_are_never_written(tiny_lm, letters):
    lm = tiny_lm(vocab_size=64)
    assert lm.steps([[0, 5]], most=1).log_probs.shape == (1, len(letters))
    assert lm.steps([[0, 5]], most=1).log_probs.exp().sum().item() == pytest.approx(1.0)
    assert lm.log_probs(["ab"], [None]).exp().max() < 1


def test_steps_refuse_more_tokens_than_positions(tiny_lm):
    with pytest.raises(ValueError, match="41 tokens: the language model has positions for 40"):
        tiny_lm().steps([[0] * 38], most=4)


def test_neutral_style_has_no_code(tiny_lm, letters):
    lm = tiny_lm()
    assert lm.prompt(None) == lm.prompt("neutral") == [letters.bos_id]
    assert letters.decode(lm.prompt("PIRATE")).startswith("pirate")


def test_new_model_has_the_named_size_and_the_seed_decides_its_weights(letters):
    from preprocessors.text.styles import StyleRegistry

    first, again, other = (
        StyleLM.new(letters, StyleRegistry([]), size="nano", positions=33, seed=seed).network for seed in (1, 1, 2)
    )
    assert (first.config.n_embd, first.config.n_layer) == (SIZES["nano"]["n_embd"], SIZES["nano"]["n_layer"])
    assert first.config.vocab_size == len(letters)
    assert torch.equal(first.lm_head.weight, again.lm_head.weight)
    assert not torch.equal(first.lm_head.weight, other.lm_head.weight)
    with pytest.raises(ValueError, match="size 'huge': must be one of nano, tiny, medium, base, large"):
        StyleLM.new(letters, StyleRegistry([]), size="huge")
