#!/bin/bash
# The GPUs of one machine. From the checkout, which all machines see; arguments go to finetune.py:
#   sbatch conf/slurm/one_node.sh --conf my/conf.json
# Options of sbatch come before the script: sbatch --partition=gpu --time=12:00:00 --gpus-per-node=8 --ntasks-per-node=8 ...
#SBATCH --job-name=stylecap
#SBATCH --nodes=1 --ntasks-per-node=4 --gpus-per-node=4 --cpus-per-task=8
#SBATCH --signal=USR1@120 --requeue --open-mode=append
#SBATCH --output=work_dir/slurm-%j.log
set -euo pipefail
exec bash conf/slurm/start.sh "$@"
