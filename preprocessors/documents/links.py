"""Which document links to which: titles made into numbers, kept in ``links.bin``, and walked."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from utils.io import read_jsonl

NAMED_LINKS, LINKS = "links.jsonl", "links.bin"
NOWHERE, TOLD = 20, 80
"""Links to nowhere that are told one by one, and the most characters of a title in them."""


@dataclass(frozen=True)
class LinkGraph:
    """The documents that each document links to, by number.

    Attributes:
        ends: Where the links of a document end among all, uint64 (D,).
        targets: The documents that are linked to, uint32.
    """

    ends: NDArray[np.uint64]
    targets: NDArray[np.uint32]

    def of(self, document: int) -> list[int]:
        """The documents that one links to, in the order of its links, each once and never itself."""
        start = int(self.ends[document - 1]) if document else 0
        found: list[int] = self.targets[start : int(self.ends[document])].tolist()
        return found

    def walk(self, root: int, sizes: Sequence[int] | NDArray[np.integer[Any]], budget: int) -> Walk:
        """The documents to read before one, as many as fit: those it links to first, then those that they link to.

        Args:
            root: The document.
            sizes: Of all documents, in ids.
            budget: Ids that the documents before it may have together. What is larger than what is left is passed over,
                and nothing is looked for behind it.
        """
        chosen, waiting = {root: None}, [root]
        while waiting:
            following = []
            for document in waiting:
                for target in self.of(document):
                    if target not in chosen and sizes[target] <= budget:
                        budget -= int(sizes[target])
                        chosen[target] = None
                        following.append(target)
            waiting = following
        return self._ordered(root, chosen.keys())

    def _ordered(self, root: int, chosen: Collection[int]) -> Walk:
        """Children before their parents; a link back to a document that is still being read is left out."""
        order: list[int] = []
        place: dict[int, int] = {}
        sees: list[set[int]] = []
        path = [(root, iter(self.of(root)))]
        reading = {root: set[int]()}
        while path:
            document, left = path[-1]
            for target in left:
                if target in place:
                    reading[document] |= sees[place[target]]
                elif target in chosen and target not in reading:
                    path.append((target, iter(self.of(target))))
                    reading[target] = set()
                    break
            else:
                path.pop()
                place[document] = len(order)
                order.append(document)
                sees.append(reading.pop(document) | {place[document]})
                if path:
                    reading[path[-1][0]] |= sees[-1]
        matrix = np.zeros((len(order), len(order)), dtype=bool)
        for row, seen in enumerate(sees):
            matrix[row, [*seen]] = True
        return Walk(order, matrix)


class Walk(NamedTuple):
    """Documents that are read one after the other; the last one is what they are read for."""

    documents: list[int]
    sees: NDArray[np.bool_]
    """(D, D), whether a document sees another: itself, those it links to, and those that these see, all before it."""


def write_links(folder: Path, documents: int) -> dict[str, Any] | None:
    """Make ``links.bin`` of the titles and links of documents, in ``links.jsonl``.

    Args:
        folder: Of both files.
        documents: Number of all.

    Returns:
        What was found: links, those that lead nowhere (with the first of them), those that close a cycle, titles that
        several documents have (the first one counts). None where there are no titles and links.
    """
    numbers: dict[str, int] = {}
    again = 0
    for number, title, _ in _rows(folder):
        if title is not None and numbers.setdefault(title, number) != number:
            again += 1
    if not (folder / NAMED_LINKS).stat().st_size:
        return None
    counts, targets = np.zeros(documents, np.uint64), []
    nowhere: list[str] = []
    missing = 0
    for number, title, links in _rows(folder):
        found = [numbers[link] for link in links if link in numbers]
        kept = [target for target in dict.fromkeys(found) if target != number]
        name = title[:TOLD] if title else f"document {number + 1:,}"
        lost = [f"{name} -> {link[:TOLD]}" for link in links if link not in numbers]
        missing, nowhere = missing + len(lost), (nowhere + lost)[:NOWHERE]
        counts[number] = len(kept)
        targets.append(np.array(kept, np.uint32))
    graph = LinkGraph(np.cumsum(counts, dtype=np.uint64), np.concatenate(targets))
    (folder / LINKS).write_bytes(graph.ends.astype("<u8").tobytes() + graph.targets.astype("<u4").tobytes())
    told = {"nowhere": missing, "first_nowhere": nowhere, "cycles": count_cycles(graph), "same_titles": again}
    return {"links": len(graph.targets), **told}


def read_links(folder: Path, documents: int) -> LinkGraph | None:
    """The links of so many documents in a folder; None where there are none."""
    path = folder / LINKS
    if not path.exists():
        return None
    ends = np.fromfile(path, "<u8", documents)
    return LinkGraph(ends, np.fromfile(path, "<u4", offset=ends.nbytes))


def _rows(folder: Path) -> Iterator[tuple[int, str | None, list[str]]]:
    for _, (number, title, links) in read_jsonl(folder / NAMED_LINKS):
        yield number, title, links


def count_cycles(graph: LinkGraph) -> int:
    """Links that lead back to a document from which they came; without them there is no cycle."""
    finished, open_ = np.zeros(len(graph.ends), bool), np.zeros(len(graph.ends), bool)
    number = 0
    for root in range(len(graph.ends)):
        path = [] if finished[root] else [(root, iter(graph.of(root)))]
        open_[root] = bool(path)
        while path:
            document, left = path[-1]
            for target in left:
                number += bool(open_[target])
                if not finished[target] and not open_[target]:
                    open_[target] = True
                    path.append((target, iter(graph.of(target))))
                    break
            else:
                path.pop()
                finished[document], open_[document] = True, False
    return number
