#!/bin/bash
# The GPUs of several machines. From the checkout, which all machines see, as they see data and work_dir:
#   sbatch conf/slurm/many_nodes.sh --conf my/conf.json
#   sbatch --nodes=16 --gpus-per-node=8 --ntasks-per-node=8 conf/slurm/many_nodes.sh --conf my/conf.json
# One process for each GPU. For one model in shards: sbatch --export=ALL,ACCELERATE_USE_FSDP=true ...
#SBATCH --job-name=stylecap
#SBATCH --nodes=2 --ntasks-per-node=4 --gpus-per-node=4 --cpus-per-task=8
#SBATCH --signal=USR1@120 --requeue --open-mode=append
#SBATCH --output=work_dir/slurm-%j.log
set -euo pipefail
exec bash conf/slurm/start.sh "$@"
