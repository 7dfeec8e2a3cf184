"""The pages: every block is run, checked or marked with why not; links lead somewhere; the reference is up to date."""

from __future__ import annotations

import fcntl
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from configuration.document import main, write_page
from configuration.groups import RunConfig
from configuration.keys import GROUPS, KNOWN_KEYS
from configuration.schema import docstrings
from scripts import commands_page
from tests.docs import warm_python
from tests.docs.blocks import (
    MARKED_LANGUAGES,
    REPOSITORY,
    Block,
    all_pages,
    anchors_of,
    blocks_of,
    links_of,
    marked_pages,
    name_of,
    prose_of,
    read_blocks,
)
from tests.docs.commands import (
    commands_in,
    faults_of_annotations,
    faults_of_command,
    faults_of_configuration,
    faults_of_shell,
    faults_of_sweep,
)
from tests.docs.place import TAKEN, lay_out, run_in, script_of, stand_in, train

LONGEST_README = 130
WIDEST_README = 120
SHELLS = {"bash", "sh", "shell", "console"}
PAGES = [name_of(page) for page in all_pages()]
BLOCKS = [block for page in marked_pages() for block in blocks_of(page)]
TO_RUN = sorted({block.page for block in BLOCKS if block.kind in ("run", "run in the background")})
TO_RUN_SLOWLY = sorted({block.page for block in BLOCKS if block.kind == "run slow"})


def _blocks(kinds: set[str]) -> list[pytest.param]:
    return [pytest.param(block, id=block.where) for block in BLOCKS if block.kind in kinds]


def test_every_block_says_how_it_is_tested_or_why_not():
    unmarked = [block.where for block in BLOCKS if block.language in MARKED_LANGUAGES and not block.kind]
    assert unmarked == [], "CONTRIBUTING.md says how to mark a block"


def test_readme_is_short_enough_for_a_newcomer():
    lines = (REPOSITORY / "README.md").read_text("utf-8").splitlines()
    assert len(lines) <= LONGEST_README
    assert [line for line in lines if len(line) > WIDEST_README and not line.startswith("!")] == []


def test_readme_begins_with_one_picture_and_two_commands():
    text = (REPOSITORY / "README.md").read_text("utf-8")
    assert text.index("](docs/") < text.index("bash scripts/demo.sh") < text.index("bash scripts/test.sh")


def test_index_lists_every_page():
    listed = set(links_of((REPOSITORY / "docs/README.md").read_text("utf-8")))
    pages = {page.name for page in (REPOSITORY / "docs").glob("*.md")} - {"README.md"}
    assert sorted(pages - listed) == []


@pytest.mark.parametrize("page", PAGES)
def test_links_pictures_and_anchors_are_there(page):
    text = (REPOSITORY / page).read_text("utf-8")
    broken = []
    for link in links_of(text):
        target, _, anchor = link.partition("#")
        path = (REPOSITORY / page).parent / target if target else REPOSITORY / page
        if re.match(r"[a-z]+:", link) or (path.exists() and not anchor):
            continue
        if not path.is_file() or anchor not in anchors_of(path.read_text("utf-8")):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", PAGES)
def test_shell_blocks_use_scripts_options_and_keys_that_there_are(page):
    shells = [block for block in blocks_of(REPOSITORY / page) if block.language in SHELLS]
    assert [f"{block.where}: {fault}" for block in shells for fault in faults_of_shell(block.text)] == []


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_the_text_use_scripts_options_and_keys_that_there_are(page):
    spans = re.findall(r"`([^`\n]+)`", prose_of((REPOSITORY / page).read_text("utf-8")))
    # What is merely named, as in `python -m metrics.evaluate` and `python finetune.py serve`, is no command.
    whole = re.compile(r"python finetune\.py \S+ \S|python -m \S+ \S|bash scripts/")
    commands = [span for span in spans if whole.search(span) and "..." not in span]
    assert [f"{span}: {fault}" for span in commands for fault in faults_of_shell(span)] == []


@pytest.mark.parametrize("page", PAGES)
def test_settings_in_the_text_can_be_used(page, tmp_path):
    """Such as ``"masked_lm": {"weight": 0.5}``."""
    spans = re.findall(r"`(\"\w+\": \{[^`\n]+\})`", prose_of((REPOSITORY / page).read_text("utf-8")))
    assert [f"{span}: {fault}" for span in spans for fault in faults_of_configuration(f"{{{span}}}", tmp_path)] == []


@pytest.mark.parametrize("block", _blocks({"configuration"}))
def test_configuration_can_be_loaded(block, tmp_path):
    assert faults_of_configuration(block.text, tmp_path) == []


@pytest.mark.parametrize("block", _blocks({"sweep"}))
def test_sweep_file_can_be_planned(block, tmp_path):
    assert faults_of_sweep(block.text, tmp_path) == []


@pytest.mark.parametrize("block", _blocks({"annotations"}))
def test_annotations_can_be_read_in_their_format(block, tmp_path):
    assert faults_of_annotations(block.text, block.argument, tmp_path) == []


@pytest.mark.parametrize("block", _blocks({"not run"}))
def test_tests_that_stand_in_for_a_block_are_there(block):
    named = re.findall(r"tests/[\w/]+(?:\.py)?", block.argument)
    assert [path for path in named if not (REPOSITORY / path).exists()] == []


@pytest.fixture(scope="session")
def warm(tmp_path_factory) -> Iterator[Path]:
    """Socket of the Python that is warm."""
    socket = tmp_path_factory.mktemp("warm") / "socket"
    server = warm_python.start(socket)
    yield socket
    server.kill()
    server.wait(30)


@pytest.fixture(scope="session")
def place(warm, tmp_path_factory) -> Callable[[Path], Path]:
    """Makes a folder in which commands run, with the tiny model of README in ``work_dir/conf``; it is trained once."""
    base = tmp_path_factory.getbasetemp()
    trained = (base.parent if base.name.startswith("popen-") else base) / "docs-trained"
    with (trained.parent / "docs-trained.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the processes of a test run share it
        if not trained.exists():
            fresh = tmp_path_factory.mktemp("fresh") / "place"
            fresh.mkdir()
            lay_out(fresh, warm)
            train(fresh)
            (fresh / "work_dir").rename(trained)

    def make(folder: Path) -> Path:
        folder.mkdir()
        lay_out(folder, warm)
        shutil.copytree(trained, folder / "work_dir", dirs_exist_ok=True)
        return folder

    return make


@pytest.mark.parametrize("page", TO_RUN)
def test_blocks_of_a_page_run_one_after_another(page, place, tmp_path):
    """Those marked ``run``; what the slow ones would have left is there, small."""
    folder = place(tmp_path / "place")
    stand_in(folder)
    _run(folder, [block for block in BLOCKS if block.page == page and block.kind != "run slow"], 600)


@pytest.mark.slow
@pytest.mark.parametrize("page", TO_RUN_SLOWLY)
def test_all_blocks_of_a_page_run_one_after_another(page, place, tmp_path):
    _run(place(tmp_path / "place"), [block for block in BLOCKS if block.page == page], 1800)


def _run(folder: Path, blocks: list[Block], seconds: float) -> None:
    with (Path(tempfile.gettempdir()) / "stylecap-docs-port.lock").open("w") as lock:
        if any(block.kind == "run in the background" for block in blocks):
            fcntl.flock(lock, fcntl.LOCK_EX)  # pages say which port, and two may say the same
        done = run_in(folder, script_of(blocks), seconds)
    if done.returncode == TAKEN:
        pytest.skip("another program answers where the page starts one")
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-6000:]}"


def test_reference_of_the_configuration_is_up_to_date(capsys):
    assert main(["--check"]) == 0, capsys.readouterr().err


def test_reference_has_every_key_once_with_its_docstring():
    keys = re.findall(r"^\| `([a-z_.]+)` \|.*\| [^|]{10,} \|$", write_page(), re.MULTILINE)
    assert keys == list(KNOWN_KEYS)
    assert all(docstrings(group).keys() == group.model_fields.keys() for group in GROUPS.values())
    task = "What is trained: a captioner, or a language model on documents."
    assert docstrings(RunConfig) == {"task": task, "work_dir": "The run folder."}


@pytest.mark.parametrize(
    ("key", "cells"),
    [
        ("train.lr", "number, above 0 | `5e-05`"),
        ("image.feature_views", "whole number, at least 1 and at most 16 | `1`"),
        ("data.columns", "object: text to one of `image`, `style`, `text` | `{}`"),
        ("train.batch_size", "whole number, at least 1; or `auto` | `16`"),
        ("data.annotations", "path; or null | `null`"),
        ("data.format", "must be given"),
    ],
)
def test_reference_says_type_range_and_default(key, cells):
    (row,) = [line for line in write_page().splitlines() if line.startswith(f"| `{key}` |")]
    assert cells in row


def test_reference_that_is_stale_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("configuration.document.PAGE", tmp_path / "configuration.md")
    monkeypatch.setattr("configuration.document.SCHEMA", tmp_path / "schema.json")
    assert main(["--check"]) == 1
    told = capsys.readouterr().err.splitlines()
    assert [Path(line.split(": ")[0]).name for line in told] == ["configuration.md", "schema.json"]
    assert all(line.endswith("run python -m configuration.document") for line in told)
    assert main([]) == 0
    assert main(["--check"]) == 0


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="other Pythons lay help out in other ways")
def test_page_of_commands_is_what_the_programs_say(monkeypatch):
    monkeypatch.setenv("COLUMNS", commands_page.WIDTH)
    assert commands_page.page() == commands_page.PAGE.read_text("utf-8"), "run python scripts/commands_page.py"


def test_blocks_have_the_mark_of_the_line_before():
    page = "<!-- run -->\n```bash\na\n```\n\n```json\n{}\n```\n  <!-- not run: too slow -->\n  ```sh\n  b\n  ```\n"
    run, bare, not_run = read_blocks("p.md", page)
    assert (run.kind, run.text, run.where) == ("run", "a\n", "p.md:2")
    assert (bare.kind, bare.language) == ("", "json")
    assert (not_run.kind, not_run.argument, not_run.text) == ("not run", "too slow", "b\n")


@pytest.mark.parametrize("mark", ["runs", "not run", "not run: ", "run: demo", "annotations"])
def test_marks_of_no_kind_are_refused(mark):
    with pytest.raises(ValueError, match=r"p.md:1: .* CONTRIBUTING.md lists them"):
        list(read_blocks("p.md", f"<!-- {mark} -->\n```bash\n```\n"))


def test_anchors_are_those_of_github():
    assert anchors_of("# A b, c!\n## `x_y` Z\n## A b c\n```\n# no\n```\n") == {"a-b-c", "x_y-z", "a-b-c-1"}


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        ("python finetune.py --conf conf/demo.json --set train.lrr=1", "no such key: train.lrr"),
        ("python finetune.py --conf conf/demo.json --set train.lr=-1", "greater than 0"),
        ("python finetune.py caption --modell x --image a.jpg", "--model"),
        ("python -m metrics.evaluate --references a.json", "--hypotheses"),
        ("python -m metrics.nothing", "no module metrics.nothing"),
        ("bash scripts/nothing.sh", "no scripts/nothing.sh"),
        ("bash scripts/sweep.sh 0 --engine abacus", "abacus"),
        ("torchrun --nproc_per_node 2 finetune.py --conf my.json --nothing", "--nothing"),
        ("for x in a; do python finetune.py runs; ", "syntax error"),
    ],
)
def test_faults_of_commands_are_found(command, fault):
    assert any(fault in told for told in faults_of_shell(command)), faults_of_shell(command)


def test_commands_end_where_the_shell_ends_them():
    text = "A=1 python finetune.py runs --json | head; bash scripts/setup.sh  # so\npython -m sweeps \\\n report x\n"
    assert list(commands_in(text)) == [["finetune.py", "runs", "--json"], ["-m", "sweeps", "report", "x"]]
    assert faults_of_command(["finetune.py", "runs", "--json"]) == []


def test_block_that_fails_is_named(tmp_path):
    (tmp_path / ".venv/bin").mkdir(parents=True)
    blocks = [
        Block("p.md", 3, "bash", "x=1\n", "run", ""),
        Block("p.md", 9, "bash", "echo $x; false\ntrue\n", "run", ""),
    ]
    done = run_in(tmp_path, script_of(blocks))
    assert (done.returncode, done.stdout) == (1, "1\n")
    assert done.stderr.splitlines()[-1] == "p.md:9"
