"""This process among those that train together."""

from __future__ import annotations

import os


def rank() -> int:
    """Number of this process under ``torchrun``, 0 alone."""
    return int(os.environ.get("RANK", "0"))
