from __future__ import annotations

from dataclasses import replace

import pytest

from models.settings import CaptionerSettings, Decoding, read_settings
from preprocessors.pictures.images import MEAN_STD, Normalisation
from utils.io import write_json

SETTINGS = CaptionerSettings(
    image_size=224,
    max_image_size=256,
    mean_std=MEAN_STD["imagenet"],
    prompt=" say it {} .",
    neutral_prompt=" say it plain .",
    trained_styles=("plain", "Sweet"),
    decoding=Decoding(
        num_beams=3, max_length=20, min_length=2, no_repeat_ngram_size=4, length_penalty=0.5, guidance=1.5
    ),
    punctuation="keep",
)


def test_settings_are_read_as_they_were_written(tmp_path):
    write_json(tmp_path / "configuration.json", {"task": "image-captioning", "model": SETTINGS.to_model_section()})
    assert read_settings(tmp_path) == SETTINGS


def test_a_vision_network_s_own_normalisation_is_kept(tmp_path):
    own = replace(SETTINGS, mean_std=Normalisation((0.4, 0.5, 0.6), (0.1, 0.2, 0.3)))
    write_json(tmp_path / "configuration.json", {"model": own.to_model_section()})
    assert read_settings(tmp_path) == own
    assert own.to_model_section()["imagenet_default_mean_and_std"] is False


def test_model_section_has_modelscope_s_names():
    section = SETTINGS.to_model_section()
    assert section["beam_search"] == {"beam_size": 3, "max_len_b": 20, "min_len": 2, "no_repeat_ngram_size": 4}
    assert section["patch_image_size"] == 224
    assert section["prompt"] == " say it plain ."
    assert section["imagenet_default_mean_and_std"] is True


@pytest.mark.parametrize("content", [None, {"model": {"patch_image_size": 480, "prompt": " what?"}}, {"model": 3}])
def test_other_people_s_folder_has_no_settings(tmp_path, content):
    if content is not None:
        write_json(tmp_path / "configuration.json", content)
    assert read_settings(tmp_path) is None


@pytest.mark.parametrize("key", ["patch_image_size", "trained_styles", "length_penalty"])
def test_settings_without_a_key_are_refused_by_name(tmp_path, key):
    section = SETTINGS.to_model_section()
    del section[key]
    write_json(tmp_path / "configuration.json", {"model": section})
    with pytest.raises(ValueError, match=rf"configuration\.json: model\.{key} is missing.* copy the file again"):
        read_settings(tmp_path)


def test_settings_without_a_key_of_the_beam_search_are_refused_by_name(tmp_path):
    section = SETTINGS.to_model_section()
    del section["beam_search"]["min_len"]
    write_json(tmp_path / "configuration.json", {"model": section})
    with pytest.raises(ValueError, match=r"model\.beam_search\.min_len is missing"):
        read_settings(tmp_path)


def test_differences_name_setting_and_both_values():
    assert SETTINGS.differences(SETTINGS, "m") == []
    wanted = replace(SETTINGS, image_size=480, mean_std=MEAN_STD["half"], decoding=Decoding(), punctuation="strip")
    wanted = replace(wanted, resizer="torch")
    assert SETTINGS.differences(wanted, "run/output") == [
        "image.size: 480 is asked for, but run/output was trained with 224",
        "image.mean_std: 'half' is asked for, but run/output was trained with 'imagenet'",
        "image.resizer: 'torch' is asked for, but run/output was trained with 'pillow'",
        "data.punctuation: 'strip' is asked for, but run/output was trained with 'keep'",
    ]


def test_folder_of_an_older_version_was_trained_by_ofa_s_rule(tmp_path):
    section = replace(SETTINGS, punctuation="keep").to_model_section()
    assert section.pop("punctuation") == "keep"
    write_json(tmp_path / "configuration.json", {"model": section})
    assert read_settings(tmp_path).punctuation == "strip"


def test_settings_with_an_unknown_rule_are_refused(tmp_path):
    write_json(tmp_path / "configuration.json", {"model": SETTINGS.to_model_section() | {"punctuation": "drop"}})
    with pytest.raises(ValueError, match=r"model\.punctuation"):
        read_settings(tmp_path)
