#!/usr/bin/env bash
# Installs level core, trains a small network on scikit-learn's digits, and
# draws what came out. Arguments go to tools/train.py.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

config=configs/smpconv/smpnet-micro_1xb64_digits.py
work=work_dirs/smpnet-micro_1xb64_digits

bash tools/install.sh --level core
py=${VIRTUAL_ENV:-.venv}/bin/python
export MPLBACKEND=Agg PYTHONUNBUFFERED=1

"$py" tools/train.py "$config" --work-dir "$work" "$@"

checkpoint=$(cat "$work/last_checkpoint")

"$py" tools/analysis_tools/plot_curves.py "$work" --out "$work/curves.png"
"$py" tools/visualization/vis_kernels.py "$config" "$checkpoint" --out "$work/kernels.png"
"$py" tools/analysis_tools/confusion_matrix.py "$config" "$checkpoint" \
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
END
