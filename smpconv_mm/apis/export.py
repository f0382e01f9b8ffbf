"""Export a checkpoint for other programs: ONNX, or torch's ``.pt2``."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from smpconv_mm.checkpoint import atomic_path
from smpconv_mm.engine.config import load_config
from smpconv_mm.errors import UsageError

from .inputs import input_size
from .models import Network, plain_convolutions

# allowed difference, relative to the largest output
TOLERANCE = {torch.float32: 1e-4, torch.float16: 2e-2}

_AXES = {1: ('length',), 2: ('height', 'width')}
_ONNX = ('onnx', 'onnxscript', 'onnxruntime')


@dataclass
class Exported:
    """What was written, and how far it is from the network.

    Attributes:
        inputs (dict[tuple[int, ...], float]): Shapes of the inputs on which the
            file was run, and the largest difference of the outputs from the
            network's, relative to the largest output.
        absolute (float): Largest absolute difference over all of them.
        outputs (list[str]): Names of the outputs.
        preprocessing (str): What the caller has to do with an image first.
        shape (tuple[int, ...]): Size of the input that was traced.
        source (str): Where this size is from.
        dynamic (bool): Whether the file takes other batches and sizes.
    """

    inputs: dict[tuple[int, ...], float]
    absolute: float
    outputs: list[str]
    preprocessing: str
    shape: tuple[int, ...]
    source: str
    dynamic: bool


def export_file(
    config: str,
    checkpoint: str,
    dst: str | Path,
    shape: Sequence[int] | None = None,
    dynamic: bool | None = None,
    fp16: bool = False,
    options: dict | None = None,
) -> Exported:
    """Write the deploy form of a network for other programs, and run the file.

    The network is a classifier, or the backbone of any other model (see
    :class:`.models.Network`); its depthwise and causal convolutions become
    ordinary ones. Nothing is left at ``dst`` when a check fails.

    Args:
        config (str): Config of the model.
        checkpoint (str): Its checkpoint, in training or deploy form.
        dst (str | Path): File to write: ``.onnx``, run by onnxruntime to check it,
            or ``.pt2`` of ``torch.export``.
        shape (Sequence[int], optional): Height and width of the input (one
            number: a square), or samples of the sequence. Defaults to None: what
            :func:`.inputs.input_size` says.
        dynamic (bool, optional): Any batch, and any size larger than the stride of
            the network; checked at a second batch and size. Otherwise batch 1 of
            ``shape``. Defaults to None: for sequences.
        fp16 (bool): Weights and computation in float16; inputs and outputs stay
            float32. Defaults to False.
        options (dict, optional): Changes to the config.

    Raises:
        UsageError: If the suffix is unknown, a package is missing, the shape or the
            network cannot be exported, or the outputs of the file differ by more
            than :data:`TOLERANCE`.
        CheckpointError: If the checkpoint cannot be read or does not fit.
    """
    dst = Path(dst)
    if dst.suffix not in _FORMATS:
        raise UsageError(
            f'{dst}: the suffix must be {" or ".join(_FORMATS)}, got {dst.suffix!r}'
        )
    write, run, needed = _FORMATS[dst.suffix]
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        raise UsageError(
            f'writing {dst.suffix} needs {", ".join(missing)}, not installed; run '
            'pip install "smpconv_mm[deploy]"'
        )
    if dst.suffix == '.onnx' and torch.__version__ < '2.8':
        raise UsageError(
            f'writing .onnx needs torch 2.8 or newer, this is {torch.__version__}; '
            'write .pt2, or export with a newer torch: checkpoints stay the same'
        )
    cfg = load_config(config, options)
    network = Network(cfg)
    network.load(checkpoint)
    network.deploy().requires_grad_(False)
    if dynamic is None:
        dynamic = network.ndim == 1
    source = '--shape'
    if shape is None:
        shape, source = input_size(cfg, network.ndim)
    shape = _parse_shape(shape, network, dynamic)
    samples = [torch.randn(1, network.in_channels, *shape)]
    if dynamic:
        odd = [side + 3 + 2 * i for i, side in enumerate(shape)]
        samples.append(torch.randn(3, network.in_channels, *odd))
    axes = _axes(network, dynamic)
    with torch.no_grad():
        expected = [_as_tuple(network(sample)) for sample in samples]
        outputs = ['scores']
        if not network.classifier:
            outputs = [f'map{i}' for i in range(len(expected[0]))]
        with atomic_path(dst) as temporary:
            program = _trace(network, shape, axes, fp16)
            write(program, temporary, outputs, axes)
            actual = run(temporary, samples)
            inputs, absolute = _compare(dst, samples, actual, expected, fp16)
    return Exported(
        inputs, absolute, outputs, network.preprocessing, shape, source, dynamic
    )


def _parse_shape(
    shape: Sequence[int], network: Network, dynamic: bool
) -> tuple[int, ...]:
    ndim = network.ndim
    shape = tuple(shape) * ndim if len(shape) == 1 else tuple(shape)
    if len(shape) != ndim:
        what = 'a length' if ndim == 1 else 'height and width'
        raise UsageError(f'--shape: the network takes {what}, got {list(shape)}')
    stride = network.stride()
    least = _least(network) if dynamic else stride
    if min(shape) < least:
        raise UsageError(
            f'--shape {" ".join(map(str, shape))}: the stride of the network is '
            f'{stride}; take sides of at least {least}'
        )
    return shape


def _least(network: Network) -> int:
    """Smallest side of an input of a graph for any size."""
    # torch.export treats a map of one pixel as a special case
    return network.stride() + 1


class _Half(nn.Module):
    """Computes in float16 between inputs and outputs of float32."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.half()

    def forward(self, input: Tensor) -> tuple[Tensor, ...]:
        return tuple(x.float() for x in _as_tuple(self.network(input.half())))


def _as_tuple(out: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return out if isinstance(out, tuple) else (out,)


def _axes(network: Network, dynamic: bool) -> dict | None:
    """The axes of the input that may have any size."""
    if not dynamic:
        return None
    dims = {0: torch.export.Dim('batch', min=1)}
    for axis, name in enumerate(_AXES[network.ndim], 2):
        dims[axis] = torch.export.Dim(name, min=_least(network))
    return dims


def _trace(network: Network, shape: tuple[int, ...], axes: dict | None, fp16: bool):
    # torch.export would fix a batch of 1
    sample = torch.zeros(2 if axes else 1, network.in_channels, *shape)
    with plain_convolutions():
        try:
            return torch.export.export(
                _Half(network) if fp16 else network,
                (sample,),
                dynamic_shapes=axes and (axes,),
            )
        except RuntimeError as error:  # the first line of pages of text
            reason = str(error).strip().splitlines()[0]
            hint = '; without --dynamic it may' if axes else ''
            raise UsageError(
                f'torch.export cannot trace this network{hint}: {reason}'
            ) from error


def _write_onnx(program, path: Path, outputs: list[str], axes) -> None:
    with warnings.catch_warnings():
        # torch uses functions that it has deprecated
        warnings.simplefilter('ignore', (FutureWarning, DeprecationWarning))
        torch.onnx.export(
            program,
            (),
            path,
            dynamo=True,
            external_data=False,
            input_names=['input'],
            output_names=outputs,
            dynamic_shapes=axes and (axes,),  # names the axes
            verbose=False,
        )


def _run_onnx(path: Path, samples: list[Tensor]) -> list[list[Tensor]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(
        str(path), options, providers=['CPUExecutionProvider']
    )
    return [
        [torch.from_numpy(out) for out in session.run(None, {'input': x.numpy()})]
        for x in samples
    ]


def _write_pt2(program, path: Path, outputs: list[str], axes) -> None:
    torch.export.save(program, path)


def _run_pt2(path: Path, samples: list[Tensor]) -> list[tuple[Tensor, ...]]:
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'The given buffer is not writable')
        module = torch.export.load(path).module()
    return [_as_tuple(module(x)) for x in samples]


_FORMATS: dict[str, tuple[Callable, Callable, tuple[str, ...]]] = {
    '.onnx': (_write_onnx, _run_onnx, _ONNX),
    '.pt2': (_write_pt2, _run_pt2, ()),
}


def _compare(
    dst, samples, actual, expected, fp16
) -> tuple[dict[tuple[int, ...], float], float]:
    inputs, absolute = {}, 0.0
    tolerance = TOLERANCE[torch.float16 if fp16 else torch.float32]
    for sample, outs, wanted in zip(samples, actual, expected):
        relative = 0.0
        for out, right in zip(outs, wanted):
            error = float((out - right).abs().max())
            absolute = max(absolute, error)
            scaled = error / float(right.abs().max().clamp(min=1e-30))
            if not scaled <= tolerance:
                raise UsageError(
                    f'{dst} was not written: its output would differ by {scaled:.1e} '
                    f'(relative) from the network, more than {tolerance:.0e}, at an '
                    f'input of {tuple(sample.shape)}'
                    + '; float16 is too coarse for these weights, leave --fp16 out'
                    * fp16
                )
            relative = max(relative, scaled)
        inputs[tuple(sample.shape)] = relative
    return inputs, absolute
