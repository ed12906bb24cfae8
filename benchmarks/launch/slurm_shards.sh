#!/usr/bin/env bash
# Shards of a sweep as a Slurm array, and a job that joins them once all are trained:
#   shards=$(sbatch --parsable slurm_shards.sh)
#   sbatch --dependency=afterok:"$shards" --kill-on-invalid-dep=yes --wrap 'rpo-jax merge runs/sweep'
# One shard again: sbatch --array=3 slurm_shards.sh
#SBATCH --job-name=sweep
#SBATCH --array=1-16%8
#SBATCH --gpus=1
#SBATCH --time=04:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
# The array has a task for each shard, of which 8 run at once; two minutes before its time training is told to stop.
set -u
out=${OUT:-runs/sweep} count=16 # the shards of --array
train=(rpo-jax train brax/hopper --num-seeds 16 --learning-rate 1e-3 3e-3 --out "$out")

printf -v folder '%s/shard-%0*d-of-%d' "$out" "${#count}" "$SLURM_ARRAY_TASK_ID" "$count"
train+=(--shard "$SLURM_ARRAY_TASK_ID/$count")
compgen -G "$folder/*.json" >/dev/null && train=(rpo-jax resume "$folder") # it was stopped, or is trained
srun --ntasks=1 "${train[@]}" # the signal is for srun; scancel ends this shell too, which then does not go on
code=$?
[ "$code" -eq 130 ] && scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID" # with a checkpoint
exit "$code"
