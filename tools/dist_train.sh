#!/usr/bin/env bash
# Train with several processes, a GPU each (or on the CPU, where there is none):
#   bash tools/dist_train.sh CONFIG GPUS [arguments of train.py]
# Several machines: run it on each with NNODES, NODE_RANK, MASTER_ADDR and, if 29500
# is taken, PORT set.
set -euo pipefail
if [ $# -lt 2 ]; then
    sed -n '2,5s/^# *//p' "$0" >&2
    exit 2
fi
exec "$(dirname "$0")/dist_run.sh" train.py "$1" "$2" "${@:3}"
