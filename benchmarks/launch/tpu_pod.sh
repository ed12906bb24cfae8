#!/usr/bin/env bash
# The same command on every host of a Cloud TPU slice, whose processes find each other:
#   bash tpu_pod.sh python3 -m pip install 'jax[tpu]' rpo_jax
#   bash tpu_pod.sh python3 -m rpo_jax train brax/ant --num-seeds 256 --out runs/large --distributed
# Stopped, with a checkpoint: bash tpu_pod.sh pkill -TERM -f 'rpo_jax [rt]'
set -u
name=${TPU:-my-slice} zone=${ZONE:-us-east5-b}
gcloud compute tpus tpu-vm ssh "$name" --zone "$zone" --worker=all --command "$(printf '%q ' "$@")"
