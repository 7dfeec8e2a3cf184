"""The files that make an image and say how it runs: parsed, and what they promise."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from shutil import which
from typing import Any

import pytest
import yaml

from container.supervisor import MEANINGS, Limits
from container.variables import HANDED_ON, OWN
from utils import exit_codes
from utils.environment import PACKAGES

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / "container"
DOCKERFILE = (FOLDER / "Dockerfile").read_text("utf-8")
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text("utf-8"))
CUDA = yaml.safe_load((FOLDER / "compose.cuda.yaml").read_text("utf-8"))
WORKFLOW = yaml.safe_load((REPOSITORY / ".github/workflows/image.yaml").read_text("utf-8"))


def _instructions(name: str) -> list[str]:
    """Arguments of every instruction of that name, lines that go on joined."""
    lines = re.sub(r"^\s*#.*\n", "", DOCKERFILE, flags=re.MULTILINE).replace("\\\n", " ").splitlines()
    return [line.split(None, 1)[1] for line in lines if line.split(None, 1)[:1] == [name]]


def test_hadolint_finds_nothing():
    hadolint = which("hadolint", path=str(Path(sys.executable).parent)) or which("hadolint")
    if hadolint is None:
        pytest.skip("no hadolint; bash scripts/setup.sh --dev installs it")
    done = subprocess.run([hadolint, str(FOLDER / "Dockerfile")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_image_runs_as_nobody_in_particular_from_a_pinned_base():
    assert _instructions("USER") == ["10001:10001"]
    bases = {words.partition(" ")[0] for words in _instructions("FROM")}
    assert bases == {"${BASE}"}
    assert [re.fullmatch(r"BASE=python:3\.\d+\.\d+-slim-\w+", words) is not None for words in _instructions("ARG")][0]


def test_image_gets_nothing_from_the_network_but_what_setup_installs():
    assert _instructions("ADD") == []
    assert not re.search(r"\b(curl|wget|git clone|pip install)\b", DOCKERFILE)


def test_image_is_installed_from_the_locks():
    copied = _instructions("COPY")
    assert "locks/ locks/" in copied
    assert "--no-hashes" not in DOCKERFILE


def test_image_holds_every_package_and_no_tests():
    lines = (FOLDER / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    held = {line.removeprefix("!").rstrip("/") for line in rules if line.startswith("!")}
    assert set(PACKAGES) <= held
    assert held - set(PACKAGES) == {"requirements*.txt", "locks", "LICENSE", "finetune.py", "scripts/setup.sh", "conf"}


def test_entry_point_needs_the_standard_library_alone():
    for path in FOLDER.glob("*.py"):
        nodes = ast.walk(ast.parse(path.read_text("utf-8")))
        names = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
        foreign = {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"container"}
        assert foreign <= {"utils"}
        assert {name for name in names if name.startswith("utils")} <= {"utils"}  # its exit codes


def test_compose_names_variables_of_the_entry_point_alone():
    known = {*OWN, *HANDED_ON}
    for name in ("trainer", "service"):
        assert set(COMPOSE["services"][name]["environment"]) <= known
    assert set(COMPOSE["services"]) == {"trainer", "service", "tensorboard"}
    assert set(CUDA["services"]) == {"trainer", "service"}


@pytest.mark.parametrize("name", ["trainer", "service", "tensorboard"])
def test_compose_confines_every_service(name):
    service: dict[str, Any] = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert not service["user"].startswith("0")
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    assert service.get("network_mode") == ("none" if name == "trainer" else None)


@pytest.mark.parametrize("name", ["trainer", "service"])
def test_compose_waits_longer_for_a_stop_than_the_entry_point_does(name):
    assert float(COMPOSE["services"][name]["stop_grace_period"].removesuffix("s")) > Limits().grace


def test_workflow_builds_both_kinds_on_tags_and_pushes_after_a_training():
    assert WORKFLOW[True] == {"push": {"tags": ["v*"]}}  # YAML 1.1 reads `on` as a truth
    job = WORKFLOW["jobs"]["image"]
    assert job["strategy"]["matrix"] == {"device": ["cpu", "cuda"]}
    names = [step.get("name", step.get("uses")) for step in job["steps"]]
    assert names[-1] == "Push"
    runs = [step["run"] for step in job["steps"] if "run" in step]
    assert "--network none --read-only" in runs[-2]
    assert subprocess.run(["bash", "-n"], input="\n".join(runs), text=True).returncode == 0


def test_apptainer_definition_is_made_from_the_image_and_runs_the_entry_point():
    text = (FOLDER / "apptainer.def").read_text("utf-8")
    head, *sections = re.split(r"^%", text, flags=re.MULTILINE)
    fields = dict(line.split(": ", 1) for line in head.splitlines() if re.match(r"[A-Z]\w+: ", line))
    assert fields == {"Bootstrap": "docker-archive", "From": "{{ ARCHIVE }}"}
    bodies = {section.split("\n", 1)[0]: section.split("\n", 1)[1] for section in sections}
    assert set(bodies) == {"arguments", "runscript", "test", "help"}
    assert re.search(r"^ +ARCHIVE=\S+$", bodies["arguments"], flags=re.MULTILINE)
    assert " ".join(ast.literal_eval(_instructions("ENTRYPOINT")[0])) in bodies["runscript"]


def test_page_lists_every_variable_and_exit_code():
    page = (REPOSITORY / "docs/container.md").read_text("utf-8")
    assert [name for name in (*OWN, *HANDED_ON) if f"`{name}`" not in page] == []
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", page, flags=re.MULTILINE)}
    assert codes == set(MEANINGS) - {exit_codes.INTERRUPTED}
