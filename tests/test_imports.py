"""The direction of imports between our rooms, no circles among our modules, and what must stay cheap to import."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from pkgutil import resolve_name

import pytest

from captioning.outputs.table import FORMATS
from commands.table import COMMANDS
from metrics.table import METRICS
from models import CAPTIONERS
from preprocessors.documents.table import SOURCES
from sweeps.engines.table import ENGINES
from trainers.rewards.table import REWARD_TERMS
from utils import exit_codes
from utils.environment import PACKAGES

REPOSITORY = Path(__file__).resolve().parent.parent
ALLOWED: dict[str, set[str]] = {
    "utils": set(),
    "runs": {"utils"},
    "metrics": {"utils", "preprocessors"},  # of these the formats and pictures alone, see below
    "preprocessors": {"utils"},
    "models": {"utils", "preprocessors"},
    "captioning": {"utils", "preprocessors", "models"},
    "reports": {"utils", "runs", "metrics", "preprocessors"},
    "trainers": {"utils", "runs", "metrics", "preprocessors", "models", "captioning"},
    # It names what there is below, from tables that import nothing heavy.
    "configuration": {"utils", "metrics", "preprocessors", "models", "trainers"},
    "pipeline": {
        *("utils", "runs", "metrics", "preprocessors", "models", "captioning", "reports", "trainers", "configuration")
    },
    "serving": {"utils", "runs", "preprocessors", "models", "captioning", "reports"},
    "commands": {
        *("utils", "captioning", "configuration", "pipeline", "reports", "serving")  # what is found, as a table
    },
    "sweeps": {"utils", "runs", "reports", "configuration"},
    "container": {"utils"},  # the exit codes
}
ROOMS: dict[str, set[str]] = {
    "metrics.tokenizers": set(),
    "metrics.meteor": set(),
    "metrics.scores": {"metrics.tokenizers", "metrics.meteor"},
    "metrics.style": {"metrics.tokenizers", "metrics.scores"},
    "preprocessors.pictures": {"preprocessors.examples"},
    "preprocessors.text": {"preprocessors.examples"},
    "preprocessors.formats": {"preprocessors.examples", "preprocessors.pictures"},
    "preprocessors.documents": {"preprocessors.collator", "preprocessors.examples", "preprocessors.text"},
    "preprocessors.streaming": {
        *("preprocessors.collator", "preprocessors.examples", "preprocessors.formats", "preprocessors.interface"),
        "preprocessors.pictures",
    },
    "preprocessors.checks": {
        *("preprocessors.examples", "preprocessors.readers", "preprocessors.pictures", "preprocessors.text")
    },
    "models.vision": {"models.bounds"},
    "captioning.outputs": {"captioning.wanted"},
    "models.ofa": {
        "models.bounds",
        "models.captioner",
        "models.inputs",
        "models.guidance",
        "models.rules",
        "models.sampling",
        "models.settings",
        "models.style_rows",
        "models.vision",
        "models.weights",
        "models.wrapping",
    },
    "models.hf": {
        *("models.bounds", "models.captioner", "models.guidance", "models.inputs", "models.rules", "models.sampling"),
        *("models.settings", "models.style_rows", "models.vision", "models.weights", "models.wrapping"),
    },
    "models.style_lm": {"models.bounds", "models.drawing", "models.weights"},
    "trainers.losses": set(),
    "trainers.rewards": set(),
    "pipeline.doctor": set(),
    "pipeline.text": {
        *("pipeline.continuation", "pipeline.documents", "pipeline.evaluated", "pipeline.loop"),
        *("pipeline.processes", "pipeline.record", "pipeline.train", "pipeline.training", "pipeline.vocabulary"),
    },
    "reports.data": {"reports.templating", "reports.thumbnails"},
    "reports.run": {"reports.templating", "reports.thumbnails", "reports.ticks"},
    "reports.runs": {"reports.run", "reports.templating", "reports.ticks"},
    "reports.sweep": {"reports.templating", "reports.ticks"},
    "serving.telegram": set(),
    "serving.watch": set(),
    "sweeps.trials": set(),
    "sweeps.standings": {"sweeps.trials"},
    "sweeps.engines": {"sweeps.trials", "sweeps.standings"},
}
"""What an inner room may import of its own package: other rooms, or single files on top of it."""
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


def our_modules() -> dict[str, Path]:
    """Every module of ours by its dotted name."""
    files = [path for package in PACKAGES for path in sorted((REPOSITORY / package).rglob("*.py"))]
    parts = {path: path.relative_to(REPOSITORY).with_suffix("").parts for path in files}
    return {".".join(names[:-1] if names[-1] == "__init__" else names): path for path, names in parts.items()}


MODULES = our_modules()


def imported_names(source: str) -> Iterator[str]:
    """Dotted names of all absolute imports, those inside functions and for type checking included."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports_of(module: str) -> set[str]:
    """Our modules that a module imports; of ``from package import name`` the package where ``name`` is no module."""
    names = {*imported_names(MODULES[module].read_text(encoding="utf-8"))}
    found = {name if name in MODULES else name.rpartition(".")[0] for name in names}
    return (found & MODULES.keys()) - {module}


IMPORTS = {module: imports_of(module) for module in MODULES}


def in_circles(imports: Mapping[str, set[str]]) -> set[str]:
    """Modules that stand in a circle: what is left once those that import nothing that is left are taken away."""
    left = dict(imports)
    while True:
        free = {module for module, needed in left.items() if not needed & left.keys()}
        free |= left.keys() - set().union(*(needed for needed in left.values()), set())
        if not free:
            return set(left)
        left = {module: needed - free for module, needed in left.items() if module not in free}


def test_imported_names_every_form_of_import_is_found():
    source = "import a.b, c as d\nfrom e.f import g\nfrom . import h\ndef f():\n    import i\n"
    assert {*imported_names(source)} == {"a.b", "c", "e.f.g", "i"}


def test_in_circles_finds_circles_and_nothing_beside_them():
    assert in_circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}, "e": {"d"}, "f": set()}) == {"b", "c"}
    assert in_circles({"a": {"b"}, "b": set()}) == set()


def test_repository_has_no_package_outside_the_table():
    assert set(PACKAGES) == ALLOWED.keys()


@pytest.mark.parametrize("package", ALLOWED)
def test_package_imports_only_downwards(package: str):
    forbidden = (ALLOWED.keys() | PROGRAMS) - ALLOWED[package] - {package}
    own = [module for module in MODULES if module.partition(".")[0] == package]
    assert own
    offences = {
        f"{module} imports {name}"
        for module in own
        for name in imported_names(MODULES[module].read_text(encoding="utf-8"))
        if name.partition(".")[0] in forbidden
    }
    assert not offences


@pytest.mark.parametrize("room", ROOMS)
def test_inner_room_imports_of_its_package_what_lies_below_it(room: str):
    package = room.partition(".")[0]
    own = [module for module in MODULES if f"{module}.".startswith(f"{room}.")]
    assert own
    fine = {room, *ROOMS[room]}
    offences = {
        f"{module} imports {name}"
        for module in own
        for name in IMPORTS[module]
        if name.partition(".")[0] == package and not any(f"{name}.".startswith(f"{place}.") for place in fine)
    }
    assert not offences


def test_every_inner_room_is_in_the_table():
    rooms = {".".join(path.parent.parts[-2:]) for path in REPOSITORY.glob("*/*/__init__.py")}
    assert {room for room in rooms if room.partition(".")[0] in ALLOWED} == ROOMS.keys()


def test_modules_import_each_other_in_no_circle():
    assert not in_circles(IMPORTS)


def test_metrics_know_of_preprocessors_the_formats_and_how_pictures_are_opened_alone():
    """They turn captions into numbers without a captioner, whoever wrote the captions."""
    own = {module for module in MODULES if module.partition(".")[0] == "metrics"}
    used = {name for module in own for name in IMPORTS[module] if name.partition(".")[0] == "preprocessors"}
    assert used
    assert {name for name in used if not name.startswith(("preprocessors.formats", "preprocessors.pictures"))} == set()


def test_only_the_table_of_captioners_leads_into_one():
    """Whoever needs OFA itself would not work for another captioner."""
    outside = {module for module in MODULES if not module.startswith("models.ofa")}
    offences = {f"{module} imports {name}" for module in outside for name in IMPORTS[module] if "models.ofa" in name}
    assert not offences


def test_one_door_leads_to_the_trainer_of_transformers_and_leaves_peft_outside():
    """It takes seconds to import, and whoever has it installed for adapters would pay at every start."""
    pytest.importorskip("peft", reason="peft is not installed (requirements-lora.txt)")
    door = "trainers.hf_trainer"
    wanted = {f"transformers.{name}" for name in resolve_name(door).__all__}
    ours = {module: {*imported_names(MODULES[module].read_text(encoding="utf-8"))} for module in MODULES}
    offences = {module for module, names in ours.items() if names & wanted or "transformers.trainer" in str(names)}
    assert offences == {door}
    program = "import sys, pipeline.train, pipeline.evaluate; sys.exit('peft' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, check=False).returncode == 0


@pytest.mark.parametrize(
    "place",
    [
        *(*CAPTIONERS.values(), *REWARD_TERMS.values()),
        *(kind.opens for kind in SOURCES.values()),
        *(entry.source for entry in (*METRICS.values(), *ENGINES.values(), *FORMATS.values())),
    ],
)
def test_what_a_table_names_is_there(place: str):
    assert resolve_name(place) is not None


@pytest.mark.parametrize("module", COMMANDS.values())
def test_command_has_what_a_command_needs(module: str):
    command = resolve_name(module)
    assert callable(command.add_options)
    assert callable(command.run)
    assert isinstance(command.INTERRUPTED, str)
    assert command.INTERRUPTED_CODE in (exit_codes.STOPPED, exit_codes.INTERRUPTED)


@pytest.mark.parametrize(
    "module",
    [
        *("configuration.loading", "metrics.table", "models", "preprocessors.formats.table"),
        *("captioning.outputs.table", "captioning.sources", "commands.caption"),
        *("runs.checkpoints", "runs.metrics_log", "runs.record", "runs.state", "sweeps.trials.plan"),
        *("pipeline.runs", "commands.runs", "reports.runs.text", "serving.watch.server"),
    ],
)
def test_light_module_loads_no_heavy_library(module: str):
    program = f"import sys, {module}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    loaded = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, check=True, capture_output=True, text=True)
    assert HEAVY.isdisjoint(loaded.stdout.split())


def test_sweeps_help_loads_no_heavy_library():
    command = [sys.executable, "-c", SWEEPS_HELP]
    done = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True)
    assert "usage: python -m sweeps" in done.stdout
    loaded = {*done.stderr.split()}
    assert "sweeps" in loaded
    assert HEAVY_FOR_SWEEPS.isdisjoint(loaded)
