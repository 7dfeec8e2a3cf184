#!/usr/bin/env bash
# Evaluates trained runs, or all trained trials of a sweep, side by side on several GPUs or on the CPU.
#   bash scripts/eval.sh 0,2 work_dir/mine work_dir/mine_scst --split test
#   bash scripts/eval.sh cpu,cpu work_dir/demo work_dir/demo_scst --set decode.num_beams=1
# Every run gets its eval/<split>.json and report.html; standard output gets the metrics by run, one JSON object.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash scripts/setup.sh
exec .venv/bin/python -m sweeps eval "$@"
