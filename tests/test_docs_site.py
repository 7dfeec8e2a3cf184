"""The site of the pages: built without a fault, read without a network; the Chinese README says what README does."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from scripts.docs_site import in_python_markdown, sections
from tests.docs.blocks import REPOSITORY, all_pages, links_of, name_of, read_blocks

ENGLISH = (REPOSITORY / "README.md").read_text("utf-8")
CHINESE = (REPOSITORY / "README.zh.md").read_text("utf-8")


def test_chinese_readme_has_the_commands_and_settings_of_readme():
    def blocks(text: str) -> list[tuple[str, str]]:
        found = [(block.language, block.text) for block in read_blocks("p.md", re.sub(r"<!-- .* -->\n", "\n", text))]
        return [(language, re.sub(r" +# .*", "", body)) for language, body in found]  # comments are translated

    assert blocks(CHINESE) == blocks(ENGLISH)


def test_chinese_readme_has_the_sections_links_and_results_of_readme():
    def numbers(text: str) -> list[str]:
        return re.findall(r"\d[\d,.]*\d", "".join(re.findall(r"^\|.*$", text, flags=re.MULTILINE)))

    others = {"README.md", "README.zh.md"}
    assert set(links_of(CHINESE)) - others == set(links_of(ENGLISH)) - others
    assert len(re.findall(r"^#+ ", CHINESE, re.MULTILINE)) == len(re.findall(r"^#+ ", ENGLISH, re.MULTILINE))
    in_tables = numbers(ENGLISH)
    assert len(in_tables) > 20
    # A heading of the table has its words in another order, and so its number.
    assert sorted(numbers(CHINESE)) == sorted(in_tables)


def test_index_is_four_groups_that_hold_pages_once():
    groups = dict(sections((REPOSITORY / "docs/README.md").read_text("utf-8")))
    assert list(groups) == ["To begin with", "How to", "Reference", "Explanations"]
    pages = [page for group in groups.values() for page in group]
    assert len(pages) == len(set(pages))


def test_lists_get_the_blanks_that_python_markdown_needs():
    fenced = "```bash\n- no list\n```\ntext:\n"
    assert in_python_markdown(f"<!-- run -->\n{fenced}- one\n  more\n- two\n") == (
        f"{fenced}\n- one\n    more\n- two\n"
    )
    assert in_python_markdown("1. first\n\n   ```json\n   {\n     1}\n   ```\nend\n  s\n") == (
        "1. first\n\n    ```json\n    {\n      1}\n    ```\nend\n  s\n"
    )


class _Fetched(HTMLParser):
    """Addresses that a browser fetches by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        name = {"script": "src", "img": "src", "iframe": "src", "link": "href"}.get(tag)
        if name and given.get(name) and given.get("rel") != "canonical":
            self.addresses.append(str(given[name]))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site; MkDocs is strict, so that a link to nowhere fails."""
    if importlib.util.find_spec("mkdocs") is None or importlib.util.find_spec("material") is None:
        pytest.skip("MkDocs is not installed (bash scripts/setup.sh --docs)")
    into = tmp_path_factory.mktemp("site")
    command = [sys.executable, "scripts/docs_site.py", "--into", str(into)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return into


def test_site_has_every_page(site):
    names = {name_of(page).removesuffix(".md").replace("README", "index") for page in all_pages()}
    names = {name.replace("index.zh", "README.zh") for name in names}
    assert {name for name in names if not (site / f"{name}.html").is_file()} == set()


def test_nothing_is_fetched_from_elsewhere_while_the_site_is_read(site):
    foreign = set()
    for page in site.rglob("*.html"):
        parser = _Fetched()
        parser.feed(page.read_text("utf-8"))
        foreign |= {address for address in parser.addresses if re.match(r"(https?:)?//", address)}
    for sheet in site.rglob("*.css"):
        foreign |= set(re.findall(r"url\([\"']?((?:https?:)?//[^)]+)", sheet.read_text("utf-8")))
    assert foreign == set()


def test_site_can_be_searched(site):
    index = (site / "search/search_index.json").read_text("utf-8")
    assert "fully_shard" in index
    assert (site / "docs/configuration.html").read_text("utf-8").count('data-md-component="search"') == 1
