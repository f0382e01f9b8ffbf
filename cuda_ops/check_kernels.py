"""Compile every CUDA kernel; print its registers, shared memory and spills.

Needs nvcc and torch's headers, no GPU. Fails where a kernel spills registers.

    python cuda_ops/check_kernels.py [--arch 75 80 90] [file.cu ...]
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

CSRC = Path(__file__).resolve().parent / 'csrc'
FUNCTION = re.compile(r"Compiling entry function '(\w+)' for 'sm_(\w+)'")
SPILLS = re.compile(r'(\d+) bytes spill stores, (\d+) bytes spill loads')
USED = re.compile(r'Used (\d+) registers')
SHARED = re.compile(r'(\d+) bytes smem')


def compile_kernels(source: Path, archs: list[str]) -> str:
    """What ptxas says about a source; raises RuntimeError if it is in error."""
    from torch.utils.cpp_extension import include_paths

    nvcc = shutil.which('nvcc') or '/usr/local/cuda/bin/nvcc'
    with tempfile.TemporaryDirectory() as folder:
        command = [nvcc, '-c', str(source), '-o', f'{folder}/kernels.o', '-std=c++17']
        command += ['-O3', '-DUSE_CUDA', '-DTORCH_TARGET_VERSION=0x020a000000000000']
        command += ['--expt-relaxed-constexpr', '-Xptxas', '-v', '--threads', '0']
        command += [f'-I{path}' for path in include_paths()]
        command += [f'-gencode=arch=compute_{a},code=sm_{a}' for a in archs]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f'{source} does not compile:\n{done.stderr}')
    return done.stdout + done.stderr


def demangle(names: list[str]) -> list[str]:
    """Names as in the source, where c++filt is there."""
    tool = shutil.which('c++filt')
    if tool is None:
        return names
    text = '\n'.join(names)
    done = subprocess.run([tool], input=text, capture_output=True, text=True)
    return done.stdout.split('\n')


def parse(text: str) -> list[dict]:
    """One row a kernel and architecture, from the output of ``ptxas -v``."""
    rows = []
    for line in text.splitlines():
        if found := FUNCTION.search(line):
            rows.append(dict(kernel=found[1], arch=found[2], shared=0))
        if found := SPILLS.search(line):
            rows[-1]['spills'] = int(found[1]) + int(found[2])
        if found := USED.search(line):
            rows[-1]['registers'] = int(found[1])
        if found := SHARED.search(line):
            rows[-1]['shared'] = int(found[1])
    return rows


def main() -> int:
    """Print a table; returns the number of kernels that spill."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('files', nargs='*', type=Path, help='default: all of csrc/cuda')
    parser.add_argument('--arch', nargs='+', default=['75', '80', '90'])
    args = parser.parse_args()
    spilling = 0
    print('  sm  registers  shared  spills  kernel (static shared memory, in bytes)')
    for source in args.files or sorted(CSRC.glob('cuda/*.cu')):
        rows = parse(compile_kernels(source, args.arch))
        for row, name in zip(rows, demangle([row['kernel'] for row in rows])):
            numbers = (row['arch'], row['registers'], row['shared'], row['spills'])
            print('{:>4}  {:>9}  {:>6}  {:>6}'.format(*numbers), f' {name}')
            spilling += row['spills'] > 0
    if spilling:
        print(f'{spilling} kernels spill registers', file=sys.stderr)
    return spilling


if __name__ == '__main__':
    sys.exit(min(main(), 1))
