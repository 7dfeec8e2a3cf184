from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from captioning import features as features_module
from captioning.features import pooled_features, vision_features
from configuration.loading import load_config
from pipeline.prepare import prepare
from preprocessors.pictures.images import load_image
from utils.io import write_json


@pytest.fixture
def writer(tiny_document, tmp_path):
    write_json(tmp_path / "conf.json", tiny_document)
    return prepare(load_config(tmp_path / "conf.json")).writer


@pytest.fixture
def pictures(scenes) -> list[Path]:
    return sorted((scenes / "images").glob("train_*"))[:5]


def test_pooled_features_are_means_of_what_the_vision_network_gives_in_evaluation(writer, pictures, monkeypatch):
    monkeypatch.setattr(features_module, "BATCH", 2)
    network, transform = writer.captioner.parts()["vision"][0], writer.preprocessor.image_transform
    writer.captioner.module.train()

    found = pooled_features(vision_features(writer.captioner, transform), pictures)

    assert network.training
    network.eval()
    for picture, row in zip(pictures, found, strict=True):
        with torch.no_grad():
            (grid,) = network(transform(load_image(picture))[None])
        assert grid.dim() == 3
        assert row == pytest.approx(grid.mean((1, 2)).numpy(), rel=1e-4, abs=1e-6)
    assert found.dtype == np.float32
    assert len(np.unique(found.round(6), axis=0)) == 5


def test_vision_features_of_a_model_in_another_number_format_are_in_it(writer, pictures):
    writer.captioner.module.bfloat16()
    source = vision_features(writer.captioner, writer.preprocessor.image_transform)
    assert next(source(pictures)).dtype == torch.bfloat16
    assert pooled_features(source, pictures).dtype == np.float32


def test_pooled_features_take_any_source_and_features_without_a_grid():
    def source(pictures):
        yield torch.tensor([[[[1.0, 2.0, 6.0]], [[0.0, 0.0, 3.0]]]])
        yield torch.tensor([[5.0, 7.0]])

    assert pooled_features(source, [Path("a"), Path("b")]).tolist() == [[3, 1], [5, 7]]


def test_pooled_features_that_are_no_numbers_are_refused():
    source = lambda pictures: iter([torch.tensor([[1.0], [torch.nan], [torch.inf]])])  # noqa: E731
    with pytest.raises(ValueError, match=r"b: its features are no finite numbers \(2 pictures\)"):
        pooled_features(source, [Path("a"), Path("b"), Path("c")])


def test_pooled_features_of_a_missing_picture_are_refused_by_name(writer, pictures, tmp_path):
    source = vision_features(writer.captioner, writer.preprocessor.image_transform)
    with pytest.raises(FileNotFoundError, match=r"gone\.png: picture not found"):
        pooled_features(source, [*pictures, tmp_path / "gone.png"])
