"""Every other Python that the machine has reads our sources; what runs under it stands in docs/tested.md."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from shutil import which

import pytest

from utils.environment import PACKAGES

REPOSITORY = Path(__file__).resolve().parents[1]
OTHERS = [(3, minor) for minor in range(11, 16) if (3, minor) != sys.version_info[:2]]
COMPILE = """
import ast, sys, warnings
if sys.version_info[:2] != ({major}, {minor}):
    sys.exit(77)
warnings.simplefilter("error", SyntaxWarning)  # an error of a later version
for name in sys.stdin.read().split("\\0"):
    with open(name, encoding="utf-8") as file:
        compile(file.read(), name, "exec", ast.PyCF_ONLY_AST)
"""


def _python(major: int, minor: int) -> str | None:
    """One of the path, or of pyenv, whose shims run no version that is not switched on."""
    pyenv = sorted(Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob(f"versions/{major}.{minor}.*/bin"))
    return which(f"python{major}.{minor}", path=os.pathsep.join([*map(str, pyenv), os.environ.get("PATH", "")]))


@pytest.mark.parametrize(("major", "minor"), OTHERS)
def test_sources_are_read_by_other_pythons_without_a_warning(major, minor):
    python = _python(major, minor)
    if python is None:
        pytest.skip(f"no Python {major}.{minor} on this machine")
    folders = [REPOSITORY / name for name in (*PACKAGES, "scripts", "benchmarks")]
    files = [REPOSITORY / "finetune.py", *(file for folder in folders for file in folder.rglob("*.py"))]
    program = COMPILE.format(major=major, minor=minor)
    command = [python, "-I", "-c", program]
    done = subprocess.run(command, cwd=REPOSITORY, input="\0".join(map(str, files)), capture_output=True, text=True)
    if done.returncode == 77:
        pytest.skip(f"{python} runs another version")
    assert done.returncode == 0, done.stderr[-2000:]
