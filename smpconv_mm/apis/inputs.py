"""Images of a config's test dataset, or noise where its data are not there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from copy import deepcopy

import mmcv
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from rich.progress import track
from torch import Tensor
from torch.nn import functional as F

from smpconv_mm.engine.config import check_data, preprocessor_of
from smpconv_mm.engine.runner import build_dataset, scope_of
from smpconv_mm.errors import UsageError


def image_pipeline(cfg: Config) -> Compose:
    """The pipeline of ``test_dataloader`` for an image that is already read.

    Raises:
        UsageError: If there is none.
    """
    steps = [
        deepcopy(step)
        for step in _steps(cfg)
        if not step['type'].rpartition('.')[2].startswith('Load')
    ]
    with scope_of(cfg):
        return Compose(steps)


def as_sample(image: np.ndarray) -> dict:
    """What loading an image (H, W, 3) gives to the transforms after it."""
    size = image.shape[:2]
    return dict(img=image, img_id=0, img_path='', img_shape=size, ori_shape=size)


def input_size(cfg: Config, ndim: int = 2) -> tuple[tuple[int, ...], str]:
    """The size of the inputs that a network is tested with.

    It is what the test pipeline makes of every image, else the size that the
    preprocessor or a step of the pipeline names, else that of the first sample of
    the test data.

    Args:
        cfg (Config): Config of a model.
        ndim (int): 2 for images, 1 for sequences. Defaults to 2.

    Returns:
        tuple[tuple[int, ...], str]: Height and width, or the length, and where it
        is from.

    Raises:
        UsageError: If the config does not say it, and the data are not there.
    """
    if ndim == 2 and 'test_dataloader' in cfg:
        pipeline = image_pipeline(cfg)
        made = {_size_after(pipeline, shape) for shape in ((301, 500), (640, 203))}
        if len(made) == 1 and None not in made:
            return made.pop(), 'the test pipeline'
        size = preprocessor_of(cfg).get('size')
        if size:
            return tuple(size), 'data_preprocessor.size'
        for step in reversed(_steps(cfg)):
            scale = step.get('scale')
            if isinstance(scale, (tuple, list)):
                return tuple(reversed(scale)), f'{step["type"]} of the test pipeline'
    try:
        sample = build_dataset(cfg, 'test')[0]
    except (UsageError, KeyError, FileNotFoundError) as error:
        raise UsageError(
            f'{cfg.filename} does not say the size of its inputs, and its test data '
            f'cannot be read ({error}); give --shape'
        ) from error
    return tuple(sample['inputs'].shape[1:]), 'the first sample of the test data'


def _steps(cfg: Config) -> list[dict]:
    dataset = (cfg.get('test_dataloader') or {}).get('dataset', {})
    while 'pipeline' not in dataset and 'dataset' in dataset:  # a wrapper
        dataset = dataset.dataset
    if 'pipeline' not in dataset:
        raise UsageError(
            f'{cfg.filename}: test_dataloader has no dataset with a pipeline, which '
            'says how an image is brought to the network'
        )
    return dataset.pipeline


def _size_after(pipeline: Compose, shape: tuple[int, int]) -> tuple[int, ...] | None:
    sample = pipeline(as_sample(np.zeros((*shape, 3), np.uint8)))
    inputs = sample['inputs']
    return tuple(inputs.shape[1:]) if isinstance(inputs, Tensor) else None


def dataset_images(cfg: Config, number: int) -> Iterator[np.ndarray]:
    """Images of the test dataset of a config as they lie on the disk.

    Args:
        cfg (Config): Config of a classifier, detector or segmenter.
        number (int): How many, spread evenly over the dataset.

    Yields:
        np.ndarray: (H, W, 3) uint8, channels in OpenCV's order.

    Raises:
        UsageError: If the data folder does not exist, or the samples are not
            images.
    """
    dataset = build_dataset(cfg, 'test')
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


def as_shown(x: Tensor, preprocessor: dict) -> np.ndarray:
    """Undo :func:`normalised`, for a picture.

    Args:
        x (Tensor): Normalised image (1, 1 or 3, H, W).
        preprocessor (dict): ``data_preprocessor`` of the config.

    Returns:
        np.ndarray: (H, W, 3), red, green and blue between 0 and 1.
    """
    x = x[0].cpu()
    mean = torch.tensor(preprocessor.get('mean') or [0.0]).view(-1, 1, 1)
    std = torch.tensor(preprocessor.get('std') or [1.0]).view(-1, 1, 1)
    image = ((x * std + mean) / 255).clamp(0, 1).expand(3, -1, -1)
    if not (preprocessor.get('to_rgb') or preprocessor.get('bgr_to_rgb')):
        image = image.flip(0)
    return image.permute(1, 2, 0).numpy()


def _read(cfg: Config, number: int) -> list[np.ndarray]:
    if 'test_dataloader' not in cfg:
        raise FileNotFoundError('the config has no test_dataloader')
    try:
        check_data(cfg, ('test',))
    except UsageError as error:
        raise FileNotFoundError(error) from error
    found = dataset_images(cfg, number)
    return list(track(found, 'read', total=number, transient=True))


def images_for(
    cfg: Config, number: int, size: int, device: str | torch.device = 'cpu'
) -> tuple[Iterable[Tensor], str]:
    """Inputs to measure a receptive field with.

    They are images of the test dataset, squashed to a square; without its data,
    noise of mean 0 and deviation 1, as normalised images have. The field of a
    trained network depends on what it looks at, so that noise is good for
    comparing untrained networks only.

    Args:
        cfg (Config): Its config.
        number (int): How many.
        size (int): Side in pixels.
        device (str | torch.device): Defaults to 'cpu'.

    Returns:
        tuple[Iterable[Tensor], str]: Inputs (1, C, size, size), and which they
        are, in words.

    Raises:
        UsageError: If the test dataset is not one of images.
    """
    channels = cfg.model.backbone.get('in_channels', 3)
    try:
        images = _read(cfg, number)
    except FileNotFoundError as error:
        generator = torch.Generator().manual_seed(0)
        noise = (
            torch.randn(1, channels, size, size, generator=generator).to(device)
            for _ in range(number)
        )
        return noise, f'{number} images of noise, since {error}'
    name = cfg.test_dataloader.dataset.type
    preprocessor = preprocessor_of(cfg)
    inputs = (normalised(i, size, preprocessor).to(device) for i in images)
    return inputs, f'{len(images)} images of {name}'


def image_for(cfg: Config, path: str | None, size: int) -> tuple[Tensor, str]:
    """One image for a network: a file, or the first of :func:`images_for`.

    Args:
        cfg (Config): Its config.
        path (str, optional): Image file.
        size (int): Side in pixels.

    Returns:
        tuple[Tensor, str]: The normalised image (1, C, size, size), and which it is,
        in words.

    Raises:
        UsageError: If the file is not an image.
    """
    if path is None:
        images, words = images_for(cfg, 1, size)
        return next(iter(images)), words
    from .inference import read_image

    return normalised(read_image(path), size, preprocessor_of(cfg)), f'image {path}'
