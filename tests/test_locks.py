"""The locks hold what requirements*.txt name, setup.sh installs from them, and the page of licences has all of them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from scripts.licences import BY_ITS_FILES, PARTS, WHY, licence_of, normal, write_page

REPOSITORY = Path(__file__).resolve().parents[1]
PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[a-z,]+\])?==([^\s;]+)([^\\\n]*)", re.MULTILINE)
REQUIREMENTS = sorted(REPOSITORY.glob("requirements*.txt"))
LOCKS = sorted((REPOSITORY / "locks").glob("*.txt"))
DIRECT = {normal(name): version for file in REQUIREMENTS for name, version, _ in PIN.findall(file.read_text("utf-8"))}
PAGE = (REPOSITORY / "docs/licences.md").read_text("utf-8")
# Its Python knows no packages, and its pip says what it is asked for.
PYTHON = """#!/usr/bin/env bash
[[ "$1 $2" == "-c import pip" ]] && exit 0
[[ "$1 $2" == "-m pip" ]] || exec {python} -S -I "$@"
shift 2
echo "$*" >>pip.log
[[ "$1" == index ]] && cat index.txt
[[ "$1" == install && -e refuse ]] && exit 1
exit 0
"""


def _pins(lock: Path) -> set[tuple[str, str, str]]:
    """(name, version, marker) of each line."""
    return {(normal(name), version, rest.strip()) for name, version, rest in PIN.findall(lock.read_text("utf-8"))}


def test_every_file_of_requirements_has_a_lock_and_torch_one_of_its_own():
    assert {path.name for path in LOCKS} == {path.name for path in REQUIREMENTS} | {"torch.txt"}
    assert set(PARTS) == {path.stem for path in LOCKS}


@pytest.mark.parametrize("file", REQUIREMENTS, ids=lambda path: path.name)
def test_every_version_of_requirements_is_locked_for_every_machine(file):
    locked = _pins(REPOSITORY / "locks" / file.name) | _pins(REPOSITORY / "locks/torch.txt")
    named = {(normal(name), version, "") for name, version, _ in PIN.findall(file.read_text("utf-8"))}
    assert named - locked == set(), "run bash scripts/lock.sh"


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_locks_hold_pinned_packages_with_hashes_and_no_address(lock):
    text = lock.read_text("utf-8")
    entries = re.split(r"\n(?=\S)", text.split("\n", 1)[1].strip())
    good = re.compile(r"[a-z0-9-]+==[\w.]+( ; [^\\\n]+)?( \\\n    --hash=sha256:[0-9a-f]{64})+")
    assert [entry.splitlines()[0] for entry in entries if not good.fullmatch(entry)] == []
    assert "://" not in text


def test_locks_agree_with_one_another():
    versions: dict[str, set[tuple[str, str]]] = {}
    for lock in LOCKS:
        for name, version, marker in _pins(lock):
            versions.setdefault(name, set()).add((version, marker))
    everywhere = {name: {version for version, marker in found if not marker} for name, found in versions.items()}
    assert [name for name, found in everywhere.items() if len(found) > 1] == []
    differing = {name for name, found in versions.items() if len({version for version, _ in found}) > 1}
    assert differing <= {name for name, found in versions.items() if all("python" in marker for _, marker in found)}


def test_torch_and_its_cuda_build_are_in_no_other_lock():
    """setup.sh would otherwise install PyPI's build where another is wanted."""
    for lock in LOCKS:
        if lock.stem != "torch":
            assert [name for name, _, _ in _pins(lock) if re.match("torch$|triton$|nvidia-|cuda-", name)] == []


@pytest.fixture
def checkout(tmp_path):
    """A folder to set up, in which the index has what ``index.txt`` says."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts/setup.sh").write_bytes((REPOSITORY / "scripts/setup.sh").read_bytes())
    (tmp_path / "locks").mkdir()
    for file in [*REQUIREMENTS, *LOCKS]:
        (tmp_path / file.relative_to(REPOSITORY)).write_bytes(file.read_bytes())
    (tmp_path / ".venv/bin").mkdir(parents=True)
    python = tmp_path / ".venv/bin/python"
    python.write_text(PYTHON.format(python=sys.executable))
    python.chmod(0o755)
    (tmp_path / "index.txt").write_text("torch (2.15.0)\nAvailable versions: 2.15.0, 2.13.0, 2.12.0\n")
    (tmp_path / "pip.log").touch()
    return tmp_path


def _set_up(checkout: Path, *options: str) -> tuple[int, str, list[str]]:
    """Exit code, what was said, and what pip was asked for since the last time."""
    before = len((checkout / "pip.log").read_text().splitlines())
    command = ["bash", str(checkout / "scripts/setup.sh"), *options]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert done.stdout == ""
    return done.returncode, done.stderr, (checkout / "pip.log").read_text().splitlines()[before:]


LOCKED = "install --require-hashes --no-deps --only-binary :all: "


def test_setup_installs_everything_by_hash_where_torch_is_that_of_pypi(checkout):
    code, said, asked = _set_up(checkout, "--dev")
    assert (code, "without" in said) == (0, False), said
    assert asked == [
        f"{LOCKED}--requirement=locks/requirements.txt --requirement=locks/requirements-dev.txt",
        "index versions torch",
        f"{LOCKED}--requirement locks/torch.txt",
    ]


def test_setup_says_that_another_build_of_torch_has_no_hash(checkout):
    (checkout / "index.txt").write_text("torch (2.13.0+cpu)\nAvailable versions: 2.15.0+cpu, 2.13.0+cpu, 2.13.0\n")
    code, said, asked = _set_up(checkout)
    assert code == 0
    assert "setup: without a hash: torch==2.13.0+cpu, which is not PyPI's build" in said
    assert asked == [f"{LOCKED}--requirement=locks/requirements.txt", "index versions torch", "install torch==2.13.0"]


def test_setup_does_nothing_a_second_time_and_again_after_a_change_of_a_lock(checkout):
    _set_up(checkout)
    assert _set_up(checkout) == (0, "", [])
    with (checkout / "locks/requirements.txt").open("a") as lock:
        lock.write("# changed\n")
    assert _set_up(checkout)[2] != []


def test_setup_without_hashes_is_asked_for_and_said(checkout):
    code, said, asked = _set_up(checkout, "--serve", "--no-hashes")
    assert code == 0
    assert "setup: without hashes, as asked" in said
    assert asked == ["install --requirement=requirements.txt --requirement=requirements-serve.txt"]


def test_setup_refuses_a_lock_that_lacks_a_version(checkout):
    requirements = checkout / "requirements-serve.txt"
    requirements.write_text(requirements.read_text().replace("fastapi==", "fastapi==1"))
    code, said, asked = _set_up(checkout, "--serve")
    assert (code, asked) == (1, [])
    assert re.search(r"locks/requirements-serve.txt does not have fastapi==1\S+ .*: run bash scripts/lock.sh", said)


def test_setup_never_falls_back_to_installing_without_hashes(checkout):
    (checkout / "refuse").touch()
    code, said, asked = _set_up(checkout)
    assert (code, asked) == (1, [f"{LOCKED}--requirement=locks/requirements.txt"])
    assert "bash scripts/setup.sh --no-hashes" in said
    (checkout / "refuse").unlink()
    assert _set_up(checkout)[0] == 0, "what failed is not taken for done"


def test_setup_knows_every_file_of_requirements(checkout):
    options = [f"--{file.stem.partition('-')[2]}" for file in REQUIREMENTS if "-" in file.stem]
    assert _set_up(checkout, *options)[0] == 0
    code, said, _ = _set_up(checkout, "--nothing")
    assert code == 1
    assert all(option in said for option in options)


def _rows() -> dict[str, tuple[str, str]]:
    """Version and licence by name, of the page."""
    cells = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("| ")]
    return {name: (version, licence) for name, version, licence, _ in cells}


def test_licences_have_every_package_that_is_locked_for_every_machine():
    rows = _rows()
    locked = {(name, version) for lock in LOCKS for name, version, marker in _pins(lock) if not marker}
    assert locked - {(name, version) for name, (version, _) in rows.items()} == set(), "run bash scripts/lock.sh"


def test_every_package_that_is_named_says_what_it_is_for():
    assert set(WHY) == set(DIRECT)


def test_licences_of_installed_packages_are_those_of_their_metadata():
    rows, compared = _rows(), 0
    for name, version in DIRECT.items():
        try:
            found = metadata.metadata(name).json
        except metadata.PackageNotFoundError:
            continue  # of a part that is not installed here
        if found["version"].partition("+")[0] == version:
            assert rows[name] == (version, licence_of(found)), name
            compared += 1
    assert compared >= len(PIN.findall((REPOSITORY / "requirements.txt").read_text("utf-8")))


@pytest.mark.parametrize(
    ("said", "licence"),
    [
        ({"license_expression": "MIT", "license": "other"}, "MIT"),
        ({"license": "UNKNOWN", "classifier": ["License :: OSI Approved :: MIT License"]}, "MIT License"),
        (
            {"license": "BSD 3\nCopyright ...", "classifier": ["Topic :: X", "License :: A :: BSD"]},
            "BSD",
        ),
        ({"license": "Apache 2.0"}, "Apache 2.0"),
        ({}, ""),
    ],
)
def test_licence_is_the_expression_or_a_short_field_or_the_classifiers(said, licence):
    assert licence_of({"name": "some-package", **said}) == licence


def test_package_whose_licence_nobody_says_is_refused():
    with pytest.raises(ValueError, match="no licence in the metadata of some-package: look"):
        write_page({"install": [{"metadata": {"name": "Some_Package", "version": "1"}}]})
    assert all(name in _rows() for name in BY_ITS_FILES)
