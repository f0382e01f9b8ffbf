#!/usr/bin/env bash
# Train on a Slurm cluster:
#   GPUS=32 GPUS_PER_NODE=8 bash tools/slurm_train.sh PARTITION JOB CONFIG WORK_DIR [arguments of train.py]
# CPUS_PER_TASK and SRUN_ARGS are passed on to srun. When a process dies, Slurm ends
# the others.
set -euo pipefail
if [ $# -lt 4 ]; then
    sed -n '2,5s/^# *//p' "$0" >&2
    exit 2
fi
tools=$(cd "$(dirname "$0")" && pwd)
gpus=${GPUS:-8}
if ! [[ $gpus =~ ^[1-9][0-9]*$ ]]; then
    echo "GPUS must be a number, 1 or more, got '$gpus'" >&2
    exit 2
fi
per_node=${GPUS_PER_NODE:-8}
[ "$per_node" -le "$gpus" ] || per_node=$gpus
# two jobs may share a machine
export MASTER_PORT="${MASTER_PORT:-$((20000 + RANDOM % 10000))}"
export PYTHONPATH="$tools/..${PYTHONPATH:+:$PYTHONPATH}"
# shellcheck disable=SC2086  # SRUN_ARGS holds several words
exec srun -p "$1" \
    --job-name="$2" \
    --gres="gpu:$per_node" \
    --ntasks="$gpus" \
    --ntasks-per-node="$per_node" \
    --cpus-per-task="${CPUS_PER_TASK:-8}" \
    --kill-on-bad-exit=1 \
    ${SRUN_ARGS:-} \
    python -u "$tools/train.py" "$3" --work-dir "$4" --launcher slurm "${@:5}"
