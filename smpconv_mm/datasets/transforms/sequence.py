"""From images to sequences (SMPConv, CVPR 2023, section 4)."""

from __future__ import annotations

import numpy as np
import torch
from mmcv.transforms import BaseTransform

from smpconv_mm.registry import TRANSFORMS


def pixel_permutation(length: int, seed: int) -> np.ndarray:
    """The order of the pixels in a permuted task; int64, shape (length,).

    NumPy's legacy generator, whose stream is frozen: the same seed gives the
    same order with every version.
    """
    return np.random.RandomState(seed).permutation(length)


def _channels_first(image: np.ndarray | torch.Tensor) -> torch.Tensor:
    """(H, W), (H, W, C) arrays and (C, H, W) tensors to (C, H, W) float32."""
    if isinstance(image, np.ndarray):
        image = torch.from_numpy(np.ascontiguousarray(image))
        image = image[None] if image.ndim == 2 else image.permute(2, 0, 1)
    return image.float()


@TRANSFORMS.register_module()
class ImageToSequence(BaseTransform):
    """Read an image row by row, and permuted where the dataset says so.

    Takes ``img``, a (H, W) or (H, W, C) array or a (C, H, W) tensor, and gives
    ``img`` as a float32 tensor (C, H*W). With the key ``permutation`` (int64,
    shape (H*W,)), which a dataset with ``permutation_seed`` adds, place *i* of
    the sequence is pixel ``permutation[i]``.
    """

    def transform(self, results: dict) -> dict:
        """Replace the image by its sequence."""
        sequence = _channels_first(results['img']).flatten(1)
        if 'permutation' in results:
            sequence = sequence[:, torch.from_numpy(results['permutation'])]
        results['img'] = sequence.contiguous()
        return results


@TRANSFORMS.register_module()
class RowsToSequence(BaseTransform):
    """Read an image a row at a time, then noise up to a fixed length.

    The noise-padded task: a step holds one row of all channels, ordered by
    channel; after the H rows come ``length - H`` steps of standard normal
    noise, which is the same for all samples. Takes ``img`` as
    :class:`ImageToSequence` does and gives a float32 tensor (C*W, length).

    Args:
        length (int): Steps of the sequence. Defaults to 1000.
        noise_seed (int): Seed of the noise. Defaults to 0.

    Raises:
        ValueError: If an image has more rows than ``length``.
    """

    def __init__(self, length: int = 1000, noise_seed: int = 0) -> None:
        self.length = length
        self.noise_seed = noise_seed
        self._noise = torch.empty(0, 0)

    def transform(self, results: dict) -> dict:
        """Replace the image by its sequence."""
        image = _channels_first(results['img'])
        rows = image.transpose(1, 2).flatten(0, 1)
        shape = (rows.shape[0], self.length - rows.shape[1])
        if shape[1] < 0:
            raise ValueError(
                f'an image of {rows.shape[1]} rows does not fit into a sequence of '
                f'length {self.length}'
            )
        if self._noise.shape != shape:
            noise = np.random.RandomState(self.noise_seed).standard_normal(shape[::-1])
            self._noise = torch.from_numpy(noise.astype(np.float32)).T.contiguous()
        results['img'] = torch.cat([rows, self._noise], dim=1)
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(length={self.length}, noise_seed={self.noise_seed})'
        )
