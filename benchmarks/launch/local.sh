#!/usr/bin/env bash
# A process for each GPU of one machine: bash local.sh 4 rpo-jax train brax/ant --num-seeds 32
# One process has all GPUs of a machine without this; it is of use where a process for each is faster, and to try
# --distributed. Ctrl-C stops all of them, with a checkpoint.
set -u
count=$1
shift
processes=()
trap 'kill -TERM "${processes[@]}"' INT TERM # the shell makes processes behind & deaf to Ctrl-C
for ((number = 0; number < count; number++)); do
  CUDA_VISIBLE_DEVICES=$number "$@" --distributed "localhost:${PORT:-9876},$count,$number" &
  processes+=("$!")
done
code=0
for process in "${processes[@]}"; do
  wait "$process" || code=$? # where one dies, the others end
done
wait # after a signal, for the checkpoint
exit "$code"
