"""CUDA kernels that CuPy compiles when they are first used: no build needed."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import torch

from .operator import OwnKernels

# as TYPE of cupy_kernels.cu
_TYPES = {torch.float32: 0, torch.float64: 1, torch.float16: 2, torch.bfloat16: 3}
_SOURCE = Path(__file__).with_name('cupy_kernels.cu')
_INSTALLED = find_spec('cupy') is not None  # torch.compile cannot trace the look-up
_THREADS = 128
_CHANNELS = 8  # of a thread, as in cupy_kernels.cu


class CuPy(OwnKernels):
    """Kernels of ``cupy_kernels.cu``, compiled once for each dtype and K."""

    name = 'cupy'
    needs = 'a GPU, CuPy (cupy-cuda11x, cupy-cuda12x or cupy-cuda13x)'

    def unsupported(self, input, weight, *options) -> str | None:
        """Return the reason, see :class:`.Backend`."""
        if input.device.type != 'cuda':
            return f'it runs on GPUs, the input is on {input.device}'
        if input.dtype not in _TYPES:
            return f'it has no {input.dtype}'
        if not _INSTALLED:
            major = (torch.version.cuda or '13').split('.')[0]
            return f'CuPy is not installed: pip install cupy-cuda{major}x'
        return super().unsupported(input, weight, *options)

    def output(self, input, weight, *options):
        """Compute the output, (N, C, P, Q)."""
        out = input.new_empty(*input.shape[:2], *weight.shape[-2:])
        groups, k = weight.shape[1:3]
        blocks = _channel_blocks(groups, out)
        _launch('output', blocks, input, weight, out, input, out, groups, k, options)
        return out

    def input_gradient(self, grad, weight, height, width, *options):
        """Compute the gradient of the input, (N, C, H, W)."""
        out = grad.new_empty(*grad.shape[:2], height, width)
        groups, k = weight.shape[1:3]
        blocks = _channel_blocks(groups, out)
        _launch('input', blocks, grad, weight, out, out, grad, groups, k, options)
        return out

    def weight_gradient(self, input, grad, groups, k, *options):
        """Compute the gradient of the weight, (N, G, K, K, P, Q)."""
        places = grad.shape[-2:]
        out = input.new_empty(len(input), groups, k, k, *places)
        blocks = len(input) * groups * k * -(-places.numel() // _THREADS)
        _launch('weight', blocks, input, grad, out, input, grad, groups, k, options)
        return out


def _channel_blocks(groups, out) -> int:
    n, channels, height, width = out.shape
    chunks = -(-channels // groups // _CHANNELS)
    return n * groups * chunks * -(-height * width // _THREADS)


@lru_cache
def _module(dtype: torch.dtype, k: int):
    import cupy

    options = ('-std=c++17', f'-DTYPE={_TYPES[dtype]}', f'-DKERNEL={k}')
    return cupy.RawModule(code=_SOURCE.read_text(), options=options)


def _stream(stream: torch.cuda.Stream):
    """Give torch's stream as CuPy's; from CuPy 14 on by the protocol that both know."""
    import cupy

    if hasattr(cupy.cuda.Stream, 'from_external'):
        return cupy.cuda.Stream.from_external(stream)
    return cupy.cuda.ExternalStream(stream.cuda_stream)


def _launch(name, blocks, first, second, out, input, output, groups, k, options):
    """Start a kernel on torch's current stream of the tensors' device."""
    import cupy

    if out.numel() == 0:
        return
    if first.numel() == 0 or second.numel() == 0:
        out.zero_()
        return
    first, second = first.contiguous(), second.contiguous()
    sizes = (input.shape[1], groups, *input.shape[-2:], *output.shape[-2:])
    numbers = [*sizes, *map(int, options)]
    device = first.device.index
    stream = _stream(torch.cuda.current_stream(device))
    with cupy.cuda.Device(device), stream:
        _module(first.dtype, k).get_function(f'involution_{name}')(
            (blocks,),
            (_THREADS,),
            (first.data_ptr(), second.data_ptr(), out.data_ptr(), *numbers),
        )
