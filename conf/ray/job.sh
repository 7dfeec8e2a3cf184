#!/usr/bin/env bash
# Hands a sweep to a Ray cluster as a job of its job server, which keeps its log and outlives this terminal. Ray, with
# its job server (`ray[default]`), is the cluster's; the checkout, set up with scripts/setup.sh --ray, lies where all its
# machines see it. From the checkout, with what python -m sweeps run takes:
#   RAY_API=http://HEAD:8265 bash conf/ray/job.sh 0,1,2,3 --conf conf/sweep.json
# RAY names the program, if it is not on the path. A job that was stopped goes on when it is handed over again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

(($# > 0)) || {
    echo "usage: RAY_API=http://HEAD:8265 bash conf/ray/job.sh GPU_IDS [options of python -m sweeps run]" >&2
    exit 2
}
# Within the cluster the sweep finds it by itself; the checkout is used where it lies, not copied.
printf -v command '%q ' cd "$PWD"
printf -v sweep '%q ' .venv/bin/python -m sweeps run "$@" --engine ray
exec "${RAY:-ray}" job submit --address "${RAY_API:?names the job server: http://HEAD:8265}" --no-wait -- \
    bash -c "$command && exec $sweep"
