from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

from metrics.clip import Clip, clip_score, ref_clip_score
from metrics.scores.measurement import MetricUnavailable

SIDE = {"num_hidden_layers": 1, "num_attention_heads": 2}
REFERENCES = {"a": ["a red dog", "the cat"], "b": ["A blue cat!"]}
HYPOTHESES = {"a": "the dog", "b": "a cat"}
PICTURES = {"a": Image.new("RGB", (40, 30), "red"), "b": Image.new("RGB", (30, 40), "blue")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("clip")
    letters = [chr(code) for code in range(33, 127)]
    names = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(vocab={name: place for place, name in enumerate(names)}, merges=[])
    end = len(names) - 1
    text = SIDE | {"hidden_size": 16, "intermediate_size": 20, "vocab_size": len(names), "eos_token_id": end}
    text |= {"bos_token_id": end - 1, "pad_token_id": end, "max_position_embeddings": 40}
    vision = SIDE | {"hidden_size": 24, "intermediate_size": 36, "image_size": 32, "patch_size": 16}
    torch.manual_seed(5)
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)).save_pretrained(place)
    tokenizer.save_pretrained(place)
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(place)
    return place


def test_scores_equal_hand_arithmetic():
    scores = clip_score(np.array([0.4, -0.2, 0.2]))
    assert scores == pytest.approx([1.0, 0.0, 0.5])
    assert ref_clip_score(scores, np.array([0.5, -0.1, -0.3])) == pytest.approx([2 / 3, 0.0, 0.0])


def test_score_follows_from_the_models_own_features_one_by_one(folder):
    clip = Clip.open(folder)
    model, tokenizer = CLIPModel.from_pretrained(folder).eval(), CLIPTokenizer.from_pretrained(folder)
    processor = CLIPImageProcessorPil.from_pretrained(folder)

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


def test_caption_without_words_scores_0_and_a_very_long_one_is_cut(folder):
    found = Clip.open(folder).score(REFERENCES, {"a": " ", "b": "cat " * 200}, PICTURES.__getitem__)
    assert (found["CLIPScore"][0], found["RefCLIPScore"][0]) == (0, 0)
    assert np.isfinite(found["RefCLIPScore"]).all()


def test_missing_picture_or_broken_folder_says_why(folder, tmp_path):
    with pytest.raises(MetricUnavailable, match="a picture cannot be opened: .*No such file"):
        Clip.open(folder).score(REFERENCES, HYPOTHESES, lambda key: Image.open(tmp_path / key))
    with pytest.raises(MetricUnavailable, match=r"has no config\.json"):
        Clip.open(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(MetricUnavailable, match="cannot be opened as a CLIP model"):
        Clip.open(tmp_path)
