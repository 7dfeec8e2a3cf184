"""The bare checkout as a fixture."""

from __future__ import annotations

import pytest

from tests.container.bare import BareCheckout


@pytest.fixture
def checkout(tmp_path):
    return BareCheckout(tmp_path / "a checkout")
