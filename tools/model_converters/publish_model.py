"""Strip a checkpoint to its weights and name it after their hash.

With --hub, write a folder as the Hugging Face hub takes it, with a model card.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('src', help='checkpoint of a training')
    parser.add_argument('dst', help='name to write, e.g. smpnet-tiny_in1k.pth')
    form = parser.add_mutually_exclusive_group()
    form.add_argument(
        '--safetensors', action='store_true', help='write a .safetensors file'
    )
    form.add_argument(
        '--hub', metavar='CONFIG', help='write a folder, of the model of this config'
    )
    args = parser.parse_args(argv)

    from smpconv_mm.convert.files import publish_file
    from smpconv_mm.errors import plain_errors

    with plain_errors():
        if args.hub:
            from smpconv_mm.apis.hub import HubModel

            model = HubModel.from_files(args.hub, args.src)
            model.save_pretrained(args.dst)
            print(f'written to {args.dst}; to upload it: hf upload NAME {args.dst}')
            return
        dst = Path(args.dst)
        if args.safetensors:
            dst = dst.with_suffix('.safetensors')
        print(f'written to {publish_file(args.src, dst)}')


if __name__ == '__main__':
    main()
