from __future__ import annotations

import pytest
import torch

from models.ofa.cache import OFACache
from models.rules import CaptionRules

BOS, PAD, EOS = 0, 1, 2


@pytest.fixture(scope="module")
def model(tiny_ofa):
    return tiny_ofa(3)


@pytest.fixture
def inputs(tiny_inputs) -> dict[str, torch.Tensor]:
    return tiny_inputs(6)


def test_cached_steps_give_the_logits_of_the_whole_caption(model, inputs):
    tokens = torch.randint(4, 67, (3, 7), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        whole = model(**inputs, decoder_input_ids=tokens).logits
        encoded, cache = model.encoder(**inputs), OFACache(capacity=7)
        steps = [
            model(decoder_input_ids=tokens[:, t, None], encoder_outputs=encoded, past_key_values=cache).logits
            for t in range(7)
        ]
    torch.testing.assert_close(torch.cat(steps, 1), whole, rtol=1e-4, atol=1e-5)


def test_several_captions_per_image_give_the_logits_of_repeated_images(model, inputs):
    """K rows share the encoder's row; repeating image and prompt K times must give the same, gradients included."""
    tokens = torch.randint(4, 67, (6, 5), generator=torch.Generator().manual_seed(2))
    gradients = []
    for repeated in (False, True):
        model.zero_grad()
        given = {key: value.repeat_interleave(2, 0) for key, value in inputs.items()} if repeated else inputs
        logits = model(encoder_outputs=model.encoder(**given), decoder_input_ids=tokens).logits
        logits.logsumexp(-1).sum().backward()
        gradients.append((logits.detach(), model.encoder.image_proj.weight.grad.clone()))
    torch.testing.assert_close(gradients[0][0], gradients[1][0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gradients[0][1], gradients[1][1], rtol=1e-3, atol=1e-4)


def test_padding_of_prompt_and_batch_order_do_not_change_captions(model, inputs):
    padded = inputs | {"input_ids": torch.nn.functional.pad(inputs["input_ids"], (0, 5), value=PAD)}
    shuffled = {key: value[[2, 0, 1]] for key, value in inputs.items()}
    alone = [model.generate(**{key: value[i, None] for key, value in inputs.items()}, num_beams=3) for i in range(3)]
    together = model.generate(**inputs, num_beams=3)
    for i, sequence in enumerate(alone):
        length = sequence.shape[1]
        assert torch.equal(together[i, :length], sequence[0])
        assert torch.equal(model.generate(**padded, num_beams=3)[i, :length], sequence[0])
        assert torch.equal(model.generate(**shuffled, num_beams=3)[[1, 2, 0][i], :length], sequence[0])


def _log_prob(model, inputs, row: int, tokens: list[int]) -> float:
    """Sum of log p of tokens after BOS, from one forward pass without cache."""
    one = {key: value[row, None] for key, value in inputs.items()}
    decoder_input_ids = torch.tensor([[BOS, *tokens[:-1]]])
    with torch.no_grad():
        log_probs = model(**one, decoder_input_ids=decoder_input_ids).logits.log_softmax(-1)
    return log_probs[0, range(len(tokens)), tokens].sum().item()


def test_beam_scores_are_mean_log_probabilities_with_eos(model, inputs):
    generated = model.generate(
        **inputs, num_beams=4, max_length=9, return_dict_in_generate=True, output_scores=True, num_return_sequences=4
    )
    for index, sequence in enumerate(generated.sequences.tolist()):
        tokens = sequence[1 : sequence.index(EOS) + 1]
        score = _log_prob(model, inputs, index // 4, tokens) / len(tokens)
        assert generated.sequences_scores[index].item() == pytest.approx(score, abs=1e-4)


def test_encoder_runs_once_and_cross_attention_keys_are_kept_per_image(model, inputs, monkeypatch):
    encoded, projected = [], []
    key_value = model.decoder.layers[0].cross_attn.key_value

    def record(hidden):
        projected.append(hidden.shape[0])
        return key_value(hidden)

    monkeypatch.setattr(model.decoder.layers[0].cross_attn, "key_value", record)
    hook = model.encoder.register_forward_hook(lambda module, args, output: encoded.append(len(args)))
    model.generate(**inputs, num_beams=5, max_length=10)
    hook.remove()
    assert len(encoded) == 1
    assert projected == [3]


def test_sampling_draws_several_captions_per_image_within_the_text_vocabulary(model, inputs):
    model.config.text_vocab_size = 20
    try:
        torch.manual_seed(0)
        drawn = model.generate(**inputs, do_sample=True, num_return_sequences=4, max_length=8)
    finally:
        model.config.text_vocab_size = 67
    assert drawn.shape[0] == 12
    assert drawn.max() < 20
    assert len({tuple(row) for row in drawn[:4].tolist()}) > 1


def test_generate_with_a_foreign_cache_is_refused(model, inputs):
    from transformers import DynamicCache

    with pytest.raises(ValueError, match="past_key_values is a DynamicCache; OFA generates with an OFACache"):
        model.generate(**inputs, past_key_values=DynamicCache())


def _rules(**changes) -> CaptionRules:
    defaults = {"min_length": 2, "max_length": 5, "force_eos": True, "no_repeat_ngram_size": 2}
    return CaptionRules(pad_token_id=PAD, eos_token_id=EOS, **defaults | changes)


def test_caption_rules_ban_pad_and_early_eos():
    scores = _rules()(torch.tensor([[BOS]]), torch.zeros(1, 6))
    assert scores.tolist() == [[0, -torch.inf, -torch.inf, 0, 0, 0]]


def test_caption_rules_keep_the_score_of_a_forced_eos():
    scores = _rules()(torch.tensor([[BOS, 3, 4, 5]]), torch.tensor([[-1.0, -1, -7, -1, -1, -1]]))
    assert scores.tolist() == [[-torch.inf, -torch.inf, -7, -torch.inf, -torch.inf, -torch.inf]]


def test_caption_rules_ban_the_token_that_would_repeat_a_bigram():
    # "4 5 4": another 5 would repeat "4 5"; "3 3": another 3 would repeat "3 3".
    scores = _rules(max_length=9)(torch.tensor([[4, 5, 4], [5, 3, 3]]), torch.zeros(2, 6))
    assert scores.isinf().nonzero().tolist() == [[0, PAD], [0, 5], [1, PAD], [1, 3]]


def test_caption_rules_leave_the_given_scores_alone_unless_told():
    given = torch.zeros(1, 6)
    _rules()(torch.tensor([[BOS]]), given)
    assert given.abs().max() == 0
    _rules(in_place=True)(torch.tensor([[BOS]]), given)
    assert given[0, PAD] == -torch.inf


def test_no_repeat_ngram_equals_the_librarys_processor():
    from transformers import NoRepeatNGramLogitsProcessor

    generator = torch.Generator().manual_seed(0)
    for size in (1, 2, 3):
        tokens = torch.randint(3, 6, (40, 9), generator=generator)
        ours = _rules(no_repeat_ngram_size=size, max_length=30)(tokens, torch.zeros(40, 6))
        theirs = NoRepeatNGramLogitsProcessor(size)(tokens, torch.zeros(40, 6))
        ours[:, PAD] = 0
        assert torch.equal(ours, theirs)
