"""Make the table by which `auto` chooses ours or torch's convolution on a GPU.

    python tools/benchmarks/bench_gpu.py crossovers --json rows.jsonl      # on a GPU
    python tools/benchmarks/make_cudnn_table.py rows.jsonl

The second command writes smpconv_mm/ops/depthwise_conv/cuda_table.py and prints where
torch's is faster. Later rows of a size replace earlier ones.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

TARGET = Path('smpconv_mm', 'ops', 'depthwise_conv', 'cuda_table.py')
PASSES = ('forward', 'dx', 'dw')
# ours has to lose by more than two measurements of the same differ
MARGIN = 1.03

HEAD = '''"""Whether ours or torch's depthwise convolution is faster on a GPU.

Written by tools/benchmarks/make_cudnn_table.py{source}.
For each dtype: sides of the kernel and of the map, images -> a letter each for
contiguous maps without and with gradients, channels-last maps without and with:
"o" ours, "t" torch's.
"""

TABLE: dict[str, dict[tuple[int, int, int], str]] = '''


def read(paths: list[str]) -> tuple[dict, dict]:
    """Rows by (dtype, kernel, side, batch) and pass; the environment."""
    sizes, environment = {}, {}
    for path in paths:
        for line in Path(path).read_text().splitlines():
            row = json.loads(line)
            if row['part'] == 'environment':
                environment = row
            elif row['part'] == 'crossovers':
                size = (row['dtype'], row['kernel'], row['side'], row['batch'])
                sizes.setdefault(size, {})[row['which']] = row
    return sizes, environment


def verdict(passes: dict) -> str:
    """The letters of a size; `passes` holds the rows of all three."""
    letters = ''
    for ours, torchs in (('ours', 'nchw'), ('ours_channels_last', 'channels_last')):
        for names in (PASSES[:1], PASSES):
            mine = sum(passes[name][ours] for name in names)
            other = sum(passes[name][torchs] for name in names)
            letters += 't' if mine > MARGIN * other else 'o'
    return letters


def make(paths: list[str]) -> str:
    """The module's text."""
    sizes, environment = read(paths)
    whole = {size: rows for size, rows in sizes.items() if len(rows) == len(PASSES)}
    source = ''
    if environment:
        versions = [f'{k} {environment[k]}' for k in ('torch', 'cudnn', 'driver')]
        source = f',\nmeasured on {environment["device"]}, {", ".join(versions)}'
    if not whole:
        return HEAD.format(source=source) + '{}\n'
    lines = [HEAD.format(source=source), '{\n']
    for dtype in sorted({size[0] for size in whole}):
        lines.append(f"    '{dtype}': {{\n")
        for size in sorted(size for size in whole if size[0] == dtype):
            lines.append(f"        {size[1:]}: '{verdict(whole[size])}',\n")
        lines.append('    },\n')
    return ''.join(lines) + '}\n'


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('rows', nargs='+', help='JSON rows of bench_gpu.py')
    parser.add_argument('--out', type=Path, default=Path(__file__).parents[2] / TARGET)
    args = parser.parse_args(argv)
    text = make(args.rows)
    args.out.write_text(text)
    lost = [
        line.strip() for line in text.splitlines() if "'," in line and 't' in line[-6:]
    ]
    print(f'{args.out}: torch is faster somewhere in {len(lost)} sizes')
    print('\n'.join(lost))


if __name__ == '__main__':
    main()
