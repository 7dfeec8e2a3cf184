#!/usr/bin/env bash
# A sweep of self-critical training, which goes on from a trained captioner: scripts/sweep.sh with conf/sweep_scst.json.
#   bash scripts/sweep_scst.sh 0,2,3 --checkpoint work_dir/flickrstyle_mlm/output
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [[ $# -eq 0 ]]; then
    echo "usage: bash scripts/sweep_scst.sh GPU_IDS --checkpoint RUN/output [options of scripts/sweep.sh]" >&2
    exit 2
fi
exec bash scripts/sweep.sh "$1" --conf conf/sweep_scst.json "${@:2}"
