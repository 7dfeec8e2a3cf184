#!/usr/bin/env bash
# What one_node.sh and many_nodes.sh do inside their job: starts a process for each task, and queues the job again where
# finetune.py ended with 75 (stopped by a signal, after a save). Every other end is the job's: 0 finished, 1 a fault,
# 2 input that cannot be used, 77 out of memory at one row, 78 no numbers.
set -euo pipefail

if ((SLURM_NTASKS > 1)); then
    MASTER_ADDR="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p)"
    # Another port for each job: two may share a machine.
    export MASTER_ADDR MASTER_PORT="$((20000 + SLURM_JOB_ID % 10000))"
fi
# shellcheck disable=SC2016 # the variables are those of each task
task='
if ((SLURM_NTASKS > 1)); then
    export RANK="$SLURM_PROCID" WORLD_SIZE="$SLURM_NTASKS" LOCAL_RANK="$SLURM_LOCALID"
fi
exec .venv/bin/python finetune.py "$@"'

# Not --kill-on-bad-exit: the first task that ends with 75 would have the others killed while they end, and the job
# would end with 143. Tasks that still wait for a crashed one after a minute are ended.
code=0
srun --kill-on-bad-exit=0 --wait=60 bash -c "$task" task "$@" || code=$?
if ((code == 75)); then
    echo "slurm: stopped after a save; queued again"
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
