#!/usr/bin/env bash
# Installs level full, then runs pytest, with two workers unless -n says otherwise:
#   bash tools/run_tests.sh [--stack STACK] [--cuda CUDA] [--torch-index URL] [pytest arguments]
# The first three are arguments of tools/install.sh.
set -euo pipefail
case ${1:-} in
  -h|--help) sed -n '2,4s/^# //p' "$0"; exit ;;
esac
cd "$(dirname "${BASH_SOURCE[0]}")/.."

options=()
while [[ ${1:-} =~ ^--(stack|cuda|torch-index)$ ]]; do
  options+=("${@:1:2}")
  shift $(($# > 1 ? 2 : 1))
done
bash tools/install.sh --level full "${options[@]}"

# A thread per worker, so that they do not wait for each other's cores. A file stays
# with one worker, which trains and builds what its tests share once.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} MKL_NUM_THREADS=${MKL_NUM_THREADS:-1}
export MPLBACKEND=Agg PYTHONUNBUFFERED=1
exec "${VIRTUAL_ENV:-.venv}/bin/python" -m pytest \
  -n 2 --dist loadfile --no-loadscope-reorder --durations=10 "$@"
