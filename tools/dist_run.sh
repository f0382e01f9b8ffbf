#!/usr/bin/env bash
# Shared by dist_train.sh and dist_test.sh: SCRIPT CONFIG GPUS [arguments]
set -euo pipefail
tools=$(cd "$(dirname "$0")" && pwd)
script=$1 config=$2 gpus=$3
shift 3
if ! [[ $gpus =~ ^[1-9][0-9]*$ ]]; then
    echo "GPUS must be a number, 1 or more, got '$gpus'" >&2
    exit 2
fi
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
    # the first machine opens the port; torchrun would end in pages of traceback
    if [ "${NODE_RANK:-0}" = 0 ] && ! "$python" - "${PORT:-29500}" <<'PY'
import socket, sys

with socket.socket() as s:
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        s.bind(('', int(sys.argv[1])))
    except (OSError, ValueError, OverflowError) as error:
        sys.exit(f'PORT={sys.argv[1]}: {error}; set PORT to a free one, from 1024 on')
PY
    then exit 2; fi
fi
exec "$python" -m torch.distributed.run "${meet[@]}" \
    --nproc_per_node="$gpus" \
    "$tools/$script" "$config" "$@" --launcher pytorch
