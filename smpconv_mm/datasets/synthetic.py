"""Tasks of long memory whose sequences are generated.

Bai, Kolter and Koltun, 2018 (arXiv 1803.01271), sections 5.1 and 5.3, as CKConv (ICLR
2022) uses them. Samples are those of one seed: the same in every run.
"""

from __future__ import annotations

import torch
from mmpretrain.datasets import BaseDataset

from smpconv_mm.registry import DATASETS


class Generated(BaseDataset):
    """What the sets below share.

    Args:
        split (str): ``'train'`` or ``'test'``, other samples each.
        num_samples (int, optional): Defaults to None: the published number.
        seed (int): Of all samples. Defaults to 0.
        **kwargs: Of mmpretrain's ``BaseDataset``.

    Raises:
        ValueError: If an argument is wrong.
    """

    SIZES: dict[str, int]

    def __init__(
        self,
        split: str = 'train',
        num_samples: int | None = None,
        seed: int = 0,
        **kwargs,
    ) -> None:
        if split not in self.SIZES:
            raise ValueError(f"split must be 'train' or 'test', got {split!r}")
        number = self.SIZES[split] if num_samples is None else num_samples
        if number < 1:
            raise ValueError(f'num_samples must be positive, got {num_samples}')
        self.split, self.num_samples, self.seed = split, number, seed
        super().__init__(ann_file='', **kwargs)

    def generator(self) -> torch.Generator:
        """Random numbers of the split."""
        splits = list(self.SIZES)
        return torch.Generator().manual_seed(
            self.seed * len(splits) + splits.index(self.split)
        )


@DATASETS.register_module()
class AddingProblem(Generated):
    """Add the two numbers of a sequence that are marked.

    Samples have ``img``, float32 of shape (2, length): uniform numbers in [0, 1), and
    a channel that is 1 at one place of each half, else 0; and ``gt_score``, the sum of
    both marked numbers, a list of one.

    Args:
        length (int): Steps, at least 2. Defaults to 1000.
        **kwargs: Of :class:`Generated`; 50,000 and 1,000 samples were published.
    """

    SIZES = dict(train=50_000, test=1_000)

    def __init__(self, length: int = 1000, **kwargs) -> None:
        if length < 2:
            raise ValueError(f'length must be at least 2, got {length}')
        self.length = length
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict]:
        """Generate all samples."""
        generator, half = self.generator(), self.length // 2
        samples = []
        for _ in range(self.num_samples):
            series = torch.zeros(2, self.length)
            series[0] = torch.rand(self.length, generator=generator)
            one = int(torch.randint(half, (), generator=generator))
            two = int(torch.randint(half, self.length, (), generator=generator))
            series[1, [one, two]] = 1
            total = float(series[0, one] + series[0, two])
            samples.append(dict(img=series, gt_score=[total]))
        return samples


@DATASETS.register_module()
class CopyMemory(Generated):
    """Repeat the first symbols of a sequence at its end.

    Samples have ``img``, float32 of shape (1, length + 2 * symbols): the symbols, 1 to
    8, then ``length - 1`` zeros, then nines, ``symbols + 1`` of them; and ``gt_label``,
    int64 of the same length: zeros, then the symbols.

    Args:
        length (int): Steps between. Defaults to 1000.
        symbols (int): How many to remember. Defaults to 10.
        **kwargs: Of :class:`Generated`; 10,000 and 1,000 samples were published.
    """

    SIZES = dict(train=10_000, test=1_000)
    METAINFO = dict(classes=tuple('0123456789'))

    def __init__(self, length: int = 1000, symbols: int = 10, **kwargs) -> None:
        if length < 1 or symbols < 1:
            raise ValueError(
                f'length and symbols must be positive, got {length} and {symbols}'
            )
        self.length, self.symbols = length, symbols
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict]:
        """Generate all samples."""
        number, symbols = self.num_samples, self.symbols
        values = torch.randint(1, 9, (number, symbols), generator=self.generator())
        steps = self.length + 2 * symbols
        series, labels = torch.zeros(2, number, steps, dtype=torch.int64)
        series[:, :symbols] = labels[:, -symbols:] = values
        series[:, self.length + symbols - 1 :] = 9
        return [
            dict(img=one.float()[None], gt_label=two)
            for one, two in zip(series, labels)
        ]
