"""Compile every CUDA kernel; print what the compiler made of it. Needs no GPU.

    python cuda_ops/check_kernels.py [--arch 75 80 90] [--shapes] [file.cu ...]

Fails where a kernel spills registers. Columns: registers of a thread, bytes of static
shared memory and of spills; of the innermost loop with the most matrix products (or
multiply-adds, in a kernel without), `instructions / products`; and the same for
asynchronous copies. These need cuobjdump and nvdisasm (of the toolkit or of triton).

--shapes adds, for the stages of SMPNet-T with a batch of 64 on an H100, the kernel of
each pass, its launch and how many of an SM's warps it fills. Needs a C++ compiler.
"""

from __future__ import annotations

import argparse
import functools
import os
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from itertools import product
from pathlib import Path

ROOT = Path(__file__).resolve().parent
CSRC = ROOT / 'csrc'
sys.path.insert(0, str(ROOT / 'emulator'))
import cuda_emulator  # noqa: E402

FUNCTION = re.compile(r"Compiling entry function '(\w+)' for 'sm_(\w+)'")
SPILLS = re.compile(r'(\d+) bytes spill stores, (\d+) bytes spill loads')
USED = re.compile(r'Used (\d+) registers')
SHARED = re.compile(r'(\d+) bytes smem')
CODE = re.compile(r'^\s+/\*([0-9a-f]{4,})\*/\s+(.*?)\s*;')
BRANCH = re.compile(r'\bBRA\b[^;]*?\b0x([0-9a-f]+)$')

# channels, side of the map, side of the kernel
STAGES = [(96, 56, 31), (192, 28, 29), (384, 14, 27), (768, 7, 13)]
# of an H100
PROCESSORS, WARPS, REGISTERS, SHARED_MEMORY = 132, 64, 65536, 228 << 10


def compile_kernels(source: Path, archs: list[str], target: Path) -> str:
    """What ptxas says about a source; raises RuntimeError if it is in error."""
    from torch.utils.cpp_extension import include_paths

    nvcc = shutil.which('nvcc') or '/usr/local/cuda/bin/nvcc'
    # host code is parsed, too, but no machine code made of it
    command = [nvcc, '-fatbin', str(source), '-o', str(target), '-std=c++17']
    command += ['-O3', '-DUSE_CUDA', '-DTORCH_TARGET_VERSION=0x020a000000000000']
    command += ['--expt-relaxed-constexpr', '-Xptxas', '-v', '--threads', '0']
    command += [f'-I{path}' for path in include_paths()]
    command += [f'-gencode=arch=compute_{a},code=sm_{a}' for a in archs]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f'{source} does not compile:\n{done.stderr}')
    return done.stdout + done.stderr


def demangle(names: list[str]) -> list[str]:
    """Names as in the source without arguments, where c++filt is there."""
    tool = shutil.which('c++filt')
    if tool is None:
        return names
    text = '\n'.join(names)
    done = subprocess.run([tool], input=text, capture_output=True, text=True)
    return [
        re.sub(r'^void |smpconv_mm::|\(.*', '', name)
        for name in done.stdout.split('\n')
    ]


def parse(text: str) -> list[dict]:
    """One row per kernel and architecture, from the output of ``ptxas -v``."""
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


@functools.lru_cache
def disassembler() -> dict | None:
    """Environment in which cuobjdump runs, or None."""
    folders = os.environ.get('PATH', '').split(os.pathsep) + ['/usr/local/cuda/bin']
    if find_spec('triton') is not None:
        triton = Path(find_spec('triton').origin).parent
        folders.append(str(triton / 'backends' / 'nvidia' / 'bin'))
    path = os.pathsep.join(folders)
    if shutil.which('cuobjdump', path=path) and shutil.which('nvdisasm', path=path):
        return dict(os.environ, PATH=path)
    return None


def disassemble(target: Path) -> dict:
    """(architecture, kernel) -> [(address, instruction), ...]."""
    command = ['cuobjdump', '-sass', str(target)]
    done = subprocess.run(command, capture_output=True, text=True, env=disassembler())
    found, arch, code = {}, None, []
    for line in done.stdout.splitlines():
        if match := re.match(r'arch = sm_(\w+)', line):
            arch = match[1]
        elif match := re.match(r'\s+Function : (\w+)', line):
            code = found[arch, match[1]] = []
        elif match := CODE.match(line):
            code.append((int(match[1], 16), match[2]))
    return found


def loops(code: list) -> list[list[str]]:
    """The instructions of each loop: from a branch backwards to its target.

    Parts that the compiler moved behind the end of a kernel also branch backwards;
    they are told by the EXIT in between.
    """
    found = []
    for address, text in code:
        match = BRANCH.search(text)
        if match and int(match[1], 16) < address:
            body = [t for a, t in code if int(match[1], 16) <= a <= address]
            if 'EXIT' not in body:
                found.append(body)
    return found


def densest(code: list, operation: str) -> str:
    """``instructions / operations`` of the innermost loop with the most of them."""

    def count(body):
        return sum(bool(re.search(rf'\b{operation}\b', text)) for text in body)

    bodies = [body for body in loops(code) if count(body)]
    inner = [
        body
        for body in bodies
        if not any(other is not body and contains(body, other) for other in bodies)
    ]
    if not inner:
        return '-'
    best = max(inner, key=lambda body: (count(body), -len(body)))
    return f'{len(best)} / {count(best)}'


def contains(body: list[str], other: list[str]) -> bool:
    """Whether a loop is part of another; instructions are told by identity."""
    if len(other) >= len(body):
        return False
    first, last = id(other[0]), id(other[-1])
    identities = {id(text) for text in body}
    return first in identities and last in identities


def check(sources: list[Path], archs: list[str]) -> list[dict]:
    """One row per kernel and architecture."""
    rows = []
    for source in sources:
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder, 'kernels.fatbin')
            found = parse(compile_kernels(source, archs, target))
            code = disassemble(target) if disassembler() else {}
        for row, name in zip(found, demangle([row['kernel'] for row in found])):
            row['name'] = name
            lines = code.get((row['arch'], row['kernel']), [])
            products = densest(lines, r'(HMMA|HGMMA)[.\w]*')
            if products == '-':
                products = densest(lines, 'FFMA')
            row.update(products=products, copies=densest(lines, r'LDGSTS[.\w]*'))
        rows += found
    return rows


def occupancy(registers: int, static: int, launch) -> int:
    """Blocks that an SM of an H100 holds at once."""
    warps = -(-launch.threads // 32)
    # registers go to warps by 256, a quarter of them to each scheduler
    by_registers = REGISTERS // 4 // (-(-registers * 32 // 256) * 256) * 4 // warps
    shared = -(-(launch.shared + static) // 128) * 128 + 1024
    return min(32, WARPS // warps, by_registers, SHARED_MEMORY // shared)


def shapes(rows: list[dict]) -> list[str]:
    """A line for each launch of the passes of the stages."""
    by_name = {row['kernel']: row for row in rows if row['arch'].startswith('90')}
    lines = ['blocks  threads  shared  an SM  warps  waves  pass, shape: kernel']
    driver = cuda_emulator.Driver('depthwise_conv')
    passes = (('emulated_conv', 4), ('emulated_weight', 3))
    for dtype, (channels, side, k), (function, tensors) in product(
        ('bfloat16', 'float32'), STAGES, passes
    ):
        device = cuda_emulator.machine(processors=PROCESSORS)
        shape = (64, channels, side, side, k, k)
        for name, launch in driver.planned(function, device, shape, dtype, tensors):
            row = by_name.get(name)
            if row is None:
                continue
            held = occupancy(row['registers'], row['shared'], launch)
            warps = held * launch.threads / 32 / WARPS
            waves = launch.blocks / max(1, held) / PROCESSORS
            lines.append(
                f'{launch.blocks:>6}  {launch.threads:>7}  {launch.shared:>6}  '
                f'{held:>5}  {warps:>5.0%}  {waves:>5.1f}  {function[9:]} {dtype} '
                f'{channels}x{side}x{side} K{k}: {row["name"]}'
            )
    return lines


def main(argv: list[str] | None = None) -> int:
    """Print the tables; returns the number of kernels that spill."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('files', nargs='*', type=Path, help='default: all of csrc/cuda')
    parser.add_argument('--arch', nargs='+', default=['75', '80', '90'])
    parser.add_argument('--shapes', action='store_true', help='needs --arch 90 or 90a')
    args = parser.parse_args(argv)
    rows = check(args.files or sorted(CSRC.glob('cuda/*.cu')), args.arch)
    print('  sm  registers  shared  spills      products        copies  kernel')
    for row in sorted(rows, key=lambda row: (row['name'], row['arch'])):
        numbers = [row[k] for k in 'arch registers shared spills'.split()]
        print('{:>4}  {:>9}  {:>6}  {:>6}'.format(*numbers), end='')
        print(f'  {row["products"]:>12}  {row["copies"]:>12}  {row["name"]}')
    if args.shapes:
        print('\n' + '\n'.join(shapes(rows)))
    spilling = sum(row['spills'] > 0 for row in rows)
    if spilling:
        print(f'{spilling} kernels spill registers', file=sys.stderr)
    return spilling


if __name__ == '__main__':
    sys.exit(min(main(), 1))
