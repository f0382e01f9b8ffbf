#!/usr/bin/env bash
# Installs smpconv_mm and what it needs. Call it as often as you like:
# what is there in the right version is left alone.
set -euo pipefail

usage() {
  cat <<'USAGE'
Usage: bash tools/install.sh [--level core|full] [--stack openmmlab|onedl]
                             [--cuda auto|on|off] [--torch-index URL] [-h]

  --level core   torch, mmengine, mmcv without compiled ops, mmpretrain:
                 enough to train classifiers; minutes (default)
  --level full   core with mmcv's ops compiled from source, mmdet,
                 mmsegmentation and the tools of tests and documentation
  --stack        the OpenMMLab packages: the original ones (openmmlab, default)
                 or the OneDL forks (onedl, Python 3.10 or newer)
  --cuda         compile for CUDA (on) or the CPU only (off); auto, the
                 default, means on where a GPU and nvcc are found
  --torch-index  take torch and torchvision from this package index. The builds
                 on PyPI contain CUDA (5 GB installed), which a machine without
                 a GPU has no use for; pytorch.org ("Get started", CPU) names
                 the index of those without (1 GB)

Installs into the active virtual environment ($VIRTUAL_ENV), else into .venv
beside this folder. For conda: VIRTUAL_ENV=$CONDA_PREFIX bash tools/install.sh
A torch that an active environment brings along is kept.
With a C++ compiler the fast convolutions of cuda_ops/ are compiled, too.
Compiled mmcv wheels are kept in $SMPCONV_MM_CACHE, by default
~/.cache/smpconv_mm, and used again. MAX_JOBS bounds the compiler processes.
USAGE
}

die() { name=; printf 'install.sh: %s\n' "$*" >&2; exit 2; }

# ---------------------------------------------------------------- arguments
level=core stack=openmmlab cuda=auto torch_index=()
while [ $# -gt 0 ]; do
  case $1 in
    -h|--help) usage; exit ;;
    --level|--stack|--cuda|--torch-index)
      [ $# -ge 2 ] || die "$1 needs a value (see -h)"
      case "$1 $2" in
        '--level core'|'--level full') level=$2 ;;
        '--stack openmmlab'|'--stack onedl') stack=$2 ;;
        '--cuda auto'|'--cuda on'|'--cuda off') cuda=$2 ;;
        '--torch-index http'*|'--torch-index file:'*) torch_index=(--index-url "$2") ;;
        *) die "unknown value '$2' for $1 (see -h)" ;;
      esac
      shift 2 ;;
    *) die "unknown argument '$1' (see -h)" ;;
  esac
done

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
env=${VIRTUAL_ENV:-$root/.venv}
py=$env/bin/python
req=$root/requirements
cache=${SMPCONV_MM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/smpconv_mm}
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_PROGRESS_BAR=off

official=(mmengine mmcv-lite mmcv mmpretrain mmdet mmsegmentation)
onedl=(onedl-mmengine onedl-mmcv onedl-mmpretrain onedl-mmdetection
       onedl-mmsegmentation)
if [ "$stack" = openmmlab ]; then
  others=("${onedl[@]}") mmcv=mmcv
  core=(mmengine mmpretrain) extra=(mmdet mmsegmentation)
else
  others=("${official[@]}") mmcv=onedl-mmcv
  core=(onedl-mmengine onedl-mmpretrain)
  extra=(onedl-mmdetection onedl-mmsegmentation)
fi

# -------------------------------------------------------------------- steps
work=$(mktemp -d) log=$work/log build= beat= name= hint= count=0
unchecked=$env/.unchecked  # there while the imports have not been checked
: > "$log"

# step NAME HINT: what the following commands do, what helps if they fail.
step() {
  name=$1 hint=$2 count=$((count + 1)) started=$SECONDS
  printf '[%d] %s\n' "$count" "$name"
}

ok() { printf '    %s, %d s\n' "${1:-done}" $((SECONDS - started)); }

# run COMMAND...: into the log, with a sign of life every minute.
run() {
  [ ! -d "$env" ] || : > "$unchecked"
  while sleep 60 > /dev/null 2>&1; do
    echo "    $((SECONDS - started)) s" \
         "$(grep -oE '^ *\[[0-9]+/[0-9]+\]' "$log" | tail -n 1)"
  done &
  beat=$!
  disown
  printf '+ %s\n' "$*" >> "$log"
  local status=0
  "$@" >> "$log" 2>&1 || status=$?
  kill "$beat" 2> /dev/null || true
  beat=
  return $status
}

finish() {
  local status=$?
  trap - EXIT
  [ -z "$beat" ] || kill "$beat" 2> /dev/null || true
  [ -z "$build" ] || rm -rf "$build"
  if [ $status -eq 0 ] || [ -z "$name" ]; then
    rm -rf "$work"
  else
    {
      echo
      tail -n 25 "$log"
      echo
      echo "install.sh: step $count ($name) stopped with status $status" \
           "after $((SECONDS - started)) s. Log: $log"
      echo "What to do: $hint"
    } >&2
  fi
  exit $status
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

pip_install() { run "$py" -m pip install -c "$work/constraints.txt" "$@"; }

# state lacks NAME|FILE...: those that the environment does not meet
# state pin NAME:           the version that the constraints ask for
# state here NAME...:       those that are installed, whatever the version
# state pins:               all constraints, with the torch that is kept
# state ops KEY:            succeeds if mmcv's ops are there, built for KEY
# state editable:           succeeds if this very tree is installed
# Reads versions only; imports none of the packages.
state() {
  "$py" - "$root" "$stack" "$keep_torch" "$mmcv" "$@" <<'PY'
import json
import sys
from importlib import metadata
from pathlib import Path

from pip._vendor.packaging.requirements import Requirement

root, stack, keep_torch, mmcv, command, *args = sys.argv[1:]
folder = Path(root, 'requirements')


def version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def read(path):
    lines = [line.split('#')[0].strip() for line in path.read_text().splitlines()]
    found = [Requirement(line) for line in lines if line and line[0] != '-']
    return [r for r in found if not r.marker or r.marker.evaluate()]


def dist_json(name):
    text = metadata.distribution(name).read_text('direct_url.json')
    return json.loads(text or '{}').get('url', '')


pins = read(folder / 'constraints.txt') + read(folder / f'constraints-{stack}.txt')
pins = {r.name: str(r.specifier) for r in pins}
if keep_torch and version('torch') and version('torchvision'):
    pins.update({n: f'=={version(n)}' for n in ('torch', 'torchvision')})

if command == 'pin':
    print(pins[args[0]].lstrip('='))
elif command == 'pins':
    print('\n'.join(name + pin for name, pin in pins.items()))
elif command == 'here':
    print(' '.join(name for name in args if version(name)))
elif command == 'lacks':
    for arg in args:
        for r in read(folder / arg) if arg.endswith('.txt') else [Requirement(arg)]:
            pin = Requirement(r.name + pins.get(r.name, '')).specifier
            have = version(r.name)
            if not have or not (r.specifier & pin).contains(have, prereleases=True):
                print(r.name)
elif command == 'ops':
    files = metadata.files(mmcv) if version(mmcv) else []
    built = any(str(f).startswith('mmcv/_ext') for f in files or [])
    url = dist_json(mmcv) if built else ''
    sys.exit(not built or ('/wheels/' in url and f'/{args[0]}/' not in url))
elif command == 'editable':
    here = version('smpconv_mm') and dist_json('smpconv_mm') == Path(root).as_uri()
    text = Path(root, 'smpconv_mm', 'version.py').read_text()
    sys.exit(not here or repr(version('smpconv_mm')) not in text)
PY
}

# --------------------------------------------------------------------- CUDA
nvcc=$(command -v "${CUDA_HOME:-/nowhere}/bin/nvcc" || command -v nvcc ||
       command -v /usr/local/cuda/bin/nvcc) || nvcc=
if [ $cuda = on ] && [ -z "$nvcc" ]; then
  die '--cuda on needs nvcc: install the CUDA toolkit, put nvcc into PATH or' \
      'set CUDA_HOME; or take --cuda off'
fi
if [ $cuda = auto ]; then
  cuda=off
  if [ -n "$nvcc" ] && nvidia-smi -L 2> /dev/null | grep -q GPU; then cuda=on; fi
fi

# -------------------------------------------------------------- environment
echo "smpconv_mm: level $level, stack $stack, CUDA $cuda, environment $env"
step 'Python environment' 'remove the environment and call this script again'
if [ ! -x "$py" ]; then
  [ -z "${VIRTUAL_ENV:-}" ] || die "no Python in the active environment $env"
  for python in python3.11 python3 python3.12 python3.10 python3.9 ''; do
    [ -n "$python" ] || die 'no Python 3.9 to 3.12 found; please install one'
    fits='import sys; sys.exit(not (3, 9) <= sys.version_info[:2] <= (3, 12))'
    "$python" -c "$fits" > /dev/null 2>&1 && break
  done
  "$python" -c 'import ensurepip, venv' 2> /dev/null ||
    die "$python cannot make environments: apt-get install python3-venv"
  run "$python" -m venv "$env"
fi
"$py" -c 'import pip._vendor.packaging.requirements' 2> /dev/null ||
  die "no pip in $env: call '$py -m ensurepip'"
if [ $stack = onedl ]; then
  "$py" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    die 'the OneDL packages need Python 3.10 or newer'
fi
keep_torch=
[ "$env" -ef "$root/.venv" ] || keep_torch=1
state pins > "$work/constraints.txt"
tag=$("$py" -c 'import sys; print("py%d%d" % sys.version_info[:2])')
ok "$("$py" -V)"

# The key of the compiled wheel: what its binary depends on.
key=$tag-$(uname -m)-torch$(state pin torch)-$mmcv$(state pin "$mmcv")-cpu
if [ $cuda = on ]; then
  key=${key%cpu}cuda$("$nvcc" --version | sed -n 's/.*release \([0-9.]*\).*/\1/p')
  key=$key${TORCH_CUDA_ARCH_LIST:+-sm$TORCH_CUDA_ARCH_LIST}
fi
key=$(tr -c '[:alnum:]._\n-' - <<< "$key")
wheels=$cache/wheels/$key
if [ $level = full ] && ! ls "$wheels"/*.whl > /dev/null 2>&1 &&
    ! state ops "$key" && ! command -v "${CXX:-c++}" > /dev/null; then
  die "--level full compiles mmcv and needs a C++ compiler, but" \
      "'${CXX:-c++}' is not there: apt-get install g++ (or take --level core)"
fi

online='see the lines above. Mostly the package index was out of reach: check
  the network and the settings of pip (PIP_INDEX_URL, PIP_PROXY), then call this
  script again; it goes on with this step.'

present=$(state here "${others[@]}")
if [ -n "$present" ]; then
  step "remove the other stack ($present)" 'uninstall these packages by hand'
  run "$py" -m pip uninstall -y $present
  ok
fi

# ----------------------------------------------------------------- packages
step "torch $(state pin torch) and build tools" "$online"
missing=$(state lacks torch torchvision setuptools wheel ninja)
if [ -z "$missing" ]; then
  ok 'already there'
else
  if [[ $missing == *torch* ]] && [ ${#torch_index[@]} = 0 ] &&
      [ "$(uname)" = Linux ] && ! nvidia-smi -L 2> /dev/null | grep -q GPU; then
    echo '    no GPU here; the torch of PyPI contains CUDA all the same (5 GB).' \
         '--torch-index takes another build (see -h)'
  fi
  if [[ $missing == *torch* ]] && [ ${#torch_index[@]} -gt 0 ]; then
    # the build tools are not in that index
    pip_install "${torch_index[@]}" $(grep torch <<< "$missing")
  fi
  pip_install $missing
  ok
fi

step "packages of level core ($stack)" "$online"
if [ -z "$(state lacks runtime.txt "${core[@]}")" ]; then
  ok 'already there'
else
  pip_install -r "$req/runtime.txt" "${core[@]}"
  ok
fi

if [ $level = core ]; then
  step 'mmcv without compiled ops' "$online"
  if [ -z "$(state lacks "$mmcv")" ]; then
    ok 'already there'
  elif [ $stack = openmmlab ]; then
    if [ -n "$(state lacks mmcv-lite)" ]; then
      present=$(state here mmcv)
      [ -z "$present" ] || run "$py" -m pip uninstall -y mmcv
      pip_install mmcv-lite
      ok
    else
      ok 'already there'
    fi
  else
    # Built apart from torch, it comes out as pure Python.
    pip_install --no-cache-dir "$mmcv"
    ok
  fi
else
  step "mmcv with compiled ops ($key)" "$online
  If the compiler failed: fewer processes (MAX_JOBS=1) need less memory;
  --cuda off leaves CUDA out."
  if state ops "$key" && [ -z "$(state lacks "$mmcv")" ]; then
    ok 'already there'
  else
    if ! ls "$wheels"/*.whl > /dev/null 2>&1; then
      echo '    compiling; 10 to 20 minutes on 2 cores'
      mkdir -p "$cache"
      build=$(mktemp -d "$cache/build.XXXXXX")
      [ $cuda = on ] || export CUDA_VISIBLE_DEVICES=
      MAX_JOBS=${MAX_JOBS:-$(nproc)} MMCV_WITH_OPS=1 \
      FORCE_CUDA=$([ $cuda = on ] && echo 1 || echo 0) TMPDIR=$build \
        run "$py" -m pip wheel -v --no-deps --no-build-isolation --no-cache-dir \
        --no-binary "$mmcv" -w "$build" "$mmcv==$(state pin "$mmcv")"
      mkdir -p "$wheels"
      mv "$build"/*.whl "$wheels/"
      rm -rf "$build" && build=
    fi
    present=$(state here mmcv-lite "$mmcv")
    [ -z "$present" ] || run "$py" -m pip uninstall -y $present
    pip_install "$(ls "$wheels"/*.whl)"
    ok
  fi

  step 'mmdet, mmsegmentation and test tools' "$online"
  if [ -z "$(state lacks tests.txt docs.txt "${extra[@]}")" ]; then
    ok 'already there'
  else
    pip_install -r "$req/tests.txt" -r "$req/docs.txt" "${extra[@]}"
    ok
  fi
fi

step 'smpconv_mm itself (editable)' 'see the lines above'
if state editable; then
  ok 'already there'
else
  SMPCONV_MM_WITH_EXT=0 \
    run "$py" -m pip install --no-deps --no-build-isolation -e "$root"
  ok
fi

step 'compiled operations' 'see the lines above, or take --cuda off'
library=$root/smpconv_mm/_ext.so built_for=$root/build/built_for
wanted="cuda $cuda${TORCH_CUDA_ARCH_LIST:+ for $TORCH_CUDA_ARCH_LIST}"
sources=("$root/setup.py" "$root/cuda_ops/csrc")
if ! command -v "${CXX:-c++}" > /dev/null; then
  [ $cuda = off ] || die "--cuda on needs a C++ compiler: apt-get install g++"
  ok 'no C++ compiler: going on without them (large convolutions are slower)'
elif [ -e "$library" ] && [ "$wanted" = "$(cat "$built_for" 2> /dev/null)" ] &&
    [ -z "$(find "${sources[@]}" -newer "$library")" ]; then
  ok 'already there'
else
  rm -f "$library"
  [ $cuda = on ] || export CUDA_VISIBLE_DEVICES=
  if SMPCONV_MM_WITH_EXT=1 FORCE_CUDA=$([ $cuda = off ] || echo 1) \
      MAX_JOBS=${MAX_JOBS:-$(nproc)} \
      run bash -c 'cd "$1" && exec "$2" setup.py build_ext --inplace --force' \
      - "$root" "$py"
  then
    echo "$wanted" > "$built_for"
    ok
  else
    [ $cuda = off ] || exit 1
    grep -iE 'error:|cannot' "$log" | head -n 3 || true
    ok 'they did not compile: going on without them (large convolutions are slower)'
  fi
fi

if [ -e "$unchecked" ]; then
  step 'check: import everything' 'see the lines above. A missing libGL.so.1 or
  libgthread: apt-get install libgl1 libglib2.0-0. An undefined symbol: remove
  the wheel folder named above and call this script again.'
  modules=mmpretrain
  [ $level = core ] || modules='mmcv.ops, mmdet.apis, mmseg.apis, mmpretrain'
  run "$py" -c "import torch, torchvision, mmengine, mmcv, $modules, smpconv_mm"
  rm -f "$unchecked"
  ok
fi
echo "Ready: $py"
