"""Pages, their fenced blocks with the mark before each, and their links."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,})(?P<language>[\w-]*)\s*$")
MARK = re.compile(r"^\s*<!-- (?P<mark>.+) -->\s*$")
MARKED_LANGUAGES = {"bash", "sh", "shell", "console", "python", "json", "csv"}
KINDS = ("run slow", "run in the background", "run", "not run", "configuration", "sweep", "annotations", "example")
"""What a mark begins with; CONTRIBUTING.md says what each means."""
WITH_ARGUMENT = {"not run", "annotations", "run in the background"}


@dataclass(frozen=True)
class Block:
    """A fenced block. ``kind`` is one of ``KINDS``, or "" for a block without a mark; ``argument`` is what follows."""

    page: str
    line: int
    language: str
    text: str
    kind: str
    argument: str

    @property
    def where(self) -> str:
        return f"{self.page}:{self.line}"


def marked_pages() -> list[Path]:
    """Those whose blocks have marks."""
    return [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]


def all_pages() -> list[Path]:
    others = ("README.zh.md", "CONTRIBUTING.md", "benchmarks/README.md", "work_dir/README.md")
    return [*marked_pages(), *(REPOSITORY / name for name in others)]


def name_of(page: Path) -> str:
    return page.relative_to(REPOSITORY).as_posix()


def blocks_of(page: Path) -> list[Block]:
    return list(read_blocks(name_of(page), page.read_text("utf-8")))


def read_blocks(page: str, text: str) -> Iterator[Block]:
    """The blocks of a page's text.

    Raises:
        ValueError: If a block is not closed, or its mark is of no kind.
    """
    lines = text.splitlines()
    number = 0
    while number < len(lines):
        opening = FENCE.match(lines[number])
        if opening is None:
            number += 1
            continue
        end = number + 1
        while end < len(lines) and lines[end].strip() != opening["ticks"]:
            end += 1
        if end == len(lines):
            raise ValueError(f"{page}:{number + 1}: a block that is not closed")
        indent = len(opening["indent"])
        content = "".join(f"{line[indent:]}\n" for line in lines[number + 1 : end])
        kind, argument = _mark_before(page, lines, number)
        yield Block(page, number + 1, opening["language"], content, kind, argument)
        number = end + 1


def _mark_before(page: str, lines: list[str], number: int) -> tuple[str, str]:
    mark = MARK.match(lines[number - 1]) if number else None
    if mark is None:
        return "", ""
    for kind in KINDS:
        head, colon, argument = mark["mark"].partition(":")
        if head.strip() == kind and bool(argument.strip()) == bool(colon) == (kind in WITH_ARGUMENT):
            return kind, argument.strip()
    raise ValueError(f"{page}:{number}: <!-- {mark['mark']} -->: no mark; CONTRIBUTING.md lists them")


def prose_of(text: str) -> str:
    """A page without its fenced blocks and comments, its lines kept."""
    kept, ticks = [], ""
    for line in text.splitlines():
        fence = line.strip() if not ticks else ""
        if not ticks and FENCE.match(line):
            ticks = fence[: len(fence) - len(fence.lstrip("`"))]
        elif ticks:
            ticks = "" if line.strip() == ticks else ticks
        else:
            kept.append(re.sub(r"<!--.*?-->", "", line))
            continue
        kept.append("")
    return "\n".join(kept)


def links_of(text: str) -> list[str]:
    """Targets of links and pictures in prose, inline code left out."""
    return re.findall(r"\]\(([^()\s]+)\)", re.sub(r"`[^`\n]*`", "", prose_of(text)))


def anchors_of(text: str) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    seen: Counter[str] = Counter()
    anchors = set()
    for heading in re.findall(r"^#{1,6} +(.+?) *#*$", prose_of(text), re.MULTILINE):
        words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading.lower())
        anchor = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        anchors.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
        seen[anchor] += 1
    return anchors
