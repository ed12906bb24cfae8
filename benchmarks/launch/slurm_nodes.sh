#!/usr/bin/env bash
# One job on the GPUs of several nodes, a process for each: sbatch slurm_nodes.sh
#SBATCH --job-name=large
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --signal=B:TERM@120
set -u
out=${OUT:-runs/large}
train=(rpo-jax train brax/ant --num-seeds 32 --num-envs 4096 --out "$out")

[ -e "$out/settings.json" ] && train=(rpo-jax resume "$out") # of a job that was stopped, or lost a node
srun --kill-on-bad-exit=0 "${train[@]}" --distributed &
trap 'scancel --signal=TERM "$SLURM_JOB_ID"' TERM # all processes write a checkpoint
wait %1
code=$?
if [ "$code" -gt 128 ]; then
  wait %1
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
