#!/usr/bin/env bash
# Trains many trials over the values of some settings, on several GPUs or on the CPU, and ranks them.
#   bash scripts/sweep.sh 0,2,3                                    conf/sweep.json, a trial on each GPU
#   bash scripts/sweep.sh 0+1,2+3 --conf conf/sweep_scst.json --checkpoint work_dir/flickrstyle/output
#   bash scripts/sweep.sh cpu,cpu --conf conf/sweep_demo.json      the tiny CPU form: two trials side by side, three minutes
#   bash scripts/sweep.sh 0,2,3 --dry-run                          print the commands only
# The same command goes on with a sweep that was interrupted. Standard output gets the result, one JSON object.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash scripts/setup.sh
exec .venv/bin/python -m sweeps run "$@"
