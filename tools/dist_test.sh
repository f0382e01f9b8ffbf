#!/usr/bin/env bash
# Test with several processes, a GPU each (or on the CPU, where there is none):
#   bash tools/dist_test.sh CONFIG CHECKPOINT GPUS [arguments of test.py]
# Several machines: run it on each with NNODES, NODE_RANK, MASTER_ADDR and, if 29500
# is taken, PORT set.
set -euo pipefail
if [ $# -lt 3 ]; then
    sed -n '2,5s/^# *//p' "$0" >&2
    exit 2
fi
exec "$(dirname "$0")/dist_run.sh" test.py "$1" "$3" "$2" "${@:4}"
