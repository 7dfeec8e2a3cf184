"""What several tests of OFA encode."""

import pytest
import torch


@pytest.fixture
def encoded(captioner, tiny_inputs):
    """Three pictures with a styled prompt, and the same with a neutral one of another length."""
    styled, neutral = tiny_inputs(7), tiny_inputs(5)
    neutral["patch_images"] = styled["patch_images"]
    with torch.no_grad():
        return captioner.encode(styled), captioner.encode(neutral)
