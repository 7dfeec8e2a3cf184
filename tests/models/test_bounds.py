from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from models.bounds import OFA, OFAFields, find_foreign_faults
from models.ofa import PRESETS, OFAConfig
from utils.io import read_json
from utils.small_json import check_against

HUGE = {"d_model": 1280, "resnet_type": "resnet152"} | {
    f"{side}_{name}": value
    for side in ("encoder", "decoder")
    for name, value in (("layers", 24), ("attention_heads", 16), ("ffn_dim", 5120))
}
"""The largest published OFA (Wang et al. 2022, arXiv:2202.03052, table 1)."""
COSTLY = ("vocab_size", "d_model", "encoder_layers", "decoder_layers", "encoder_ffn_dim", "encoder_attention_heads")


def test_table_names_the_fields_of_the_configuration_and_no_others():
    own = {name for name in OFAConfig.__annotations__ if not name.startswith("_")}
    assert OFAFields.__annotations__.keys() == own - {"model_type", "keys_to_ignore_at_inference", "attribute_map"}


@pytest.mark.parametrize("size", [*PRESETS, "huge"])
def test_published_sizes_pass_with_room(size):
    config = OFAConfig(**PRESETS.get(size, HUGE)).to_dict()
    checked = check_against(OFA, config, Path("config.json"))
    assert checked == {name: config[name] for name in OFAFields.__annotations__}
    for name in COSTLY:
        check_against(OFA, {name: config[name] * 4}, Path("config.json"))


def test_published_configuration_file_passes(shared):
    content = read_json(shared / "golden/ofa/small/config.json")
    checked = check_against(OFA, content, Path("config.json"))
    assert checked.keys() == content.keys() & OFAFields.__annotations__.keys()


def test_all_faults_up_to_five_are_told_at_once_with_file_key_and_value():
    bad: dict[str, Any] = {"d_model": -1, "dropout": "x", "encoder_layers": 10**6, "vocab_size": True}
    with pytest.raises(ValueError, match="d_model=-1: must be greater") as caught:
        check_against(OFA, bad, Path("m/config.json"))
    for part in ("m/config.json: ", 'dropout="x"', "encoder_layers=1000000", "vocab_size=true", "copy the file again"):
        assert part in str(caught.value)


def test_numbers_that_are_none_are_refused():
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"config\.json: init_std=.*must be a finite number"):
            check_against(OFA, {"init_std": value}, Path("config.json"))


@pytest.mark.parametrize(
    ("content", "count"),
    [
        (
            {"hidden_sizes": [64, 1024], "depths": [3, 4, 23], "layer_norm_eps": 1e-12, "layer_scale_init_value": 1e-6},
            0,
        ),
        ({"num_hidden_layers": 257}, 1),
        ({"depths": [3, 257]}, 1),
        ({"vision": {"stages": {"a": 10**7}}}, 1),
        ({"hidden_size": -(10**7)}, 1),
        ({"quantization_config": {"quant_method": "x"}}, 1),
        ({"num_layers": True, "name": "x", "other": None}, 0),
    ],
)
def test_foreign_configuration_is_bounded_by_what_its_keys_speak_of(content, count):
    assert len(find_foreign_faults(content, "config")) == count
