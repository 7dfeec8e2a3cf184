"""``docs/models.md`` says of every family what its adapter says."""

from __future__ import annotations

from pkgutil import resolve_name

import pytest

from models import CAPTIONERS, LEFT_OUT
from tests.conftest import REPOSITORY

PAGE = (REPOSITORY / "docs/models.md").read_text()
FAMILIES = {kind: place for kind, place in CAPTIONERS.items() if place.startswith("models.hf.")}


@pytest.mark.parametrize("kind", FAMILIES)
def test_page_has_the_row_of_a_family(kind):
    family = resolve_name(FAMILIES[kind]).family
    assert f"| `{kind}` | `{family.class_name}` | {family.style} | {family.licence} |" in PAGE


@pytest.mark.parametrize("kind", LEFT_OUT)
def test_page_says_why_a_family_is_left_out(kind):
    (row,) = [line for line in PAGE.splitlines() if line.startswith("|") and f"`{kind}`" in line]
    assert row.endswith(f"| {LEFT_OUT[kind]} |")
