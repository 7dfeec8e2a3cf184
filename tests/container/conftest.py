"""The bare checkout as a fixture, which leaves no process behind."""

from __future__ import annotations

import pytest

from tests.container.bare import BareCheckout, end_all


@pytest.fixture
def checkout(tmp_path):
    bare = BareCheckout(tmp_path / "a checkout")
    yield bare
    end_all(bare.started)
