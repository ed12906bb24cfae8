#!/usr/bin/env bash
# One job on the GPUs of several nodes, a process for each: sbatch slurm_nodes.sh
#SBATCH --job-name=large
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --time=04:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -u
out=${OUT:-runs/large}
train=(rpo-jax train brax/ant --num-seeds 32 --num-envs 4096 --out "$out")

compgen -G "$out/*.json" >/dev/null && train=(rpo-jax resume "$out") # it was stopped, lost a node, or is trained
srun --kill-on-bad-exit=0 "${train[@]}" --distributed # the signal is for srun, not for this shell
code=$?
[ "$code" -eq 130 ] && scontrol requeue "$SLURM_JOB_ID" # with a checkpoint
exit "$code"
