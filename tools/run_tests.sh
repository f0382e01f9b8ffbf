#!/usr/bin/env bash
# Installs level full, then runs pytest:
#   bash tools/run_tests.sh [--stack STACK] [--cuda CUDA] [pytest arguments]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

options=()
while [ "${1:-}" = --stack ] || [ "${1:-}" = --cuda ]; do
  options+=("${@:1:2}")
  shift $(($# > 1 ? 2 : 1))
done
bash tools/install.sh --level full "${options[@]}"

# Two threads: steady times, and no fight between libraries over the cores.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-2} MKL_NUM_THREADS=${MKL_NUM_THREADS:-2}
export MPLBACKEND=Agg PYTHONUNBUFFERED=1
exec "${VIRTUAL_ENV:-.venv}/bin/python" -m pytest --durations=10 "$@"
