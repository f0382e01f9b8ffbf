"""Quantise a classifier to int8, for onnxruntime."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate

from smpconv_mm.checkpoint import atomic_path
from smpconv_mm.engine.config import load_config
from smpconv_mm.engine.runner import build_dataset, build_model
from smpconv_mm.errors import UsageError

from .export import export_file
from .inference import task_of


@dataclass
class Quantised:
    """What a file in int8 is worth.

    Attributes:
        images (int): Images of the test data that were classified.
        right (tuple[int, int]): How many of them are right in float32 and in int8.
        same (int): How many get the same class in both.
        size (tuple[int, int]): Bytes of both files.
    """

    images: int
    right: tuple[int, int]
    same: int
    size: tuple[int, int]


def quantise_file(
    config: str,
    checkpoint: str,
    dst: str | Path,
    calibration: int = 256,
    max_loss: float = 0.01,
    full_range: bool = False,
    options: dict | None = None,
) -> Quantised:
    """Write the deploy form of a classifier in int8, and compare it with float32.

    Weights have a scale per channel, activations one per tensor, from images of the
    training data. Both files then classify the test data.

    Args:
        config (str): Config of a classifier, with its data.
        checkpoint (str): Its checkpoint.
        dst (str | Path): ``.onnx`` file to write.
        calibration (int): Training images that ranges are measured with, spread
            evenly. Defaults to 256.
        max_loss (float): Largest share of the test images that may be lost.
            Defaults to 0.01.
        full_range (bool): Weights of eight bits. On processors without VNNI sums of
            products then overflow in onnxruntime, silently. Defaults to False: seven
            bits, for all processors.
        options (dict, optional): Changes to the config.

    Raises:
        UsageError: If the model is not a classifier, a package is missing, the data
            are not there, or more is lost; nothing is written then.
        CheckpointError: If the checkpoint cannot be read or does not fit.
    """
    dst = Path(dst)
    missing = [n for n in ('onnx', 'onnxscript', 'onnxruntime') if find_spec(n) is None]
    if missing:
        raise UsageError(
            f'int8 needs {", ".join(missing)}, not installed; run '
            'pip install "smpconv_mm[deploy]"'
        )
    if dst.suffix != '.onnx':
        raise UsageError(f'{dst}: the suffix must be .onnx')
    cfg = load_config(config, options)
    if task_of(cfg) != 'classification':
        raise UsageError(
            f'{config} is not a classifier, whose accuracy in int8 could be checked'
        )
    from onnxruntime.quantization import QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        full, prepared = Path(folder, 'full.onnx'), Path(folder, 'prepared.onnx')
        export_file(config, checkpoint, full, dynamic=True, options=options)
        quant_pre_process(str(full), str(prepared))
        with atomic_path(dst) as temporary:
            reader = _Reader(cfg, calibration)
            with _quiet():  # of norms, which have one axis
                quantize_static(
                    str(prepared),
                    str(temporary),
                    reader,
                    per_channel=True,
                    reduce_range=not full_range,
                    activation_type=QuantType.QUInt8,
                    weight_type=QuantType.QInt8,
                )
            right, same, images = _classify(cfg, full, temporary)
            lost = (right[0] - right[1]) / max(images, 1)
            if lost > max_loss:
                raise UsageError(
                    f'{dst} was not written: of {images} test images {right[0]} are '
                    f'right in float32 and {right[1]} in int8, which is {lost:.1%} '
                    'less; take more images to calibrate with, or allow it by '
                    '--max-loss'
                    + '; --full-range overflows on processors without VNNI'
                    * full_range
                )
            size = full.stat().st_size, temporary.stat().st_size
    return Quantised(images, right, same, size)


@contextmanager
def _quiet() -> Iterator[None]:
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


class _Reader:
    """Hands normalised training images to onnxruntime, one by one."""

    def __init__(self, cfg: Config, number: int) -> None:
        cfg = deepcopy(cfg)
        # as in a test, without augmentation
        test = cfg.test_dataloader.dataset
        cfg.train_dataloader.dataset.pipeline = test.pipeline
        self.samples = _samples(cfg, 'train', number)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next input, or None."""
        found = next(self.samples, None)
        return None if found is None else {'input': found[0]}


def _samples(
    cfg: Config, phase: str, number: int | None = None
) -> Iterator[tuple[np.ndarray, int]]:
    """Normalised inputs (1, C, ...) and labels, spread evenly over a dataset."""
    dataset = build_dataset(cfg, phase)
    preprocess = build_model(cfg).data_preprocessor
    number = min(number or len(dataset), len(dataset))
    for index in np.linspace(0, len(dataset) - 1, number).round().astype(int):
        batch = preprocess(pseudo_collate([dataset[int(index)]]), False)
        yield batch['inputs'].numpy(), int(batch['data_samples'][0].gt_label)


def _classify(cfg: Config, *files: Path) -> tuple[tuple[int, ...], int, int]:
    """How many test images each file gets right, all the same, and how many there are.

    The session of onnxruntime runs on the CPU.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    sessions = [
        onnxruntime.InferenceSession(
            str(file), options, providers=['CPUExecutionProvider']
        )
        for file in files
    ]
    right, same, images = [0] * len(files), 0, 0
    for x, label in _samples(cfg, 'test'):
        found = [int(s.run(None, {'input': x})[0].argmax()) for s in sessions]
        right = [count + (one == label) for count, one in zip(right, found)]
        same += len(set(found)) == 1
        images += 1
    return tuple(right), same, images
