"""Where a model runs."""

from __future__ import annotations

import torch
from torch import nn

from utils.errors import first_line


def move(module: nn.Module, device: str | None) -> None:
    """Move a model to where it is to run, in place.

    Args:
        module: The model.
        device: Such as ``cpu`` or ``cuda:1``; None is a GPU where there is one.

    Raises:
        ValueError: If there is no such device, or it cannot be used.
    """
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    try:
        module.to(device or accelerator or "cpu")
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device={device!r}: cannot be used ({first_line(error)}); try cpu") from error
