"""The made-up wiki of linked pages: what stands where, and what a model learns of it with links and without."""

from __future__ import annotations

import argparse

import pytest

from preprocessors.documents.sources import links_in
from tests.test_benchmarks import load_benchmark

SMALL = {"pages": 1000, "steps": 800, "batch_size": 8, "context": 128, "link_tokens": 36, "bpe_size": 1500}


@pytest.fixture(scope="module")
def wiki():
    return load_benchmark("linked_wiki")


def test_wikis_facts_stand_in_the_page_that_is_linked_to(wiki):
    pages = {page.title: page for page in wiki.make_wiki(200, 0)}
    assert 190 < len(pages) <= 200
    people = [page for page in pages.values() if page.fact]
    assert len(people) > 100
    for person in people:
        town = pages[links_in(person.body)[0]]
        assert person.body.endswith(person.fact)
        assert f"people speak{person.fact}." in town.body
        assert person.fact not in person.body.removesuffix(person.fact)
    lost = [link for page in pages.values() for link in links_in(page.body) if link not in pages]
    assert 0 < len(lost) < 10


def test_wikis_of_other_seeds_share_no_town(wiki):
    first, second = ({page.title for page in wiki.make_wiki(200, seed)} for seed in (0, 1))
    assert len(first & second) < 0.05 * len(first)


@pytest.mark.slow
def test_fact_in_a_linked_page_is_predicted_better_with_the_link(wiki):
    found = wiki.measure(argparse.Namespace(**SMALL, size="nano", lr=4e-3, dropout=0.0))
    assert found["links"]["nowhere"] > 0
    assert found["links"]["cycles"] > 0
    assert found["trained_with_read_with"] < found["guess"] - 0.5
    for name in ("trained_with_read_without", "trained_without_read_with", "trained_without_read_without"):
        assert found[name] > found["guess"] - 0.2
