"""Captioners, a source of documents and a reward term with one fault each, which their contracts must find."""

from __future__ import annotations

import json

import numpy as np
import torch
from safetensors.torch import load_file

from preprocessors.documents.sources import JsonlDocuments
from tests.toy_captioner import ToyCaptioner, ToyModule, ToySteps, ToyTokenizer


class UnnormalisedCaptioner(ToyCaptioner):
    def token_log_probs(self, encoded, token_ids, temperature=1.0):
        return super().token_log_probs(encoded, token_ids, temperature) * 0.9


class ForesightedCaptioner(ToyCaptioner):
    def logits(self, encoded, token_ids, **how):
        return super().logits(encoded, token_ids.roll(-1, 1), **how)


class SociableCaptioner(ToyCaptioner):
    def logits(self, encoded, token_ids, **how):
        logits = super().logits(encoded, token_ids, **how)
        return logits + 0.01 * logits.nan_to_num(neginf=0.0).mean(0, keepdim=True)


class UnpackedCaptioner(ToyCaptioner):
    def logits(self, encoded, token_ids, *, packed=False, **how):
        logits = super().logits(encoded, token_ids, **how)
        return logits.flatten(0, 1) if packed else logits


class LavishCaptioner(ToyCaptioner):
    def encode(self, batch):
        if "picture_rows" not in batch:
            return super().encode(batch)
        shown = batch["patch_images"][batch["picture_rows"]]
        return super().encode({"input_ids": batch["input_ids"], "patch_images": shown})


class BlindCaptioner(ToyCaptioner):
    def encode(self, batch):
        return super().encode({"input_ids": batch["input_ids"]})


class SetCaptioner(ToyCaptioner):
    def sample(self, encoded, uniforms, **how):
        return super().sample(encoded, torch.full_like(uniforms, 0.5), **how)


class FeverishCaptioner(ToyCaptioner):
    def sample(self, encoded, uniforms, *, temperature=1.0, **how):
        return super().sample(encoded, uniforms, temperature=1.0, **how)


class NoNucleusCaptioner(ToyCaptioner):
    def sample(self, encoded, uniforms, *, top_p=1.0, **how):
        return super().sample(encoded, uniforms, **how)


class UnguidedCaptioner(ToyCaptioner):
    def sample(self, encoded, uniforms, *, neutral=None, guidance=1.0, **how):
        return super().sample(encoded, uniforms, **how)


class OriginalCaptioner(ToyCaptioner):
    def sample(self, encoded, uniforms, *, prefix=(), **how):
        return super().sample(encoded, uniforms, **how)


class DeafCaptioner(ToyCaptioner):
    def beams(self, encoded, decoding, *, fusion=None, **how):
        return super().beams(encoded, decoding, **how)


class EndlessCaptioner(ToyCaptioner):
    def beams(self, encoded, decoding, **how):
        return super().beams(encoded, decoding, **how | {"force_end": False})


class LateSteps(ToySteps):
    def take(self, rows, token_ids):
        super().take(rows, token_ids.flip(0))


class ConfusedCaptioner(ToyCaptioner):
    def steps(self, encoded, prefix, most):
        return LateSteps(self, encoded, torch.tensor([[self.tokenizer.bos_token_id, *prefix][-1]]))


class ForgetfulCaptioner(ToyCaptioner):
    @classmethod
    def open(cls, folder):
        found = super().open(folder)
        tokenizer = ToyTokenizer(found.tokenizer.words)
        torch.manual_seed(1)
        module = ToyModule(len(tokenizer))
        held = load_file(folder / "model.safetensors")
        module.load_state_dict({name: tensor for name, tensor in held.items() if "bias" not in name}, strict=False)
        return cls(module.eval(), tokenizer)


class UnsettledCaptioner(ToyCaptioner):
    def save_companions(self, folder, settings):
        super().save_companions(folder, None)


class LoneCaptioner(ToyCaptioner):
    def save(self, folder, settings):
        super().save(folder, settings)
        (folder / "words.json").write_text(json.dumps(self.tokenizer.words))

    def save_companions(self, folder, settings):
        super().save_companions(folder, settings)
        (folder / "words.json").write_text(json.dumps(self.tokenizer.words[:9]))


class FickleCaptioner(ToyCaptioner):
    @classmethod
    def new(cls, wanted):
        made = super().new(wanted)
        torch.nn.init.normal_(made.module.words.weight, generator=torch.Generator().manual_seed(torch.seed()))
        return made


class ThawingCaptioner(ToyCaptioner):
    def frozen_copy(self):
        return type(self)(self.module, self.tokenizer)


class SolitaryCaptioner(ToyCaptioner):
    def through(self, module):
        return self


class StrangeCaptioner(ToyCaptioner):
    def parts(self):
        return super().parts() | {"vision": [torch.nn.Linear(2, 2)]}


class IndifferentCaptioner(ToyCaptioner):
    def add_style_tokens(self, names):
        pass


class RaisingCaptioner(ToyCaptioner):
    def limits(self):
        return super().limits()._replace(image_multiple=1, text_length=0)


class HomelessDocuments(JsonlDocuments):
    def read(self, position=()):
        yield from super().read()


def open_homeless(path, *, separator, links):
    return HomelessDocuments(path, links=links)


class SteadfastDocuments(JsonlDocuments):
    def fingerprint(self):
        return "the same for ever"


def open_steadfast(path, *, separator, links):
    return SteadfastDocuments(path, links=links)


def envy(data):
    """What a caption is worth beside the longest of all that are rewarded with it."""

    def score(hypotheses, rows, ended):
        lengths = np.array([len(text.split()) for text in hypotheses], dtype=np.float64)
        return lengths / lengths.max()

    return score
