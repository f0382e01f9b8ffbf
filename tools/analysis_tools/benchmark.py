"""Speed of a network at inference, compared with others in one run.

Times are medians in milliseconds of interleaved rounds, "ratio" how many times
slower than CONFIG, gmacs the multiply-adds of one input in 10^9.
"""

from __future__ import annotations

from smpconv_mm.apis.benchmark import finish, options, start
from smpconv_mm.apis.network_benchmark import FORMS, Contender, compare
from smpconv_mm.errors import plain_errors


def main(argv: list[str] | None = None) -> None:
    parser = options(__doc__, seconds=5.0, rounds=5, threads=None)
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
    parser.add_argument('--batch', type=int, nargs='+', default=[1, 8])
    parser.add_argument(
        '--shape', type=int, nargs='+', default=[224], help='as of get_flops.py'
    )
    args = start(parser, argv)
    forms = [form for form in FORMS if getattr(args, form.replace('-', '_'))]

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
            args.seconds / args.rounds,
            report,
        )
    finish(rows, args)


if __name__ == '__main__':
    main()
