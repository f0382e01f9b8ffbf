#!/usr/bin/env bash
# Shared by dist_train.sh and dist_test.sh: SCRIPT CONFIG GPUS [arguments]
set -euo pipefail
tools=$(cd "$(dirname "$0")" && pwd)
script=$1 config=$2 gpus=$3
shift 3
export PYTHONPATH="$tools/..${PYTHONPATH:+:$PYTHONPATH}"
python=python
if [ -z "${VIRTUAL_ENV:-}" ] && [ -x "$tools/../.venv/bin/python" ]; then
    python="$tools/../.venv/bin/python"
fi
# on one machine any free port will do, several have to agree on one
if [ "${NNODES:-1}" = 1 ] && [ -z "${PORT:-}" ]; then
    meet=(--standalone --local-addr=127.0.0.1)
else
    meet=(
        --nnodes="${NNODES:-1}"
        --node_rank="${NODE_RANK:-0}"
        --master_addr="${MASTER_ADDR:-127.0.0.1}"
        --master_port="${PORT:-29500}"
    )
fi
exec "$python" -m torch.distributed.run "${meet[@]}" \
    --nproc_per_node="$gpus" \
    "$tools/$script" "$config" "$@" --launcher pytorch
