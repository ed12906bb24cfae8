#!/usr/bin/env bash
# A search that the tasks of a Slurm array share: sbatch slurm_search.sh
# Submitted again, it goes on. The last task to end has written what was found; nothing is to be merged.
#SBATCH --job-name=search
#SBATCH --array=1-8
#SBATCH --gpus=1
#SBATCH --time=04:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
# Tasks that wait in the queue cost no time: those that run take their settings. The folder needs locks that hold on
# all nodes, as NFS 4 and Lustre (mounted with flock) have them.
set -u
out=${OUT:-runs/search}
search=(rpo-jax search brax/hopper --num-settings 64 --over learning_rate rpo_alpha gamma --out "$out")

srun --ntasks=1 "${search[@]}" --shard "$SLURM_ARRAY_TASK_ID/8" # the tasks of --array
code=$?
[ "$code" -eq 130 ] && scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID" # with a checkpoint
exit "$code"
