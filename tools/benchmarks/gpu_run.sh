#!/usr/bin/env bash
# Everything worth knowing of a GPU that is at hand for minutes, the most useful first:
#   bash tools/benchmarks/gpu_run.sh OUT DEADLINE_S
# Needs torch, numpy and pytest, and smpconv_mm/_ext.so built with CUDA.
set -uo pipefail
[ $# -eq 2 ] || { sed -n 2,4p "$0"; exit 2; }
mkdir -p "$1" && out=$(cd "$1" && pwd) || exit
deadline=$2
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
python=${PYTHON:-python3}
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1

left() { echo $((deadline - SECONDS)); }

# part NAME LEAST MOST COMMAND...: runs it within the time that is left, if enough is
part() {
  local name=$1 least=$2 limit=$3 status
  shift 3
  if [ "$(left)" -lt "$least" ]; then
    echo "== $name: left out, it needs $least s and $(left) s are left"
    return
  fi
  [ "$limit" -le "$(left)" ] || limit=$(left)
  echo "== $name, at most $limit s: $*"
  timeout -k 5 "$limit" "$@"
  status=$?
  echo "== $name: status $status, $(left) s are left"
}

find_tool() {
  command -v "$1" || ls -d /usr/local/cuda*/bin/"$1" /opt/nvidia/*/*/"$1" 2> /dev/null | tail -1
}

bench() { part "$1" "$2" "$3" "$python" tools/benchmarks/bench_gpu.py "${@:4}" --json "$out/rows.jsonl" --deadline "$(($3 - 5))"; }

run() {
  bench 'ceilings and shapes' 20 75 ceilings shapes
  part 'tests' 20 100 "$python" -m pytest tests/test_cuda_ops/test_gpu.py -q --maxfail=20 -p no:cacheprovider --durations=5
  bench 'names' 20 60 names
  local ncu
  ncu=$(find_tool ncu)
  if [ -n "$ncu" ]; then
    part 'ncu' 20 120 "$ncu" --set detailed --clock-control none --kernel-name-base demangled \
      -k regex:smpconv_mm --launch-count 10 --csv --page raw --log-file "$out/ncu.csv" \
      "$python" tools/benchmarks/bench_gpu.py once
  else
    echo '== ncu: not found'
  fi
}
run 2>&1 | tee "$out/log.txt"
