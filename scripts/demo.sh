#!/usr/bin/env bash
# Sets up, draws the demo's pictures, trains a nano OFA from scratch on them and evaluates it: minutes on two cores.
#   bash scripts/demo.sh                           into work_dir/demo
#   bash scripts/demo.sh --set work_dir=work_dir/short --set train.epochs=1      arguments go to finetune.py
# The last line on stdout is finetune.py's results JSON.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash scripts/setup.sh
.venv/bin/python finetune.py --conf conf/demo.json "$@"

run=work_dir/demo
for argument in "$@"; do
    case "${argument#--set=}" in
    work_dir=*) run="${argument#*work_dir=}" ;;
    esac
done
echo "demo: open $run/report.html in a browser to see pictures, captions and scores" >&2
