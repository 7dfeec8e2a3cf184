#!/usr/bin/env bash
# Sets up with the development tools, then lints, type-checks and tests. After set-up nothing needs a network or a GPU;
# the tests that compare with Java programs are skipped where there is no Java.
#   bash scripts/test.sh                      the default tests
#   bash scripts/test.sh -m slow              the slow ones; arguments go to pytest
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash scripts/setup.sh --dev --docs --lora --serve --vision
bash scripts/browser.sh
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
# A process for each core, at most four, and one thread in each: models this small gain nothing from more.
export OMP_NUM_THREADS=1
# Where the tests of the page leave what they saw.
export STYLECAP_SCREENSHOTS="${STYLECAP_SCREENSHOTS:-work_dir/screenshots}"
.venv/bin/python -m pytest --numprocesses logical --maxprocesses 4 --dist worksteal "$@"
