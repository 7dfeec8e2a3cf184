from __future__ import annotations

import pytest
import torch

from models.ofa.resnet import ResNet, drop_path


@pytest.mark.parametrize(("stem_stride", "side"), [(4, 4), (2, 8)])
def test_resnet_output_stride_and_channels(stem_stride, side):
    network = ResNet([1, 1, 1], width=4, stem_stride=stem_stride)
    features = network(torch.zeros(2, 3, 64, 64))
    assert features.shape == (2, 64, side, side)
    assert features.is_contiguous(memory_format=torch.channels_last)


def test_resnet_folded_batch_norm_equals_the_module_in_value_and_gradient():
    torch.manual_seed(0)
    network = ResNet([1, 2, 1], width=4)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.5, 0.5)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    images = torch.randn(2, 3, 32, 48)

    def run(folded: bool) -> tuple[torch.Tensor, list[torch.Tensor]]:
        network.eval()
        if not folded:  # as a module in training mode would be called, but with its running statistics
            for module in network.modules():
                if isinstance(module, torch.nn.BatchNorm2d):
                    module.training, module.forward = True, _with_running_statistics(module)
        network.zero_grad()
        features = network(images)
        features.square().mean().backward()
        return features.detach(), [parameter.grad.clone() for parameter in network.parameters()]

    folded, plain = run(True), run(False)
    torch.testing.assert_close(folded[0], plain[0], rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(folded[1], plain[1], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def _with_running_statistics(norm: torch.nn.BatchNorm2d):
    def forward(hidden: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.batch_norm(hidden, norm.running_mean, norm.running_var, norm.weight, norm.bias)

    return forward


def test_resnet_frozen_statistics_survive_training_mode():
    network = ResNet([1, 1, 1], width=4)
    network.freeze_statistics()
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    network.train()(torch.randn(2, 3, 32, 32))
    assert all(torch.equal(buffer, before[name]) for name, buffer in network.named_buffers())


def test_resnet_with_two_stages_is_refused():
    with pytest.raises(ValueError, match="three stages"):
        ResNet([3, 4])


def test_drop_path_zeroes_whole_samples_and_keeps_the_mean():
    torch.manual_seed(0)
    dropped = drop_path(torch.ones(4000, 3), 0.25, training=True)
    assert sorted(set(dropped.flatten().tolist())) == pytest.approx([0.0, 4 / 3])
    assert torch.equal(dropped[:, 0], dropped[:, 2])
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.05)
    assert torch.equal(drop_path(torch.ones(5), 0.25, training=False), torch.ones(5))
