from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from configuration.groups import RunConfig, TrainConfig
from configuration.lora import LoraConfig
from configuration.objectives import PreferenceConfig, ScstConfig
from models.captioner import VisionInfo
from models.ofa.captioner import OFACaptioner
from pipeline.objective import frozen_parts
from preprocessors.pictures.images import MEAN_STD
from trainers.freezing import freeze_parts
from trainers.schedule import give_own_rate, polynomial_decay


@pytest.fixture
def captioner(tiny_ofa):
    return OFACaptioner(tiny_ofa(3), None)


def _trained(module):
    return {name for name, parameter in module.named_parameters() if parameter.requires_grad}


def test_last_stages_of_the_vision_network_are_trained_and_no_earlier_ones(captioner):
    freeze_parts(captioner, [], vision_stages=1)
    vision = captioner.module.encoder.embed_images
    assert {name.partition(".")[0] for name in _trained(vision)} == {"layer3"}
    freeze_parts(captioner, [], vision_stages=3)
    assert {name.partition(".")[0] for name in _trained(vision)} == {"conv1", "bn1", "layer1", "layer2", "layer3"}
    assert "encoder.image_proj.weight" in _trained(captioner.module)


def test_more_stages_than_there_are_are_refused(captioner):
    with pytest.raises(ValueError, match=r"train\.vision_stages=4: the vision network has 3"):
        freeze_parts(captioner, [], vision_stages=4)


@pytest.mark.parametrize(
    ("train", "is_pretrained", "expected"),
    [
        ({}, False, set()),
        ({}, True, {"vision"}),
        ({"vision_stages": 2}, True, {"batch_norm"}),
        ({"vision_stages": 2}, False, {"batch_norm"}),
        ({"freeze": ["resnet", "embeddings"]}, False, {"vision", "embeddings"}),
    ],
)
def test_a_pretrained_vision_network_is_frozen_unless_stages_are_asked_for(train, is_pretrained, expected):
    vision = VisionInfo(96, MEAN_STD["half"], is_pretrained)
    others = {"lora": LoraConfig(), "scst": ScstConfig(), "preference": PreferenceConfig()}
    config = RunConfig.model_construct(train=TrainConfig(**train), **others)
    assert {*frozen_parts(config, SimpleNamespace(vision=lambda: vision))} == expected


def test_parameters_with_their_own_rate_follow_the_schedule_from_their_own_peak():
    slow, fast = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    optimizer = torch.optim.AdamW([{"params": [slow, fast], "weight_decay": 0.2}], lr=1e-2)
    give_own_rate(optimizer, [slow], 1e-4)
    assert [[id(p) for p in group["params"]] for group in optimizer.param_groups] == [[id(fast)], [id(slow)]]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.2, 0.2]
    schedule = polynomial_decay(optimizer, 10, 0.0, 1e-2, 1e-3)
    rates = []
    for _ in range(11):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    assert rates[0] == pytest.approx([1e-2, 1e-4])
    assert rates[10] == pytest.approx([1e-3, 1e-5])
