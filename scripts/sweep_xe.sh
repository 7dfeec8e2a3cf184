#!/usr/bin/env bash
# A sweep of cross-entropy training: scripts/sweep.sh with conf/sweep.json.
#   bash scripts/sweep_xe.sh 0,2,3 --set train.epochs=5
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [[ $# -eq 0 ]]; then
    echo "usage: bash scripts/sweep_xe.sh GPU_IDS [options of scripts/sweep.sh]" >&2
    exit 2
fi
exec bash scripts/sweep.sh "$1" --conf conf/sweep.json "${@:2}"
