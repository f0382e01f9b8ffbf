#!/usr/bin/env bash
# Build the package as others get it, and run it away from this repository.
#
#   bash tools/check_wheel.sh [--compiled] [FOLDER]
#
# The pure-Python wheel is built from the source distribution; with --compiled, the
# wheel with the compiled operations from this tree, whose object files are reused. Each
# is installed by pip and by uv into an environment of its own, which takes torch and
# the OpenMMLab packages from the one in use (.venv, or $VIRTUAL_ENV); there a network
# of a config in the wheel does a forward pass. FOLDER keeps what was built.
set -euo pipefail

compiled=
if [ "${1:-}" = --compiled ]; then compiled=1; shift; fi
usage() { sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; }
case ${1:-} in
  -h | --help) usage; exit ;;
  -*) usage >&2; exit 2 ;;
esac

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
py=${VIRTUAL_ENV:-$root/.venv}/bin/python
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
dist=${1:-$work/dist}
mkdir -p "$dist"
dist=$(cd "$dist" && pwd)

for module in build uv; do
  "$py" -c "import $module" 2> /dev/null || {
    echo "error: no $module in $py; run $py -m pip install -r requirements/tests.txt" >&2
    exit 1
  }
done

if [ "$compiled" ]; then
  form=(--wheel)
else
  form=()  # a source distribution, and the wheel from that
fi
echo "build${compiled:+ with compiled operations}"
SMPCONV_MM_WITH_EXT=${compiled:-0} "$py" -m build --no-isolation "${form[@]}" \
  --outdir "$dist" "$root" > "$work/log" 2>&1 || { tail -n 40 "$work/log"; exit 1; }
if [ "$compiled" ]; then
  wheel=$(ls "$dist"/*-py3-none-linux*.whl)
else
  wheel=$(ls "$dist"/*-py3-none-any.whl)
fi

cat > "$work/check.py" <<'PY'
import importlib.metadata
import sys
from pathlib import Path

import torch

import smpconv_mm
from smpconv_mm.engine.config import load_config
from smpconv_mm.engine.runner import build_model
from smpconv_mm.ops.extension import why_not

package = Path(smpconv_mm.__file__).parent
assert package.is_relative_to(sys.prefix), f'{package} is not of this environment'
version = importlib.metadata.version('smpconv_mm')
assert version == smpconv_mm.__version__, version
config = load_config('smpconv_mm::smpconv/smpnet-micro_1xb64_digits.py')
assert Path(config.filename).is_relative_to(package), config.filename
scores = build_model(config).eval()(torch.randn(2, 3, 32, 32), mode='tensor')
assert scores.shape == (2, 10) and scores.isfinite().all()
reason = why_not('depthwise_conv2d', 'cpu')
assert (reason is None) == bool(int(sys.argv[1])), reason
print(f'    smpconv_mm {version}:', reason or 'compiled operations are there')
PY

for installer in pip uv; do
  echo "install by $installer: $(basename "$wheel")"
  env=$work/$installer
  "$py" -m venv --without-pip "$env"
  if [ $installer = pip ]; then
    "$py" -m pip --python "$env/bin/python" install -q --no-deps --no-index "$wheel"
  else
    "$py" -m uv pip install -q --python "$env/bin/python" --no-deps --offline "$wheel"
  fi
  site=$("$env/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  "$py" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > "$site/others.pth"
  (cd "$work" && env -u PYTHONPATH "$env/bin/python" -W ignore check.py "${compiled:-0}")
done
