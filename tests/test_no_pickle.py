"""Nothing of ours loads what could run somebody's code: by the syntax tree of every file, not by its words."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
FILES = [
    *(path for path in sorted(REPOSITORY.glob("*/**/*.py")) if path.parts[len(REPOSITORY.parts)] not in
      ("tests", "work_dir", ".venv", "shared")),
    REPOSITORY / "finetune.py",
]  # fmt: skip
FORBIDDEN = {
    *(f"{module}.{call}" for module in ("pickle", "cPickle", "dill", "cloudpickle", "marshal")
      for call in ("load", "loads", "Unpickler")),
    *("joblib.load", "shelve.open", "pandas.read_pickle", "torch.hub.load", "torch.jit.load", "builtins.eval"),
    *("yaml.load", "yaml.unsafe_load", "yaml.full_load", "eval", "exec"),
}  # fmt: skip
SAFE_WITH = {"torch.load": ("weights_only", True), "numpy.load": ("allow_pickle", False)}
"""Calls that are fine with one argument, which must be written out."""
NAMES_CHECKED = {"metrics/scores/pickled_counts.py": {"pickle.Unpickler"}}
"""Files that may name something forbidden: this one's own unpickler refuses every name but four, see its tests."""


def offences(source: str) -> Iterator[str]:
    """Forbidden names that a file uses, however it imported them."""
    tree = ast.parse(source)
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname or alias.name.partition(".")[0]: alias.name if alias.asname else
                      alias.name.partition(".")[0] for alias in node.names}  # fmt: skip
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    safe = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call) and _is_safe(node, names)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
            found = _dotted(node, names)
            if found in FORBIDDEN or (found in SAFE_WITH and id(node) not in safe):
                yield found
        elif isinstance(node, ast.keyword) and node.arg in ("trust_remote_code", "weights_only", "allow_pickle"):
            wanted = node.arg == "weights_only"
            if not (isinstance(node.value, ast.Constant) and node.value.value is wanted):
                yield f"{node.arg} is not {wanted}"


def _dotted(node: ast.expr, names: dict[str, str]) -> str:
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    return f"{_dotted(node.value, names)}.{node.attr}" if isinstance(node, ast.Attribute) else ""


def _is_safe(call: ast.Call, names: dict[str, str]) -> bool:
    argument, value = SAFE_WITH.get(_dotted(call.func, names), (None, None))
    return any(word.arg == argument and isinstance(word.value, ast.Constant) and word.value.value is value
               for word in call.keywords)  # fmt: skip


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_file_loads_nothing_that_could_run_code(path: Path):
    allowed = NAMES_CHECKED.get(path.relative_to(REPOSITORY).as_posix(), set())
    assert {*offences(path.read_text(encoding="utf-8"))} <= allowed


@pytest.mark.parametrize(
    "source",
    [
        "import torch\ntorch.load(path)",
        "import torch as t\nt.load(path, weights_only=False)",
        "from torch import load as read\nread(path)",
        "import torch\nmap(torch.load, paths)",
        "import torch\ntorch.load(path, weights_only=flag)",
        "import numpy as np\nnp.load(path)",
        "import numpy as np\nnp.load(path, allow_pickle=True)",
        "import pickle\npickle.load(file)",
        "from pickle import loads\nloads(data)",
        "def f():\n    import joblib\n    joblib.load(path)",
        "import yaml\nyaml.load(text)",
        "from transformers import AutoModel\nAutoModel.from_pretrained(x, trust_remote_code=True)",
        "eval(text)",
    ],
)
def test_offences_finds_every_way_of_writing_it(source: str):
    assert [*offences(source)]


def test_offences_passes_what_is_safe():
    source = "import torch, numpy as np\ntorch.load(p, weights_only=True)\nwith np.load(p, allow_pickle=False): pass\n"
    assert [*offences(source + "model.eval()\nimport re\nre.compile('a')")] == []
