from __future__ import annotations

import torch

from models.ofa.configuration_ofa import PRESETS, OFAConfig
from models.ofa.modeling_ofa import OFAForConditionalGeneration
from models.ofa.positions import image_buckets, image_position_ids, token_buckets


def test_image_position_ids_count_rows_by_the_table_not_by_the_image():
    assert image_position_ids(2, 3, bucket_size=10).tolist() == [1, 2, 3, 11, 12, 13]


def test_image_buckets_depend_on_the_offset_alone():
    table = image_buckets(3)
    corner, middle, right = 1, 5, 2  # (0, 0), (1, 1), (0, 1)
    last, before = 9, 8  # (2, 2), (2, 1)
    assert table[middle, corner] == table[last, middle]
    assert table[right, corner] == table[last, before]
    assert len(set(table[1:, 1:].flatten().tolist())) == 25
    assert table[0, 0] == 27
    assert set(table[0, 1:].tolist()) == {25}
    assert set(table[1:, 0].tolist()) == {26}


def test_token_buckets_are_exact_near_by_and_shared_far_away():
    table = token_buckets(bucket_size=8, max_positions=64)
    near = [table[10, 10 - distance].item() for distance in range(-3, 4)]
    assert near == [4, 5, 6, 7, 8, 9, 10]
    assert table[63, 0] == 14
    assert table[0, 63] == 0
    assert table[40, 1] == table[40, 2]


def test_nano_preset_is_below_two_million_parameters():
    model = OFAForConditionalGeneration(OFAConfig(**PRESETS["nano"] | {"vocab_size": 2000}))
    assert sum(parameter.numel() for parameter in model.parameters()) < 2_000_000


def test_new_models_with_one_seed_are_equal_and_start_from_ofas_values():
    states = []
    for _ in range(2):
        torch.manual_seed(1)
        states.append(OFAForConditionalGeneration(OFAConfig(**PRESETS["nano"] | {"vocab_size": 90})).state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert states[0]["encoder.token_rel_pos_table_list.0.weight"].abs().max() == 0
    assert torch.equal(states[0]["decoder.layers.0.cross_attn.c_attn"], torch.ones(4))
    assert 0.015 < states[0]["encoder.layers.0.fc1.weight"].std() < 0.025
