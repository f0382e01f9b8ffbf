"""Depthwise 2-D convolution with 'same' padding, for small and large kernels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .dispatch import choose, register_backend


def depthwise_conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    backend: str = 'auto',
) -> Tensor:
    """Convolve each channel with its own kernel; the map keeps its size.

    Stride and dilation are 1 and zeros surround the map (cross-correlation,
    as in all deep-learning libraries). :func:`.reference.depthwise_conv2d` is
    the definition.

    Args:
        input (Tensor): Maps of shape (N, C, H, W), any strides, any floating
            dtype. H and W may be smaller than the kernel; N may be 0.
        weight (Tensor): Kernels of shape (C, 1, Kh, Kw), Kh and Kw odd, of
            the input's dtype (under autocast, both are cast to its dtype).
        bias (Tensor, optional): Shape (C,). Defaults to None.
        backend (str): ``'auto'`` or a name of
            ``dispatch.backends('depthwise_conv2d')``. Defaults to ``'auto'``.

    Returns:
        Tensor: Shape (N, C, H, W). On the CPU its memory format is
        ``torch.channels_last``.

    Raises:
        ValueError: If a shape is wrong.
        TypeError: If dtypes are not floating or differ.
        RuntimeError: If devices differ or a forced backend cannot run.
    """
    _check(input, weight, bias)
    chosen = choose('depthwise_conv2d', backend, input, weight, bias)
    return chosen.fn(input, weight, bias)


def _check(input: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    if input.dim() != 4:
        raise ValueError(
            'depthwise_conv2d: input must have 4 dimensions (N, C, H, W), '
            f'got shape {tuple(input.shape)}'
        )
    n, channels, height, width = input.shape
    if weight.dim() != 4 or weight.shape[:2] != (channels, 1):
        raise ValueError(
            f'depthwise_conv2d: weight must have shape ({channels}, 1, Kh, Kw) '
            f'for an input of {channels} channels, got {tuple(weight.shape)}'
        )
    if height == 0 or width == 0:
        raise ValueError(
            f'depthwise_conv2d: the map has no area, got H x W = {height} x {width}'
        )
    if any(k % 2 == 0 for k in weight.shape[2:]):
        raise ValueError(
            'depthwise_conv2d: kernel sides must be odd so that the map keeps '
            f'its size, got {tuple(weight.shape[2:])}'
        )
    if bias is not None and bias.shape != (channels,):
        raise ValueError(
            f'depthwise_conv2d: bias must have shape ({channels},), got '
            f'{tuple(bias.shape)}'
        )
    tensors = [input, weight] + ([] if bias is None else [bias])
    if not all(t.is_floating_point() for t in tensors):
        raise TypeError(
            'depthwise_conv2d: tensors must be floating point, got '
            f'{[str(t.dtype) for t in tensors]}'
        )
    # autocast brings mixed dtypes together by itself
    if len({t.dtype for t in tensors}) > 1 and not torch.is_autocast_enabled(
        input.device.type
    ):
        raise TypeError(
            'depthwise_conv2d: input, weight and bias must share a dtype, got '
            f'{[str(t.dtype) for t in tensors]}'
        )
    if len({t.device for t in tensors}) > 1:
        raise RuntimeError(
            'depthwise_conv2d: input, weight and bias must be on one device, '
            f'got {[str(t.device) for t in tensors]}'
        )


_HAS_ONEDNN = torch.backends.mkldnn.is_available()


def _unsupported_onednn(input: Tensor, weight: Tensor, bias: Tensor | None):
    if input.device.type != 'cpu':
        return f'it runs on the CPU, the input is on {input.device}'
    if not _HAS_ONEDNN:
        return 'this build of torch has no oneDNN'
    if input.dtype == torch.float64:
        return 'oneDNN has no float64 convolution'
    return None


@register_backend(
    'depthwise_conv2d', 'onednn', _unsupported_onednn, 'the CPU, oneDNN, no float64'
)
def _onednn(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    # oneDNN has a fast depthwise kernel for channels-last maps only: 80 times
    # faster than NCHW at 56x56 with a 31x31 kernel.
    input = input.contiguous(memory_format=torch.channels_last)
    if input.dtype == torch.float16 and not torch.is_autocast_enabled('cpu'):
        # few CPUs compute in float16, and its sums lose digits
        bias = None if bias is None else bias.float()
        return _onednn(input.float(), weight.float(), bias).half()
    return F.conv2d(input, weight, bias, padding=_same(weight), groups=weight.shape[0])


@register_backend('depthwise_conv2d', 'conv2d')
def _conv2d(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return F.conv2d(input, weight, bias, padding=_same(weight), groups=weight.shape[0])


def _same(weight: Tensor) -> tuple[int, int]:
    return weight.shape[2] // 2, weight.shape[3] // 2
