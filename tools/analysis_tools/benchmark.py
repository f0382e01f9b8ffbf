"""Speed of a network at inference, compared with others in one run.

Times are medians in milliseconds of interleaved rounds, "ratio" how many times
slower than CONFIG, gmacs the multiply-adds of one input in 10^9.
"""

import argparse

import torch

from smpconv_mm.apis.benchmark import environment, table, write
from smpconv_mm.apis.network_benchmark import FORMS, Contender, compare
from smpconv_mm.errors import plain_errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'config',
        help="config file, or one of a package: 'mmpretrain::convnext/NAME.py'",
    )
    for form in FORMS:
        parser.add_argument(f'--{form}', action='store_true', help=f'CONFIG: {form}')
    parser.add_argument(
        '--vs',
        nargs='+',
        default=[],
        metavar='CONFIG[+FORM...]',
        help=f'others, in training form unless marked: {", ".join(FORMS)}',
    )
    parser.add_argument(
        '--device', default='cuda' if torch.cuda.is_available() else 'cpu'
    )
    parser.add_argument('--batch', type=int, nargs='+', default=[1, 8])
    parser.add_argument(
        '--shape', type=int, nargs='+', default=[224], help='as of get_flops.py'
    )
    parser.add_argument('--threads', type=int, help='of the CPU')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--json', help='write the results here')
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.backends.cudnn.benchmark = True
    forms = [form for form in FORMS if getattr(args, form.replace('-', '_'))]
    print(environment(args.device))

    def report(row: dict) -> None:
        shares = ', '.join(f'{k} {v:.0%}' for k, v in list(row['share'].items())[:6])
        print(
            f'{row["contender"]}, batch {row["batch"]}: {row["ms"]:.1f} ms ({shares})',
            flush=True,
        )

    with plain_errors():
        rows = compare(
            [Contender(args.config, frozenset(forms)), *map(Contender.parse, args.vs)],
            args.batch,
            args.shape,
            args.device,
            args.rounds,
            report=report,
        )
    numbers = [{k: v for k, v in row.items() if k != 'share'} for row in rows]
    print('\n' + table(numbers))
    write(args.json, args.device, rows)


if __name__ == '__main__':
    main()
