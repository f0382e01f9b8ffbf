"""Images for a network, and the maps that it makes of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import mmcv
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from torch import Tensor, nn
from torch.nn import functional as F

from smpconv_mm.errors import UsageError


def test_images(cfg: Config, number: int) -> Iterator[np.ndarray]:
    """Images of the test dataset of a config as they lie on the disk.

    Args:
        cfg (Config): Config of a classifier, detector or segmenter.
        number (int): How many, spread evenly over the dataset.

    Yields:
        np.ndarray: (H, W, 3) uint8, channels in OpenCV's order.

    Raises:
        UsageError: If the samples are not images.
    """
    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    number = min(number, len(dataset))
    for index in np.linspace(0, len(dataset) - 1, number).round().astype(int):
        sample = dataset.get_data_info(int(index))
        image = sample.get('img')
        if image is None and 'img_path' in sample:
            image = mmcv.imread(sample['img_path'])
        if not isinstance(image, np.ndarray) or image.ndim != 3:
            raise UsageError(
                f'{type(dataset).__name__} of test_dataloader has no images (H, W, '
                f'3); pictures of receptive fields and activations are for images'
            )
        yield image


def normalised(image: np.ndarray, size: int, preprocessor: dict) -> Tensor:
    """Squash an image to a square and normalise it as a config says.

    Args:
        image (np.ndarray): (H, W, 3), channels in OpenCV's order.
        size (int): Side of the square, in pixels.
        preprocessor (dict): ``data_preprocessor`` of the config: ``mean``,
            ``std``, and ``to_rgb`` or ``bgr_to_rgb``.

    Returns:
        Tensor: (1, 3, size, size), float32.
    """
    if preprocessor.get('to_rgb') or preprocessor.get('bgr_to_rgb'):
        image = image[..., ::-1]
    x = torch.from_numpy(image.transpose(2, 0, 1).astype(np.float32))[None]
    x = F.interpolate(x, (size, size), mode='bicubic', antialias=True)
    mean = torch.tensor(preprocessor.get('mean') or [0.0] * 3).view(1, -1, 1, 1)
    std = torch.tensor(preprocessor.get('std') or [1.0] * 3).view(1, -1, 1, 1)
    return (x.clamp(0, 255) - mean) / std


@contextmanager
def recorded_maps(network: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Record the two-dimensional maps that the modules of a network return.

    Yields:
        dict[str, Tensor]: Filled by a forward pass: names of modules ('' is the
        network itself) and the maps (N, C, H, W) that they return, in the order
        in which they finish; of several maps the last. Maps of one pixel count
        for the network alone.
    """
    maps: dict[str, Tensor] = {}
    handles = []

    def record(name):
        def hook(module, args, output):
            last = output[-1] if isinstance(output, (tuple, list)) else output
            # what is made of nothing is a kernel
            is_map = bool(args) and isinstance(last, Tensor) and last.dim() == 4
            if is_map and (not name or last[0, 0].numel() > 1):
                maps.pop(name, None)
                maps[name] = last

        return hook

    for name, module in network.named_modules():
        handles.append(module.register_forward_hook(record(name)))
    try:
        yield maps
    finally:
        for handle in handles:
            handle.remove()


def choose_map(maps: dict[str, Tensor], layer: str | None) -> str:
    """Name of the layer whose map is asked for, by default that of the last map.

    Raises:
        UsageError: If there is no such map.
    """
    if not maps:
        raise UsageError(
            'the network returns no two-dimensional maps (N, C, H, W) of more than '
            'one pixel; a network of sequences has none, one of tokens may have them '
            "with out_type='featmap'"
        )
    if layer is None:
        return next(reversed(maps))
    if layer not in maps:
        stages = [name for name in maps if name.count('.') <= 1]
        raise UsageError(
            f'--layer {layer!r} returns no map; layers that do are {stages} and '
            'layers inside of them'
        )
    return layer
