"""Makes the site of the pages with MkDocs; scripts/docs.sh sets up and calls it.

    python scripts/docs_site.py --into site

The pages are laid out as in the checkout, so that their links hold. docs/README.md is the navigation: what it lists
under a heading is a section. Markdown is GitHub's; where Python-Markdown wants other blanks, a page's copy gets them.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
BESIDE_DOCS = (
    *("README.md", "README.zh.md", "CONTRIBUTING.md", "LICENSE", "benchmarks/README.md", "work_dir/README.md"),
    "conf/schema.json",
)
"""What pages of docs/ link to outside of it."""
LAST_SECTION = {"Project": ["CONTRIBUTING.md", "benchmarks/README.md"]}
GITHUB_ANCHORS = '!!python/object/apply:pymdownx.slugs.slugify {"kwds": {"case": "lower"}}'
ITEM = re.compile(r"^ *(?:[-*]|\d+\.) ")


def main() -> None:
    """Build, and end as MkDocs does."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, default=REPOSITORY / "site")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        lay_out(place / "pages")
        said = json.dumps(configuration(options.into.absolute()))
        (place / "mkdocs.yml").write_text(said.replace('"%GITHUB%"', GITHUB_ANCHORS), "utf-8")
        command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--clean", "--config-file", "mkdocs.yml"]
        quiet = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
        sys.exit(subprocess.run(command, cwd=place, env=quiet).returncode)


def lay_out(place: Path) -> None:
    """Copy the pages and what they show."""
    shutil.copytree(REPOSITORY / "docs", place / "docs")
    for name in BESIDE_DOCS:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, place / name)
    for page in place.rglob("*.md"):
        page.write_text(in_python_markdown(page.read_text("utf-8")), "utf-8")


def in_python_markdown(text: str) -> str:
    """A page with the blanks that Python-Markdown needs, and without the marks of its blocks (CONTRIBUTING.md).

    It takes a list for one only after an empty line, and what belongs to an item only if it is four blanks in.
    """
    lines: list[str] = []
    ticks, deeper = "", 0
    for line in text.splitlines():
        fence = re.match(r" *(`{3,})", line)
        if not ticks and re.fullmatch(r"\s*<!-- .* -->\s*", line):
            line = ""
        if not ticks and line and not line.startswith(" "):
            item = re.match(r"(?:[-*]|\d+\.) ", line)
            deeper = 4 - len(item[0]) if item else 0
        if not ticks and ITEM.match(line) and lines and lines[-1].strip() and not _belongs_to_a_list(lines):
            lines.append("")
        lines.append(" " * deeper + line if line.startswith(" ") and deeper else line)
        if fence:
            ticks = "" if ticks == fence[1] else (ticks or fence[1])
    return "\n".join(lines).lstrip("\n") + "\n"


def _belongs_to_a_list(lines: list[str]) -> bool:
    """Whether the paragraph that the lines end with began as an item."""
    for line in reversed(lines):
        if not line.strip() or line.lstrip().startswith("```"):
            return False
        if ITEM.match(line):
            return True
    return False


def sections(index: str) -> Iterator[tuple[str, list[str]]]:
    """(heading, pages) of docs/README.md, from the folder above."""
    for part in re.split(r"^## ", index, flags=re.MULTILINE)[1:]:
        heading, _, items = part.partition("\n")
        yield heading.strip(), re.findall(r"^- \[[^]]+\]\(([^)]+\.md)\)", items, flags=re.MULTILINE)


def configuration(into: Path) -> dict[str, Any]:
    """What MkDocs is told; JSON is YAML."""
    index = (REPOSITORY / "docs/README.md").read_text("utf-8")
    nav = [{heading: [os.path.normpath(f"docs/{page}") for page in pages]} for heading, pages in sections(index)]
    nav += [{heading: list(pages)} for heading, pages in LAST_SECTION.items()]
    return {
        "site_name": "StyleCap",
        "docs_dir": "pages",
        "site_dir": str(into),
        "use_directory_urls": False,
        "nav": nav,
        "not_in_nav": "README.zh.md\ndocs/README.md\nwork_dir/README.md\n",
        "theme": {
            "name": "material",
            "font": False,  # the system's: others would be fetched from Google
            "features": ["navigation.sections", "navigation.top", "toc.follow", "content.code.copy"],
            "palette": [
                {"media": "(prefers-color-scheme: light)", "scheme": "default", "primary": "indigo"},
                {"media": "(prefers-color-scheme: dark)", "scheme": "slate", "primary": "indigo"},
            ],
        },
        "plugins": ["search"],
        "extra": {"generator": False},
        "markdown_extensions": [
            *("tables", "sane_lists", "pymdownx.superfences", "pymdownx.inlinehilite"),
            {"pymdownx.highlight": {"guess_lang": False}},
            {"toc": {"permalink": True, "slugify": "%GITHUB%"}},
        ],
        "validation": {"links": {"anchors": "warn", "unrecognized_links": "warn", "absolute_links": "warn"}},
    }


if __name__ == "__main__":
    main()
