#!/usr/bin/env bash
# Installs level core, trains a small network on scikit-learn's digits, and draws
# what came out.
#   bash tools/quickstart.sh [--torch-index URL] [arguments of tools/train.py]
#   bash tools/quickstart.sh [--torch-index URL] --compare [arguments of tools/compare.py]
# --torch-index is an argument of tools/install.sh, for a build of torch without CUDA.
# --compare trains six kinds of kernels instead, in ten minutes.
set -euo pipefail
case ${1:-} in
  -h|--help) sed -n '2,7s/^# //p' "$0"; exit ;;
esac
index=()
if [ "${1:-}" = --torch-index ]; then
  index=("${@:1:2}")
  shift $(($# > 1 ? 2 : 1))
fi
cd "$(dirname "${BASH_SOURCE[0]}")/.."

config=configs/smpconv/smpnet-micro_1xb64_digits.py
work=work_dirs/smpnet-micro_1xb64_digits
log=$work/quickstart.log

bash tools/install.sh --level core "${index[@]}"
py=${VIRTUAL_ENV:-.venv}/bin/python
export MPLBACKEND=Agg PYTHONUNBUFFERED=1
if [ "${1:-}" = --compare ]; then
  exec "$py" tools/compare.py "$config" --kernels dense,smp,ck,flex,oriented,dcls \
    --seeds 2 --budget 10m "${@:2}"
fi
mkdir -p "$work"
: > "$log"

# logged COMMAND...: what it says goes into the log, shown if it fails
logged() {
  printf '+ %s\n' "$*" >> "$log"
  "$@" >> "$log" 2>&1 || failed
}

failed() {
  tail -n 20 "$log" >&2
  echo "quickstart.sh: stopped; all that was said is in $log" >&2
  exit 1
}

# one line per epoch of what MMEngine logs
epochs() {
  awk '{
    for (i = 1; i < NF; i++) {
      if ($i == "loss:") loss = $(i + 1)
      if ($i == "accuracy/top1:")
        printf "    epoch %d: loss %.3f, accuracy %.2f %%\n", ++epoch, loss, $(i + 1)
    }
    fflush()
  }'
}

echo 'Train SMPNet-micro on handwritten digits'
"$py" tools/train.py "$config" --work-dir "$work" "$@" 2>&1 | tee -a "$log" | epochs ||
  failed
checkpoint=$work/$(basename "$(cat "$work/last_checkpoint")")

echo 'Draw curves, kernels and mistakes'
logged "$py" tools/analysis_tools/plot_curves.py "$work" --out "$work/curves.png"
logged "$py" tools/visualization/vis_kernels.py "$config" "$checkpoint" \
  --out "$work/kernels.png"
logged "$py" tools/analysis_tools/confusion_matrix.py "$config" "$checkpoint" \
  --out "$work/confusion_matrix.png"

accuracy=$("$py" - "$work" <<'PY'
import sys

from smpconv_mm.visualization import read_scalars

top1 = read_scalars(sys.argv[1])['accuracy/top1']
print('%.2f %% after epoch %d' % (top1[-1][1], top1[-1][0]))
PY
)
cat <<END

Top-1 accuracy on the held-out digits: $accuracy
  checkpoint        $checkpoint
  training curves   $work/curves.png
  kernels           $work/kernels.png
  confusion matrix  $work/confusion_matrix.png
  log               $log
END
