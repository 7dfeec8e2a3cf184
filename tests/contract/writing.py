"""Clauses of a captioner about the captions that it writes."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from preprocessors.collator import IGNORE_INDEX
from tests.contract.clauses import Clause, require
from tests.contract.scoring import CLOSE, drawable, require_close
from tests.contract.subject import Subject

LENGTH = 6
"""Tokens that captions have here at most."""
DRAWS = 2048
"""First tokens that are counted: enough for shares to be within 5 points of chances, whichever way they are drawn."""

AT_ONCE = 256
"""Of these, so that no vocabulary fills the memory."""


def _check_form(subject: Subject, token_ids: Tensor, rows: int, most: int) -> None:
    """Refuse ids that are none of a caption's, or anything but ``IGNORE_INDEX`` behind EOS."""
    require(token_ids.dtype == torch.int64 and token_ids.ndim == 2, "captions are not int64 of two dimensions")
    require(len(token_ids) == rows, f"there are {len(token_ids)} captions, not {rows}")
    require(token_ids.shape[1] <= most, f"captions have up to {token_ids.shape[1]} tokens, and at most {most} may be")
    ended = token_ids.eq(subject.captioner.tokenizer.eos_token_id).cumsum(1) - 1
    behind = ended.ge(0) & token_ids.ne(subject.captioner.tokenizer.eos_token_id)
    require((token_ids[behind] == IGNORE_INDEX).all(), "behind EOS stands something else than -100")
    require((token_ids[~behind] >= 0).all(), "-100 stands before EOS")


def _same(a: Tensor, b: Tensor) -> bool:
    """Whether captions are the same, however far they are filled up."""
    width = max(a.shape[1], b.shape[1])
    filled = [torch.nn.functional.pad(part, (0, width - part.shape[1]), value=IGNORE_INDEX) for part in (a, b)]
    return torch.equal(*filled)


def _repeatable(subject: Subject) -> None:
    encoded, uniforms = subject.encode(), subject.uniforms(2, 3, LENGTH)
    found = subject.captioner.sample(encoded, uniforms)
    _check_form(subject, found, 6, LENGTH)
    require(_same(found, subject.captioner.sample(encoded, uniforms)), "equal random numbers gave other captions")
    alone = subject.captioner.sample(subject.encode((1, subject.styles[1])), uniforms[1:])
    require(_same(found[3:], alone), "what else is in the batch changes the captions of a picture")
    scores = drawable(subject, encoded, found)
    never = scores.gather(-1, found.clamp(min=0)[..., None])[..., 0].isinf() & found.ge(0)
    require(not never.any(), "a token was drawn that the drawable logits rule out")


def _chances(subject: Subject, temperature: float = 1.0) -> Tensor:
    """Of the first token of a caption, float64 (V',)."""
    encoded = subject.encode((0, subject.styles[0]))
    first = drawable(subject, encoded, subject.captions(1)[:1])[0, 0]
    return (first.double() / temperature).softmax(-1)


def _first_tokens(subject: Subject, **how: float) -> Tensor:
    encoded = subject.encode((0, subject.styles[0]))
    few = subject.uniforms(1, DRAWS, 1).split(AT_ONCE, 1)
    return torch.cat([subject.captioner.sample(encoded, uniforms, **how)[:, 0] for uniforms in few])


def _as_likely(subject: Subject) -> None:
    for temperature in (1.0, 0.5):
        chances = _chances(subject, temperature)
        found = torch.bincount(_first_tokens(subject, temperature=temperature), minlength=len(chances))
        require(len(found) == len(chances), "a token was drawn that has no chance")
        order = chances.argsort(descending=True)
        for half in (order[::2], order[1::2], order[: len(order) // 10], order[: len(order) // 2]):
            wanted, drawn = float(chances[half].sum()), float(found[half].sum()) / DRAWS
            what = f"of {DRAWS} draws at temperature {temperature:g}, {drawn:.0%} are among tokens"
            require(abs(wanted - drawn) < 0.05, f"{what} that have chances of {wanted:.0%} together")


def _nucleus(subject: Subject) -> None:
    chances = _chances(subject)
    ordered, order = chances.sort(descending=True)
    before = ordered.cumsum(0) - ordered
    nucleus = order[before < 0.3 + CLOSE]
    drawn = _first_tokens(subject, top_p=0.3)
    outside = ~torch.isin(drawn, nucleus)
    require(not outside.any(), f"with top_p=0.3, {float(outside.double().mean()):.0%} of the draws lie outside")


def _greedy(subject: Subject) -> None:
    encoded, uniforms = subject.encode(), subject.uniforms(2, 2, LENGTH)
    found = subject.captioner.sample(encoded, uniforms, with_greedy=True)
    _check_form(subject, found, 6, LENGTH)
    rows = found.view(2, 3, -1)
    plain = subject.captioner.sample(encoded, uniforms)
    require(_same(rows[:, :2].flatten(0, 1), plain), "the greedy caption changes those that are drawn")
    greedy = rows[:, 2]
    scores = drawable(subject, encoded, greedy)
    chosen = scores.gather(-1, greedy.clamp(min=0)[..., None])[..., 0]
    short = (scores.amax(-1) - chosen)[greedy.ge(0)].max()
    require(short <= CLOSE, f"a token of the greedy caption is {short:.3g} less likely than the likeliest")


def _guided(subject: Subject) -> None:
    neutral = subject.registry.neutral
    styled, plain = subject.encode((0, subject.styles[0])), subject.encode((0, neutral))
    uniforms = subject.uniforms(1, 4, LENGTH)
    sample = subject.captioner.sample
    by = {weight: sample(styled, uniforms, guidance=weight, neutral=plain) for weight in (0.0, 1.0, 8.0)}
    require(_same(by[1.0], sample(styled, uniforms)), "guidance 1 is not as none")
    require(_same(by[0.0], sample(plain, uniforms)), "guidance 0 is not as the neutral prompt alone")
    require(not _same(by[8.0], by[1.0]), "guidance 8 changes nothing")


def _prefixed(subject: Subject) -> None:
    encoded, prefix = subject.encode(), subject.captions(1)[0, :2].tolist()
    drawn = subject.captioner.sample(encoded, subject.uniforms(2, 2, LENGTH), prefix=prefix)
    found = subject.captioner.beams(encoded, subject.settings.decoding, prefix=prefix)
    for how, token_ids in (("drawn", drawn), ("found", found)):
        require(
            (token_ids[:, :2] == token_ids.new_tensor(prefix)).all(), f"captions {how} do not begin with the prefix"
        )


@torch.no_grad()
def _steps(subject: Subject) -> None:
    prefix = subject.captions(1)[0, :2].tolist()
    encoded = subject.encode((0, subject.styles[0]))
    steps = subject.captioner.steps(encoded, prefix, 3)
    likeliest = steps.log_probs[0].argsort(descending=True)[:2]
    _check_next(subject, steps.log_probs, [prefix])
    steps.take(likeliest.new_tensor([0, 0]), likeliest)
    grown = [[*prefix, token] for token in likeliest.tolist()]
    _check_next(subject, steps.log_probs, grown)
    steps.take(likeliest.new_tensor([1, 0]), likeliest)
    _check_next(subject, steps.log_probs, [[*grown[1], int(likeliest[0])], [*grown[0], int(likeliest[1])]])


def _check_next(subject: Subject, found: Tensor, beginnings: list[list[int]]) -> None:
    token_ids = torch.tensor(beginnings, device=subject.captioner.device)
    captions = torch.cat([token_ids, token_ids[:, -1:]], 1)  # the last token is asked for, and what it is is no matter
    encoded = subject.encode(*[(0, subject.styles[0])] * len(captions))
    wanted = drawable(subject, encoded, captions)[:, -1].log_softmax(-1)
    require_close(found, wanted, f"log_probs of steps after {len(beginnings[0])} tokens and the drawable logits")


def _fused(subject: Subject) -> None:
    encoded, entries = subject.encode(), len(subject.captioner.tokenizer.pieces())
    favourite = int(subject.captions(1)[0, 0])
    widths: list[int] = []

    def nothing(token_ids: Tensor) -> Tensor:
        return torch.zeros(len(token_ids), entries, device=token_ids.device)

    def always(token_ids: Tensor) -> Tensor:
        widths.append(token_ids.shape[1])
        scores = nothing(token_ids)
        scores[:, favourite] = 1e4
        return scores

    uniforms, decoding = subject.uniforms(2, 2, 3), subject.settings.decoding
    sample, beams = subject.captioner.sample, subject.captioner.beams
    require(_same(sample(encoded, uniforms, fusion=nothing), sample(encoded, uniforms)), "adding 0 changes draws")
    require(_same(beams(encoded, decoding, fusion=nothing), beams(encoded, decoding)), "adding 0 changes beams")
    drawn = sample(encoded, uniforms, fusion=always)
    require(drawn.eq(favourite).all(), "a token that another model is sure of is not drawn")
    require(widths == [0, 1, 2], f"for three tokens the other model was asked about beginnings of {widths} tokens")
    require(beams(encoded, decoding, fusion=always)[:, 0].eq(favourite).all(), "nor is it in the beams")


def _beams(subject: Subject) -> None:
    decoding = dataclasses.replace(subject.settings.decoding, num_beams=3, max_length=LENGTH, no_repeat_ngram_size=0)
    found = subject.captioner.beams(subject.encode(), decoding, num_captions=2)
    _check_form(subject, found, 4, LENGTH + 1)
    ends = found.eq(subject.captioner.tokenizer.eos_token_id).any(1)
    require(ends.all(), "a caption does not end with EOS")
    require(not torch.equal(found[0], found[1]), "two beams of a picture are the same")
    first = subject.captioner.beams(subject.encode(), decoding)
    require(_same(found[::2], first), "the first of two captions is not the one that is found alone")


CLAUSES = (
    Clause("equal random numbers give equal captions, whatever else is in the batch", _repeatable),
    Clause("tokens are drawn as often as they are likely", _as_likely),
    Clause("top_p draws from the likeliest tokens alone", _nucleus),
    Clause("the greedy caption takes the likeliest token at every position", _greedy),
    Clause("guidance 1 is off, 0 is neutral, and more is something else", _guided),
    Clause("captions begin with the prefix", _prefixed),
    Clause("steps give the distribution that is drawn from, wherever they go on", _steps),
    Clause("another model's scores are added at every token (fusion)", _fused),
    Clause("beams end, differ, and come best first", _beams),
)
