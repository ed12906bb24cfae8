#!/usr/bin/env bash
# The same command on every host of a Cloud TPU slice, whose processes find each other:
#   bash tpu_pod.sh rpo-jax train brax/ant --num-seeds 256 --out runs/large
# Install it before in the same way: bash tpu_pod.sh pip install 'jax[tpu]' rpo_jax
set -u
name=${TPU:-my-slice} zone=${ZONE:-us-east5-b}
[ "$1" = rpo-jax ] && set -- "$@" --distributed
gcloud compute tpus tpu-vm ssh "$name" --zone "$zone" --worker=all --command "$(printf '%q ' "$@")"
