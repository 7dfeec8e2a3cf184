"""The direction of imports between our packages, and what must stay cheap to import."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
ALLOWED: dict[str, set[str]] = {
    "utils": set(),
    "metrics": {"utils"},
    "preprocessors": {"utils"},
    "models": {"utils"},
    "trainers": {"utils", "metrics", "preprocessors", "models"},
    "sweeps": {"utils"},
}
PROGRAMS = {"finetune", "scripts", "benchmarks", "tests", "conftest"}
HEAVY = {"torch", "transformers", "accelerate", "modelscope", "pycocoevalcap", "PIL", "numpy"}
HEAVY_FOR_SWEEPS = HEAVY | {"scipy", "ray", "jinja2", "sklearn"}
SWEEPS_HELP = """
import runpy, sys
sys.argv = ["sweeps", "--help"]
try:
    runpy.run_module("sweeps", run_name="__main__")
except SystemExit:
    print(*sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""


def imported_packages(source: str) -> set[str]:
    """First parts of all absolute imports, those inside functions included."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.partition(".")[0])
    return names


def test_imported_packages_every_form_of_import_is_found():
    source = "import a.b, c as d\nfrom e.f import g\nfrom . import h\ndef f():\n    import i\n"
    assert imported_packages(source) == {"a", "c", "e", "i"}


@pytest.mark.parametrize("package", ALLOWED)
def test_package_imports_only_downwards(package: str):
    files = sorted((REPOSITORY / package).rglob("*.py"))
    assert files, f"{package}/ holds no Python file"
    forbidden = (ALLOWED.keys() | PROGRAMS) - ALLOWED[package] - {package}
    offences = {
        f"{path.relative_to(REPOSITORY)} imports {name}"
        for path in files
        for name in imported_packages(path.read_text(encoding="utf-8")) & forbidden
    }
    assert not offences


def test_repository_has_no_package_outside_the_table():
    found = {path.parent.name for path in REPOSITORY.glob("*/__init__.py")}
    assert found == ALLOWED.keys()


def test_config_import_loads_no_heavy_library():
    program = "import sys, configuration.loading; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, check=True, capture_output=True, text=True)
    assert HEAVY.isdisjoint(loaded.stdout.split())


def test_sweeps_help_loads_no_heavy_library():
    command = [sys.executable, "-c", SWEEPS_HELP]
    done = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True)
    assert "usage: python -m sweeps" in done.stdout
    loaded = {*done.stderr.split()}
    assert "sweeps" in loaded
    assert HEAVY_FOR_SWEEPS.isdisjoint(loaded)
