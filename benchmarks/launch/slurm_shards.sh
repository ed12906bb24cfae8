#!/usr/bin/env bash
# Shards of a sweep as a Slurm array, and a job that joins them once all are trained:
#   shards=$(sbatch --parsable slurm_shards.sh)
#   sbatch --dependency=afterok:"$shards" --wrap 'rpo-jax merge runs/sweep'
#SBATCH --job-name=sweep
#SBATCH --array=1-16%8
#SBATCH --gpus-per-task=1
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --signal=B:TERM@120
# The array has a task for each shard, of which 8 run at once; two minutes before its time a task is told to stop.
set -u
out=${OUT:-runs/sweep}
train=(rpo-jax train brax/hopper --num-seeds 16 --learning-rate 1e-3 3e-3 --out "$out" --shard auto)

count=$SLURM_ARRAY_TASK_COUNT
printf -v shard 'shard-%0*d-of-%d' "${#count}" "$((SLURM_ARRAY_TASK_ID - SLURM_ARRAY_TASK_MIN + 1))" "$count"
if [ -e "$out/$shard/settings.json" ]; then # of a task that was stopped
  rpo-jax resume "$out/$shard" &
else
  "${train[@]}" &
fi
trap 'kill -TERM %1' TERM # it writes a checkpoint
wait %1
code=$?
if [ "$code" -gt 128 ]; then
  wait %1 # for the checkpoint
  scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
fi
exit "$code"
