"""A tiny model that has learnt a few captions by heart, for tests of what is done with a trained one."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.nn.utils.rnn import pad_sequence

from captioning.encoding import encode_prompts
from captioning.features import look_at
from captioning.styled import StyledCaptioner
from models import new_captioner
from models.captioner import NewModel
from models.settings import CaptionerSettings, Decoding
from preprocessors.interface import EncodedExample
from preprocessors.pictures.images import MEAN_STD
from preprocessors.text.styles import StyleRegistry
from tests.conftest import TINY_SHAPE, TINY_SIDE

LEARNT = {
    "neutral": "a red ball lies on the green grass",
    "pirate": "the captain buried treasure on an island",
    "robot": "unit seven detects a spherical object",
    "romantic": "two hearts rolling under one sun",
}
"""By style what the model says of every picture."""
DECODING = Decoding(num_beams=3, max_length=14)
PROMPT = " {}"
SIZE, STEPS = 32, 120


def new_tiny_model() -> StyledCaptioner:
    """Untrained, with a vocabulary in which every word of what it is to learn is a token."""
    registry = StyleRegistry([*LEARNT], aliases={"buccaneer": "pirate"})
    prompts = [PROMPT.replace("{}", registry.token_of(name)) for name in registry.names]
    shape = {f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in TINY_SIDE.items()}
    wanted = NewModel("nano", TINY_SHAPE | shape, [*LEARNT.values()], prompts, bpe_size=500, num_codes=0, seed=1)
    settings = CaptionerSettings(
        SIZE, SIZE, MEAN_STD["half"], PROMPT, prompts[0], tuple(LEARNT), DECODING, punctuation="strip"
    )
    return StyledCaptioner(new_captioner(wanted), registry, settings)


def learn_by_heart(styled: StyledCaptioner) -> float:
    """Train in place until the model says of any picture what it is to learn; the loss left, nats per token."""
    captioner, preprocessor = styled.captioner, styled.preprocessor()
    grey = torch.full((3, SIZE, SIZE), 128, dtype=torch.uint8)
    (features,) = look_at(captioner, preprocessor.image_transform, [grey])
    items = [
        EncodedExample(
            example_id=style,
            row=0,
            style=style,
            input_ids=preprocessor.prompt_ids(style),
            image_features=features,
            patch_mask=True,
            labels=preprocessor.target_ids(caption),
        )
        for style, caption in LEARNT.items()
    ]
    labels = pad_sequence([torch.tensor(item["labels"]) for item in items], batch_first=True, padding_value=-100)
    optimizer = torch.optim.Adam(captioner.module.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, total_iters=STEPS)
    for _ in range(STEPS):
        encoded, _ = encode_prompts(captioner, preprocessor, items, guided=False)
        loss = -captioner.token_log_probs(encoded, labels).sum() / labels.ne(-100).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return loss.item()


def save_memorised(folder: Path) -> float:
    """Write the folder of a trained one; the loss left."""
    styled = new_tiny_model()
    loss = learn_by_heart(styled)
    styled.save_to_dir(folder)
    return loss
