#!/usr/bin/env bash
# Runs the tests of tiny shapes under compute-sanitizer, once for each of its tools, in
# a minute or two each; stops at the first error:
#   bash cuda_ops/sanitize.sh [pytest arguments]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

command -v compute-sanitizer > /dev/null || {
  echo 'sanitize.sh: compute-sanitizer is not in PATH; it comes with the CUDA toolkit' >&2
  exit 2
}
# torch's allocator would hide accesses behind the end of a tensor
export PYTORCH_NO_CUDA_MEMORY_CACHING=1
# only our kernels; the name of the option differs between versions
only=$(compute-sanitizer --help | grep -oE -- '--kernel-(name|regex) ' | head -1)
for tool in memcheck racecheck synccheck initcheck; do
  echo "== $tool"
  compute-sanitizer --tool "$tool" --error-exitcode 1 ${only:+$only kns=smpconv_mm} \
    "${PYTHON:-python}" -m pytest -q -x -p no:cacheprovider \
    tests/test_cuda_ops/test_gpu_tiny.py "$@"
done
