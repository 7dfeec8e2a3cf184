from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

from metrics.clip import Clip
from metrics.scores.clip import clip_score, ref_clip_score
from metrics.scores.measurement import MetricUnavailable

REFERENCES = {"a": ["a red dog", "the cat"], "b": ["A blue cat!"]}
HYPOTHESES = {"a": "the dog", "b": "a cat"}
PICTURES = {"a": Image.new("RGB", (40, 30), "red"), "b": Image.new("RGB", (30, 40), "blue")}


def test_scores_equal_hand_arithmetic():
    scores = clip_score(np.array([0.4, -0.2, 0.2]))
    assert scores == pytest.approx([1.0, 0.0, 0.5])
    assert ref_clip_score(scores, np.array([0.5, -0.1, -0.3])) == pytest.approx([2 / 3, 0.0, 0.0])


def test_score_follows_from_the_models_own_features_one_by_one(tiny_clip):
    clip = Clip.open(tiny_clip)
    model, tokenizer = CLIPModel.from_pretrained(tiny_clip).eval(), CLIPTokenizer.from_pretrained(tiny_clip)
    processor = CLIPImageProcessorPil.from_pretrained(tiny_clip)

    @torch.no_grad()
    def text(caption):
        ids = tokenizer(f"A photo depicts {caption}", return_tensors="pt")["input_ids"]
        return torch.nn.functional.normalize(model.get_text_features(ids).pooler_output[0], dim=0)

    found = clip.score(REFERENCES, HYPOTHESES, PICTURES.__getitem__)
    for row, key in enumerate(REFERENCES):
        with torch.no_grad():
            pixels = processor(PICTURES[key], return_tensors="pt")["pixel_values"]
            image = torch.nn.functional.normalize(model.get_image_features(pixels).pooler_output[0], dim=0)
        alone = 2.5 * max(float(text(HYPOTHESES[key]) @ image), 0)
        nearest = max(0.0, *(float(text(HYPOTHESES[key]) @ text(reference)) for reference in REFERENCES[key]))
        assert found["CLIPScore"][row] == pytest.approx(alone, abs=1e-5)
        mean = 2 * alone * nearest / (alone + nearest) if alone + nearest else 0
        assert found["RefCLIPScore"][row] == pytest.approx(mean, abs=1e-5)


def test_captions_of_one_image_share_a_look_at_it(tiny_clip):
    styled = {f"a#{style}": text for style, text in {"x": "the dog", "y": "a cat", "z": "the dog"}.items()}
    references, opened = {key: ["a red dog", "the cat"] for key in styled}, []

    def open_picture(image):
        opened.append(image)
        return PICTURES[image]

    found = Clip.open(tiny_clip).score(references, styled, open_picture, dict.fromkeys(styled, "a"))
    assert opened == ["a"]
    for row, caption in enumerate(styled.values()):
        alone = Clip.open(tiny_clip).score({"a": references["a#x"]}, {"a": caption}, PICTURES.__getitem__)
        for name, values in alone.items():
            assert found[name][row] == pytest.approx(values[0], abs=1e-6)


def test_caption_without_words_scores_0_and_a_very_long_one_is_cut(tiny_clip):
    found = Clip.open(tiny_clip).score(REFERENCES, {"a": " ", "b": "cat " * 200}, PICTURES.__getitem__)
    assert (found["CLIPScore"][0], found["RefCLIPScore"][0]) == (0, 0)
    assert np.isfinite(found["RefCLIPScore"]).all()


def test_model_is_known_by_its_weights_whatever_they_are_saved_as_and_halves_are_computed_in_full(tiny_clip, tmp_path):
    clip = Clip.open(tiny_clip)
    said = clip.describe()
    assert said["model"] == tiny_clip.name
    shutil.copytree(tiny_clip, tmp_path / "moved")
    assert Clip.open(tmp_path / "moved", "mine").describe() == said | {"model": "mine"}
    shutil.copytree(tiny_clip, tmp_path / "half")
    CLIPModel.from_pretrained(tiny_clip).half().save_pretrained(tmp_path / "half")
    half = Clip.open(tmp_path / "half")
    assert half.describe()["weights_sha256"] != said["weights_sha256"]
    scores = [one.score(REFERENCES, HYPOTHESES, PICTURES.__getitem__)["RefCLIPScore"] for one in (clip, half)]
    assert scores[0] == pytest.approx(scores[1], abs=2e-3)


def test_missing_picture_or_broken_folder_says_why(tiny_clip, tmp_path):
    with pytest.raises(MetricUnavailable, match="a picture cannot be opened: .*No such file"):
        Clip.open(tiny_clip).score(REFERENCES, HYPOTHESES, lambda key: Image.open(tmp_path / key))
    with pytest.raises(MetricUnavailable, match=r"has no config\.json"):
        Clip.open(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(MetricUnavailable, match="cannot be opened as a CLIP model"):
        Clip.open(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(MetricUnavailable, match="the folder holds adapters beside its weights"):
        Clip.open(tmp_path)


def test_weights_that_are_no_numbers_give_no_score(tiny_clip):
    clip = Clip.open(tiny_clip)
    with torch.no_grad():
        clip.model.visual_projection.weight.zero_()
    with pytest.raises(MetricUnavailable, match="gives no numbers"):
        clip.score(REFERENCES, HYPOTHESES, PICTURES.__getitem__)
