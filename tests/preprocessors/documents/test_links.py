"""Documents that link to one another: what a walk finds, and what a pack of it shows to whom."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from preprocessors.documents.interface import Document
from preprocessors.documents.links import LinkGraph, count_cycles
from preprocessors.documents.packing import Packer, mask
from tests.preprocessors.documents.written import BOS, EOS, write_documents


def graph(*links: Sequence[int]) -> LinkGraph:
    ends = np.cumsum([len(each) for each in links], dtype=np.uint64)
    return LinkGraph(ends, np.array([target for each in links for target in each], np.uint32))


def seen_in(found: LinkGraph, root: int, sizes: Sequence[int], budget: int) -> dict[int, set[int]]:
    """What each document of a walk sees of the others, in the order of the walk."""
    walk = found.walk(root, sizes, budget)
    assert walk.documents[-1] == root
    assert not np.triu(walk.sees, 1).any()  # nobody sees what comes later
    assert walk.sees.diagonal().all()
    return {
        document: {walk.documents[place] for place in np.flatnonzero(walk.sees[row])} - {document}
        for row, document in enumerate(walk.documents)
    }


def test_walk_puts_children_before_their_parents_and_shows_them_all_below():
    # 0 -> 1, 2; 1 -> 3; 2 -> 3; 3 -> 4
    seen = seen_in(graph([1, 2], [3], [3], [4], []), 0, [1] * 5, 10)
    assert [*seen] == [4, 3, 1, 2, 0]
    assert seen == {4: set(), 3: {4}, 1: {3, 4}, 2: {3, 4}, 0: {1, 2, 3, 4}}


def test_walk_takes_the_nearest_documents_that_fit():
    found = graph([1, 2, 3], [4], [], [], [])
    assert [*seen_in(found, 0, [1, 3, 9, 2, 1], 5)] == [1, 3, 0]  # 2 is too large, and nothing is left for 4
    assert [*seen_in(found, 0, [1, 3, 9, 2, 1], 6)] == [4, 1, 3, 0]
    assert [*seen_in(found, 0, [1, 3, 9, 2, 1], 0)] == [0]


def test_walk_leaves_out_links_that_lead_back():
    found = graph([1], [2, 0], [1])
    assert seen_in(found, 0, [1] * 3, 10) == {2: set(), 1: {2}, 0: {1, 2}}
    assert seen_in(found, 1, [1] * 3, 10) == {2: set(), 0: set(), 1: {0, 2}}
    assert count_cycles(found) == 2  # 1 -> 0 and 2 -> 1


def test_links_to_nowhere_to_itself_and_from_titles_that_are_not_alone_are_counted(tmp_path: Path):
    bins = write_documents(
        tmp_path / "a",
        Document("a", (), ("B", "B", "A", "none"), "A"),
        Document("b", (), ("A",), "B"),
        Document("c", (), ("lost",), "B"),
        Document("d"),
    )
    assert bins.links is not None
    assert [bins.links.of(number) for number in range(4)] == [[1], [0], [], []]
    assert bins.about["links"] == {
        **{"links": 2, "nowhere": 2, "first_nowhere": ["A -> none", "B -> lost"], "cycles": 1, "same_titles": 1}
    }


def test_links_to_nowhere_are_told_by_the_beginnings_of_their_titles(tmp_path: Path):
    """The description that they stand in is read only if it is small."""
    bins = write_documents(tmp_path / "a", Document("a", (), ("n" * 10_000,), "t" * 10_000))
    assert bins.about["links"]["first_nowhere"] == [f"{'t' * 80} -> {'n' * 80}"]


def test_linked_packs_learn_each_document_once_and_show_what_it_links_to(tmp_path: Path):
    bins = write_documents(
        tmp_path / "a",
        Document("ab", ("m",), ("C", "D"), "A"),
        Document("c", (), ("D",), "C"),
        Document("d", (), (), "D"),
    )
    packer = Packer(bins, 32, bos=BOS, eos=EOS, linked=True)
    plan = packer.plan(None)
    assert [plan.row(number) for number in range(len(plan))] == [[0, 1, 2]]
    batch = packer.batch(plan, [0])
    texts = ["d", "c", "m\nab", "d", "c", "d"]
    ids = [[BOS, *map(ord, text), EOS] for text in texts]
    assert batch.token_ids.tolist() == [[each for text in ids for each in text]]
    learnt = [chr(each) for each in batch.targets[0].tolist() if each > EOS]
    assert learnt == [*"ab", "c", "d"]
    assert batch.ancestors is not None
    assert batch.ancestors[0].int().tolist() == [
        *([1, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0]),
        *([0, 0, 0, 1, 0, 0], [0, 0, 0, 1, 1, 0], [0, 0, 0, 0, 0, 1]),
    ]
    seen = mask(batch.document_ids, batch.ancestors)[0, 0]
    assert seen[11].int().tolist() == [1] * 12 + [0] * 9  # the last token of "ab" sees "d" and "c" and itself
    assert seen[12].int().tolist() == [0] * 12 + [1] + [0] * 8


def test_linked_packs_fit_their_context_and_leave_out_what_does_not(tmp_path: Path):
    names = "ABCDEFGH"
    documents = [
        Document(name.lower() * (1 + 3 * place), (), tuple(names.replace(name, "")), name)
        for place, name in enumerate(names)
    ]
    packer = Packer(write_documents(tmp_path / "a", *documents), 20, bos=BOS, eos=EOS, linked=True)
    plan = packer.plan(1)
    batch = packer.batch(plan, [*range(len(plan))])
    assert batch.token_ids.shape[1] <= 20
    learnt = sorted(chr(each) for each in batch.targets.flatten().tolist() if each > EOS)
    assert learnt == sorted("".join(document.body for document in documents))


def test_linked_packs_have_no_more_before_a_document_than_they_may(tmp_path: Path):
    bins = write_documents(
        tmp_path / "a", Document("a", (), ("B",), "A"), Document("b", (), ("C",), "B"), Document("c", (), (), "C")
    )
    sizes = []
    for link_tokens in (None, 6, 5, 3, 2):
        packer = Packer(bins, 32, bos=BOS, eos=EOS, linked=True, link_tokens=link_tokens)
        row = packer.batch(packer.plan(None), [0])
        sizes.append(row.token_ids.shape[1])
    assert sizes == [18, 18, 15, 15, 9]  # three ids each: c b a, c b, c; without c for a; nothing for anyone


def test_links_without_titles_are_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="no document has a title, so none can link to another"):
        Packer(write_documents(tmp_path / "a", Document("a")), 8, bos=BOS, eos=EOS, linked=True)
