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

checkpoint=$(ls -t "$work"/best_accuracy_top1*.pth 2> /dev/null | head -n 1)
[ -n "$checkpoint" ] || checkpoint=$(cat "$work/last_checkpoint")

"$py" tools/analysis_tools/plot_curves.py "$work" --out "$work/curves.png"
"$py" tools/visualization/vis_kernels.py "$config" "$checkpoint" --out "$work/kernels.png"
"$py" tools/analysis_tools/confusion_matrix.py "$config" "$checkpoint" \
  --out "$work/confusion_matrix.png"

accuracy=$("$py" - "$work" <<'PY'
import json
import sys
from pathlib import Path

log = max(Path(sys.argv[1]).glob('*/vis_data/scalars.json'))
lines = [json.loads(line) for line in log.read_text().splitlines()]
tops = [line['accuracy/top1'] for line in lines if 'accuracy/top1' in line]
print('%.2f' % max(tops, default=float('nan')))
PY
)
cat <<END

Top-1 accuracy on the held-out digits: $accuracy %
  checkpoint        $checkpoint
  training curves   $work/curves.png
  kernels           $work/kernels.png
  confusion matrix  $work/confusion_matrix.png
END
