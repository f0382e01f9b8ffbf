#!/usr/bin/env bash
# Everything worth knowing of a GPU that is at hand for minutes, the most useful first:
#   bash tools/benchmarks/gpu_run.sh OUT DEADLINE_S [PART ...]
# Parts, all without naming any: ours tests nchw plans crossovers networks oriented
# involution channels_last names ncu sanitizer. Each gets a share of the time; what does
# not fit is left out. OUT gets rows.jsonl (a row of JSON a measurement), log.txt and
# ncu.csv. Needs torch, numpy and pytest. smpconv_mm/_ext.so is built only if it does
# not load. Without a GPU it says what it would do.
set -uo pipefail
[ $# -ge 2 ] && [[ $2 =~ ^[0-9]+$ ]] || { sed -n '2,9s/^# //p' "$0" >&2; exit 2; }
mkdir -p "$1" && out=$(cd "$1" && pwd) || exit
deadline=$2
wanted=" ${*:3} "
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
python=${PYTHON:-python3}
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1

left() { echo $((deadline - SECONDS)); }

# part NAME LEAST SHARE COMMAND...: runs it for at most SHARE percent of the deadline,
# and only if LEAST seconds are left.
part() {
  local name=$1 least=$2 limit=$(($3 * deadline / 100)) status
  shift 3
  [[ "$wanted" = "  " || "$wanted" = *" $name "* ]] || return
  if [ "$(left)" -lt "$least" ]; then
    echo "== $name: left out, it needs $least s and $(left) s are left"
    return
  fi
  [ "$limit" -ge "$least" ] || limit=$least
  [ "$limit" -le "$(left)" ] || limit=$(left)
  [ "$limit" -le 590 ] || limit=590
  local command=("${@//LIMIT/$((limit - limit / 10 - 2))}")
  echo "== $name, at most $limit s: ${command[*]}"
  [ "$gpu" = yes ] || return
  timeout -k 5 "$limit" "${command[@]}"
  status=$?
  [ $status -ne 124 ] || echo "== $name: cut off at its limit"
  echo "== $name: status $status, $(left) s are left"
}

find_tool() {
  command -v "$1" || ls -d /usr/local/cuda*/bin/"$1" /opt/nvidia/*/*/"$1" 2> /dev/null | tail -1
}

# measure PART LEAST SHARE TOOL ARGUMENTS...
measure() {
  part "$1" "$2" "$3" "$python" "tools/benchmarks/$4" "${@:5}" \
    --json "$out/rows.jsonl" --deadline LIMIT
}

run() {
  gpu=$("$python" -c 'import torch; print("yes" if torch.cuda.is_available() else "no")')
  [ "$gpu" = yes ] || echo '== torch sees no GPU: this is what would be done'
  if "$python" -c 'import sys; from smpconv_mm.ops.extension import why_not
reason = why_not("depthwise_conv2d", "cuda"); reason and sys.exit(reason)'; then
    echo '== smpconv_mm/_ext: loads, with CUDA'
  else
    FORCE_CUDA=1 part build 240 70 "$python" setup.py -q build_ext --inplace
  fi

  measure ours 15 30 bench_gpu.py ceilings ours --seconds 0.1
  part tests 20 35 "$python" -m pytest tests/test_cuda_ops/test_gpu*.py -k 'not tiny' -q \
    --maxfail=20 -p no:cacheprovider --durations=3 --tb=short
  measure nchw 12 20 bench_gpu.py nchw --seconds 0.05
  measure plans 20 20 tune_depthwise.py --passes forward dw --seconds 0.03
  measure crossovers 20 25 bench_gpu.py crossovers --seconds 0.01
  measure networks 20 20 gpu_networks.py --seconds 2
  local op
  for op in oriented involution; do
    [ -f "tools/benchmarks/bench_$op.py" ] || continue
    part "$op" 20 12 "$python" "tools/benchmarks/bench_$op.py" --seconds 0.1 \
      --dtype bfloat16 --json "$out/$op.json"
  done
  measure channels_last 20 20 bench_gpu.py channels_last --seconds 0.05
  measure names 20 15 bench_gpu.py names
  local tool
  tool=$(find_tool ncu)
  if [ -n "$tool" ]; then
    part ncu 20 25 "$tool" --set detailed --clock-control none \
      --kernel-name-base demangled -k regex:smpconv_mm --launch-count 12 \
      --csv --page raw --log-file "$out/ncu.csv" \
      "$python" tools/benchmarks/bench_gpu.py once
  else
    echo '== ncu: not found'
  fi
  tool=$(find_tool compute-sanitizer)
  if [ -n "$tool" ]; then
    part sanitizer 60 50 env PATH="${tool%/*}:$PATH" PYTHON="$python" bash cuda_ops/sanitize.sh
  else
    echo '== sanitizer: compute-sanitizer was not found'
  fi
  echo "== done, $(left) s are left"
}
run 2>&1 | head -c 15000000 | tee "$out/log.txt"
