"""Clauses of a captioner about training it, and keeping it in folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from models.captioner import Captioner
from models.settings import read_settings
from tests.contract.clauses import Broken, Clause, require
from tests.contract.scoring import drawable, far, require_close
from tests.contract.subject import CAPTIONS, Subject, in_scratch, shake, weights_of


class _Wrapper(nn.Module):
    """Stands for what several processes wrap a model in."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module, self.calls = module, 0

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        return self.module(*args, **kwargs)


def _require_same_weights(a: Captioner, b: Captioner, what: str) -> None:
    before, after = weights_of(a), weights_of(b)
    if different := before.keys() ^ after.keys():
        raise Broken(f"{what}: {sorted(different)[0]} is in one of the two alone")
    for name, tensor in before.items():
        require(torch.equal(tensor, after[name]), f"{what}: {name} differs")


def _saved(subject: Subject) -> None:
    in_scratch(lambda folder: _check_saved(subject, folder / "saved"))


def _check_saved(subject: Subject, folder: Path) -> None:
    captioner = subject.make()
    shake(captioner, seed=5)  # what a folder does not hold is not what a new model has by chance
    captioner.save(folder, subject.settings)
    opened = type(captioner).open(folder)
    _require_same_weights(captioner, opened, "after save and open")
    require(not opened.module.training, "an opened model is not in evaluation mode")
    require(len(opened.tokenizer) == len(captioner.tokenizer), "the vocabulary has another size after save and open")
    for caption in CAPTIONS:
        ids = [item.tokenizer.encode_text(caption) for item in (captioner, opened)]
        require(ids[0] == ids[1], f"{caption!r} has other ids after save and open")
    require(read_settings(folder) == subject.settings, "configuration.json does not have the settings as saved")
    with torch.no_grad():
        batch, captions = subject.batch([(0, subject.styles[0])]), subject.captions(1)[:1]
        scores = [item.logits(item.encode(batch), captions) for item in (captioner, opened)]
    require_close(*scores, "logits before save and after open")


def _companions(subject: Subject) -> None:
    in_scratch(lambda folder: _check_companions(subject, folder))


def _check_companions(subject: Subject, folder: Path) -> None:
    whole, beside = folder / "whole", folder / "beside"
    beside.mkdir()
    subject.captioner.save(whole, subject.settings)
    subject.captioner.save_companions(beside, subject.settings)
    written = {path.name for path in beside.iterdir()}
    for path in whole.iterdir():
        if path.name not in written:
            (beside / path.name).write_bytes(path.read_bytes())
    _require_same_weights(subject.captioner, type(subject.captioner).open(beside), "with the weights beside them")


def _refuses(subject: Subject) -> None:
    def look(folder: Path) -> None:
        try:
            type(subject.captioner).open(folder)
        except (FileNotFoundError, ValueError) as error:
            require(str(error), "an empty folder is refused without a word")
        else:
            raise Broken("an empty folder is opened")

    in_scratch(look)


def _new(subject: Subject) -> None:
    _require_same_weights(subject.make(), subject.make(), "made twice")


def _frozen(subject: Subject) -> None:
    captioner = subject.make()
    copy, batch, captions = captioner.frozen_copy(), subject.batch([(0, subject.styles[0])]), subject.captions(1)[:1]
    require(not any(item.requires_grad for item in copy.module.parameters()), "weights of a frozen copy have gradients")
    with torch.no_grad():
        before = copy.logits(copy.encode(batch), captions)
        shake(captioner, seed=6)
        moved = far(before, copy.logits(copy.encode(batch), captions))
    require(moved == 0, f"a frozen copy changes with the captioner, by {moved:.3g}")


def _through(subject: Subject) -> None:
    captioner = subject.make()
    wrapper = _Wrapper(captioner.module)
    wrapped, batch, captions = captioner.through(wrapper), subject.batch([(0, subject.styles[0])]), subject.captions(1)
    encoded = wrapped.encode(batch)
    require(wrapper.calls, "encode goes past the wrapper")
    for name, call in (("logits", wrapped.logits), ("token_log_probs", wrapped.token_log_probs)):
        before = wrapper.calls
        scores = call(encoded, captions[:1])
        require(wrapper.calls > before, f"{name} goes past the wrapper")
    scores.sum().backward()
    unused = {id(item) for module in captioner.parts().get("unused", ()) for item in module.parameters()}
    without = [
        name
        for name, item in captioner.module.named_parameters()
        if item.requires_grad and item.grad is None and id(item) not in unused
    ]
    require(not without, f"no gradient reaches {', '.join(without[:3])} ({len(without)}), nor is it among unused parts")


def _parts(subject: Subject) -> None:
    parts, inside = subject.captioner.parts(), {id(item) for item in subject.captioner.module.parameters()}
    for name in ("vision", "embeddings", "decoder"):
        require(parts.get(name), f"parts() has no {name}")
    require(len(parts["vision"]) == 1, f"vision is {len(parts['vision'])} modules, not one")
    for name, modules in parts.items():
        held = [item for module in modules for item in module.parameters()]
        require(all(id(item) in inside for item in held), f"{name} has weights that the module does not have")


def _statistics(subject: Subject) -> None:
    captioner = subject.make()
    captioner.module.train()
    captioner.freeze_statistics()
    before = {name: buffer.clone() for name, buffer in captioner.module.named_buffers()}
    with torch.no_grad():
        captioner.encode(subject.batch([(0, subject.styles[0]), (1, subject.styles[1])]))
    for name, buffer in captioner.module.named_buffers():
        require(torch.equal(before[name], buffer), f"{name} changes in training")


def _style_tokens(subject: Subject) -> None:
    captioner, token = subject.make(), "<style_0>"
    before = len(captioner.tokenizer)
    captions = subject.captions(1)[:1]
    with torch.no_grad():
        old = drawable(subject, subject.encode((0, subject.styles[0])), captions)
    try:
        captioner.add_style_tokens({token: "calm"})
    except ValueError as error:
        require(str(error), "style tokens are refused without a word")
        return
    ids = captioner.tokenizer.encode_text(token)
    require(len(ids) == 1, f"{token} is {len(ids)} ids of the tokenizer, not one")
    require(len(captioner.tokenizer) == before + 1, f"the vocabulary grew by {len(captioner.tokenizer) - before}")
    captioner.add_style_tokens({token: "calm"})
    require(len(captioner.tokenizer) == before + 1, "a token that is there already is added again")
    with torch.no_grad():
        batch = subject.batch([(0, subject.styles[0])])
        now = captioner.logits(captioner.encode(batch), captions, drawable=True)
    require_close(old, now[..., : old.shape[-1]], "scores before and after a style token was added")

    def look(folder: Path) -> None:
        captioner.save(folder / "saved", subject.settings)
        again = type(captioner).open(folder / "saved").tokenizer.encode_text(token)
        require(again == ids, f"{token} is {again} after save and open, and was {ids}")

    in_scratch(look)


def _limits(subject: Subject) -> None:
    limits, vision = subject.captioner.limits(), subject.captioner.vision()
    require(min(limits) >= 1, f"limits are {limits}")
    require(limits.image_size >= limits.image_multiple, "the largest picture is smaller than the smallest")
    require(vision.image_size >= 1, f"pictures of {vision.image_size} pixels")
    require(min(vision.mean_std.std) > 0, f"the standard deviation of a channel is {min(vision.mean_std.std)}")
    parameter = next(subject.captioner.module.parameters())
    require(subject.captioner.device == parameter.device, "device is not where the weights are")


CLAUSES = (
    Clause("a saved captioner is opened with the same weights, vocabulary and settings", _saved),
    Clause("the companions are all that weights need beside them", _companions),
    Clause("an empty folder is refused", _refuses),
    Clause("it is the same model whenever it is made or opened", _new),
    Clause("a frozen copy stays as it is", _frozen),
    Clause("what needs gradients goes through the wrapper, and they reach every weight", _through),
    Clause("parts are named, and their weights are the module's", _parts),
    Clause("frozen statistics do not change in training", _statistics),
    Clause("a style token is one id and changes nothing else, or is refused", _style_tokens),
    Clause("limits and what the vision network was made for are numbers that can be used", _limits),
)
