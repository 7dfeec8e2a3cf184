"""Clauses of a captioner about what it says of given captions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from models.captioner import Encoded
from preprocessors.collator import IGNORE_INDEX
from tests.contract.clauses import Clause, require
from tests.contract.subject import CAPTIONS, Subject

CLOSE = 1e-4
"""Most that two ways to the same logits or log-probabilities may differ, for rounding."""


def far(a: Tensor, b: Tensor) -> float:
    """The largest difference of two tensors, of which equal infinities differ by nothing; infinite for two shapes."""
    if a.shape != b.shape:
        return float("inf")
    return float(torch.where(a == b, 0.0, (a - b).abs()).max()) if a.numel() else 0.0


def require_close(a: Tensor, b: Tensor, what: str) -> None:
    """Break the clause where two ways differ by more than rounding."""
    require(a.shape == b.shape, f"{what} have shapes {tuple(a.shape)} and {tuple(b.shape)}")
    require(far(a, b) <= CLOSE, f"{what} differ by {far(a, b):.3g}")


@torch.no_grad()
def drawable(subject: Subject, encoded: Encoded, captions: Tensor) -> Tensor:
    """Scores in the distribution that is drawn from, float32 (N, T, V')."""
    return subject.captioner.logits(encoded, captions, drawable=True)


def _tokenizer(subject: Subject) -> None:
    tokenizer, pieces = subject.captioner.tokenizer, subject.captioner.tokenizer.pieces()
    require(len(pieces) <= len(tokenizer), f"pieces() has {len(pieces)} entries, and the vocabulary {len(tokenizer)}")
    require(not pieces[tokenizer.eos_token_id], "EOS adds something to the text")
    for caption in CAPTIONS if subject.is_new else ():
        ids = subject.preprocessor.target_ids(caption)
        require(ids[-1] == tokenizer.eos_token_id, f"the target of {caption!r} does not end with EOS")
        require(all(0 <= number < len(tokenizer) for number in ids), f"{caption!r} has ids outside of the vocabulary")
        found = subject.preprocessor.decode([*ids, *ids[:1]])
        require(found == caption, f"{caption!r} comes back from its ids as {found!r}")
        told = b"".join(pieces[number] for number in ids).decode().strip()
        require(told == caption, f"the pieces of {caption!r} are together {told!r}")


@torch.no_grad()
def _logits(subject: Subject) -> None:
    encoded, captions = subject.encode(), subject.captions()
    logits, scores = subject.captioner.logits(encoded, captions), drawable(subject, encoded, captions)
    wanted = (*captions.shape, len(subject.captioner.tokenizer))
    require(logits.shape == wanted, f"logits have shape {tuple(logits.shape)}, not (N, T, V) = {wanted}")
    require(logits.isfinite().all(), "logits are not all finite")
    require(scores.dtype == torch.float32, f"drawable logits are {scores.dtype}, not float32")
    require(not (scores.isnan() | scores.eq(torch.inf)).any(), "drawable logits hold NaN or infinity")
    require(scores.isfinite().any(-1).all(), "at some position nothing can be drawn")
    require(scores[..., subject.captioner.tokenizer.eos_token_id].isfinite().all(), "EOS can never be drawn")
    plain = logits.float()[..., : scores.shape[-1]]
    require_close(scores, plain.masked_fill(scores.isinf(), -torch.inf), "drawable logits and the others")


@torch.no_grad()
def _log_probs(subject: Subject) -> None:
    encoded, captions = subject.encode(), subject.captions()
    for temperature in (1.0, 0.7):
        found = subject.captioner.token_log_probs(encoded, captions, temperature)
        log_p = (drawable(subject, encoded, captions) / temperature).log_softmax(-1)
        chosen = log_p.gather(-1, captions.clamp(min=0)[..., None])[..., 0]
        require(found.dtype == torch.float32, f"they are {found.dtype}, not float32")
        require(not found[captions.eq(IGNORE_INDEX)].any(), "they are not 0 behind EOS")
        what = f"at temperature {temperature:g} they and the log-softmax of the drawable logits, which sums to 1,"
        require_close(found, chosen.masked_fill(captions.eq(IGNORE_INDEX), 0.0), what)


@torch.no_grad()
def _causal(subject: Subject) -> None:
    captions, encoded = subject.captions(), subject.encode()
    before = subject.captioner.logits(encoded, captions)
    for place in range(1, captions.shape[1]):
        changed = captions.clone()
        changed[:, place] = torch.where(captions[:, place].ge(0), captions.flip(0)[:, 0], captions[:, place])
        after = subject.captioner.logits(encoded, changed)
        moved = far(before[:, : place + 1], after[:, : place + 1])
        require(moved <= CLOSE, f"another token at position {place} changes what is said up to there, by {moved:.3g}")


@torch.no_grad()
def _apart(subject: Subject) -> None:
    captions, encoded = subject.captions(), subject.encode()
    changed = captions.clone()
    changed[0] = captions[1]
    moved = far(drawable(subject, encoded, captions)[1:], drawable(subject, encoded, changed)[1:])
    require(moved <= CLOSE, f"another caption in the batch changes the scores of the others, by {moved:.3g}")


@torch.no_grad()
def _packed(subject: Subject) -> None:
    captions, encoded = subject.captions(), subject.encode()
    whole = subject.captioner.logits(encoded, captions)
    packed = subject.captioner.logits(encoded, captions, packed=True)
    require_close(packed, whole[captions.ne(IGNORE_INDEX)], "packed logits and those of the same tokens")


@torch.no_grad()
def _uneven(subject: Subject) -> None:
    first, second = subject.styles
    captions, rows = subject.captions(), torch.tensor([0, 1, 1, 1], device=subject.captioner.device)
    uneven = subject.captioner.logits(subject.encode(), captions, caption_rows=rows)
    each = subject.encode((0, first), (1, second), (1, second), (1, second))
    require_close(uneven, subject.captioner.logits(each, captions), "logits with caption_rows and of rows repeated")


@torch.no_grad()
def _alone(subject: Subject) -> None:
    together = drawable(subject, subject.encode(), subject.captions())
    for picture, style in enumerate(subject.styles):
        mine = slice(2 * picture, 2 * picture + 2)
        alone = drawable(subject, subject.encode((picture, style)), subject.captions()[mine])
        require_close(together[mine], alone, f"scores of row {picture} in a batch and alone")


@torch.no_grad()
def _sees(subject: Subject) -> None:
    (first, second), captions = subject.styles, subject.captions(1)[:1]
    base, *others = (drawable(subject, subject.encode(row), captions) for row in ((0, first), (1, first), (0, second)))
    require(far(base, others[0]) > 0, "another picture changes nothing")
    require(far(base, others[1]) > 0, "another style changes nothing")


@torch.no_grad()
def _shared(subject: Subject) -> None:
    (first, second), captions = subject.styles, subject.captions(1)
    (network,) = subject.captioner.parts()["vision"]
    seen: dict[nn.Module, int] = {}

    def look(module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        tensors = [item for item in (*given, *named.values()) if isinstance(item, Tensor)]
        seen[module] = seen.get(module, 0) + (len(tensors[0]) if tensors else 0)

    hooks = [module.register_forward_pre_hook(look, with_kwargs=True) for module in network.modules()]
    try:
        encoded = subject.encode((0, first), (0, second))
    finally:
        for hook in hooks:
            hook.remove()
    # The part may be a wrapper for others to call: of what is in it, the outermost that was called.
    times = next((seen[module] for module in network.modules() if module in seen), 0)
    require(times == 1, f"one picture of two rows passes the vision network {times} times")
    together = drawable(subject, encoded, captions)
    for row, style in enumerate((first, second)):
        alone = drawable(subject, subject.encode((0, style)), captions[row : row + 1])
        require_close(together[row : row + 1], alone, "scores of rows that share a picture and of each alone")


@torch.no_grad()
def _features(subject: Subject) -> None:
    (first, second), captions = subject.styles, subject.captions(1)
    (network,) = subject.captioner.parts()["vision"]
    batch = subject.batch([(0, first), (1, second)])
    features = network(batch["patch_images"])
    require(len(features) == 2, f"the vision network makes {len(features)} features of 2 pictures")
    given = {name: tensor for name, tensor in batch.items() if name != "patch_images"} | {"image_features": features}
    require_close(
        drawable(subject, subject.captioner.encode(given), captions),
        drawable(subject, subject.captioner.encode(batch), captions),
        "scores from features and from pixels",
    )


@torch.no_grad()
def _text_alone(subject: Subject) -> None:
    batch = subject.batch([(0, subject.styles[0])])
    given = {"input_ids": batch["input_ids"], "patch_masks": torch.zeros_like(batch["patch_masks"])}
    logits = subject.captioner.logits(subject.captioner.encode(given), subject.captions(1)[:1])
    require(logits.isfinite().all(), "logits of a prompt without a picture are not finite")


CLAUSES = (
    Clause("the tokenizer gives captions back from their ids, and their pieces", _tokenizer),
    Clause("logits are finite, of shape (N, T, V), and something can be drawn everywhere", _logits),
    Clause("token_log_probs are those of the distribution that is drawn from", _log_probs),
    Clause("no position sees the tokens behind it", _causal),
    Clause("captions of a batch do not see one another", _apart),
    Clause("packed logits are those of the tokens that count", _packed),
    Clause("pictures may have different numbers of captions (caption_rows)", _uneven),
    Clause("a row is the same alone and in a batch with longer prompts", _alone),
    Clause("picture and style change what is said", _sees),
    Clause("rows that share a picture share its pass through the vision network", _shared),
    Clause("features of the vision network stand for the pictures", _features),
    Clause("a prompt is encoded without a picture, for masked captions", _text_alone),
)
