from __future__ import annotations

import logging
import pickle

import pytest
import torch

from configuration.loading import load_config
from models.ofa.resnet import ResNet
from pipeline.prepare import prepare
from preprocessors.dataset import CaptionDataset
from preprocessors.pictures import feature_cache
from preprocessors.pictures.feature_cache import FeatureCache, feature_shape, features_fit, write_features
from preprocessors.pictures.images import ImageTransform, load_image
from utils.io import write_json

TRANSFORM = ImageTransform((32, 48))
SHAPE = (64, 2, 3)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(feature_cache, "BATCH", 5)  # 12 pictures: an uneven remainder


@pytest.fixture
def resnet() -> ResNet:
    torch.manual_seed(1)
    network = ResNet([1, 1, 1], width=4)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.5, 0.5)
    network.requires_grad_(False)
    network.freeze_statistics()
    return network


@pytest.fixture
def images(scenes):
    found = sorted((scenes / "images").glob("*"))[:12]
    assert len(found) == 12
    return found[::-1]


def _features(resnet: ResNet, image) -> torch.Tensor:
    return resnet(TRANSFORM(load_image(image))[None])[0]


def test_kept_features_equal_those_of_each_picture_alone(resnet, images, tmp_path):
    file = tmp_path / "features"
    write_features(file, images, resnet, TRANSFORM)
    cache = FeatureCache(file, images, feature_shape(resnet, TRANSFORM))
    assert feature_shape(resnet, TRANSFORM) == SHAPE
    assert list(cache) == images
    assert file.stat().st_size == 12 * 64 * 2 * 3 * 4
    for image in images:
        assert cache[image].dtype == torch.float32
        torch.testing.assert_close(cache[image], _features(resnet, image), rtol=1e-4, atol=1e-5)
    assert len({cache[image].sum().item() for image in images}) == 12


def test_training_examples_with_kept_features_are_those_of_their_pixels(tiny_document, tmp_path):
    """The cache sees the pixels that training would: same size, same normalisation, none cropped."""
    write_json(tmp_path / "conf.json", tiny_document)
    config = load_config(tmp_path / "conf.json")
    prepared = prepare(config)
    examples, preprocessor = prepared.data.train.examples, prepared.captioner.preprocessor()
    resnet = prepared.captioner.captioner.module.encoder.embed_images.eval()
    pictures = list(dict.fromkeys(example.image_path for example in examples))
    assert len(pictures) < len(examples)
    write_features(tmp_path / "features", pictures, resnet, preprocessor.image_transform)
    cache = FeatureCache(tmp_path / "features", pictures, feature_shape(resnet, preprocessor.image_transform))
    plain, cached = (CaptionDataset(examples, preprocessor, True, features=kept) for kept in (None, cache))
    for row in (0, 7, len(examples) - 1):
        expected = plain[row]
        with torch.no_grad():
            features = resnet(expected.pop("patch_image")[None])[0]
        given = cached[row]
        torch.testing.assert_close(given.pop("image_features"), features, rtol=1e-4, atol=1e-5)
        assert given == expected


def test_kept_features_in_bfloat16_are_what_autocast_gives(resnet, images, tmp_path):
    write_features(tmp_path / "features", images[:5], resnet, TRANSFORM, autocast=torch.bfloat16)
    cache = FeatureCache(tmp_path / "features", images[:5], SHAPE)
    with torch.autocast("cpu", torch.bfloat16):
        together = resnet(torch.stack([TRANSFORM(load_image(image)) for image in images[:5]]))
    assert together.dtype == torch.bfloat16
    assert torch.equal(torch.stack([cache[image] for image in images[:5]]), together.float())
    assert not torch.equal(cache[images[0]], _features(resnet, images[0]))


def test_a_features_tensor_belongs_to_the_reader(resnet, images, tmp_path):
    write_features(tmp_path / "features", images, resnet, TRANSFORM)
    cache = FeatureCache(tmp_path / "features", images, SHAPE)
    before = cache[images[3]].clone()
    cache[images[3]].zero_()
    assert torch.equal(cache[images[3]], before)


def test_a_worker_maps_the_file_itself(resnet, images, tmp_path):
    write_features(tmp_path / "features", images, resnet, TRANSFORM)
    cache = FeatureCache(tmp_path / "features", images, SHAPE)
    expected = cache[images[2]]  # the file is mapped from here on
    pickled = pickle.dumps(cache)
    assert len(pickled) < (tmp_path / "features").stat().st_size / 4
    assert torch.equal(pickle.loads(pickled)[images[2]], expected)


def test_writing_leaves_the_network_as_it_was(resnet, images, tmp_path):
    resnet.train()
    before = {name: buffer.clone() for name, buffer in resnet.named_buffers()}
    write_features(tmp_path / "features", images, resnet, TRANSFORM)
    assert resnet.training
    assert all(torch.equal(buffer, before[name]) for name, buffer in resnet.named_buffers())


def test_a_damaged_picture_in_the_middle_leaves_the_folder_as_it_was(resnet, images, tmp_path):
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(images[7].read_bytes()[:200])
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "features").write_bytes(b"of an earlier start")
    resnet.train()
    with pytest.raises(ValueError, match=r"damaged\.png: the picture cannot be read"):
        write_features(folder / "features", [*images[:7], damaged, *images[8:]], resnet, TRANSFORM)
    assert [path.name for path in folder.iterdir()] == ["features"]
    assert (folder / "features").read_bytes() == b"of an earlier start"
    assert resnet.training


def test_features_fit_up_to_the_limit_and_say_so_beyond(caplog):
    # 64 * 2 * 3 floats are 1,536 bytes a picture, of which 682.67 are one MiB.
    with caplog.at_level(logging.WARNING, feature_cache.__name__):
        assert features_fit(SHAPE, 682, limit_mb=1)
        assert not features_fit(SHAPE, 1, limit_mb=0)  # switched off: nothing to be said
        assert not caplog.records
        assert not features_fit(SHAPE, 683, limit_mb=1)
    (record,) = caplog.records
    assert record.getMessage() == (
        "features of 683 pictures need 2 MiB and image.feature_cache_mb is 1: computing them every epoch"
    )
