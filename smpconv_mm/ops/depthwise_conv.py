"""Depthwise 2-D convolution with 'same' padding, for small and large kernels.

Two operators are known to torch, each the derivative of the other:

* ``smpconv_mm::depthwise_conv2d``, the convolution. The gradient of its input is
  the convolution of the output's gradient with the flipped kernel.
* ``smpconv_mm::depthwise_conv2d_weight``, the gradient of the kernel.

A backend of our own computes these two; everything else (derivatives of any
order, autocast, shapes for ``torch.compile``, operation counts) is written once.
"""

from math import prod
from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from .dispatch import choose, exporting, register_backend
from .extension import HAS_EXT, why_not


def depthwise_conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Optional[Tensor] = None,
    *,
    backend: str = 'auto',
) -> Tensor:
    """Convolve each channel with its own kernel; the map keeps its size.

    Stride and dilation are 1 and zeros surround the map (cross-correlation,
    as in all deep-learning libraries). :func:`.reference.depthwise_conv2d` is
    the definition. Where large kernels are convolved by Fourier transforms, an
    infinite or NaN input makes the whole map of its channel NaN.

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
    if torch.is_autocast_enabled(input.device.type):
        input, weight, bias = _autocast(input, weight, bias)
    chosen = choose('depthwise_conv2d', backend, input, weight, bias)
    return chosen.fn(input, weight, bias)


def _check(input: Tensor, weight: Tensor, bias: Optional[Tensor]) -> None:
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


def _autocast(input: Tensor, weight: Tensor, bias: Optional[Tensor]):
    if input.dtype == torch.float64 or weight.dtype == torch.float64:
        return input, weight, bias  # as torch's own convolutions
    dtype = torch.get_autocast_dtype(input.device.type)
    return input.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)


@torch.library.custom_op('smpconv_mm::depthwise_conv2d', mutates_args=())
def _conv_op(
    input: Tensor, weight: Tensor, bias: Optional[Tensor], backend: str
) -> Tensor:
    return _KERNELS[backend][0](input, weight, bias)


@torch.library.custom_op('smpconv_mm::depthwise_conv2d_weight', mutates_args=())
def _weight_op(input: Tensor, grad: Tensor, kh: int, kw: int, backend: str) -> Tensor:
    return _KERNELS[backend][1](input, grad, kh, kw)


@_conv_op.register_fake
def _(input, weight, bias, backend):
    return torch.empty_like(input, memory_format=_KERNELS[backend][2])


@_weight_op.register_fake
def _(input, grad, kh, kw, backend):
    return input.new_empty(input.shape[1], 1, kh, kw)


def _conv_backward(ctx, grad):
    input, weight = ctx.saved_tensors
    wanted = ctx.needs_input_grad
    return (
        _conv_op(grad, weight.flip(2, 3), None, ctx.backend) if wanted[0] else None,
        _weight_op(input, grad, *weight.shape[2:], ctx.backend) if wanted[1] else None,
        grad.sum((0, 2, 3)) if wanted[2] else None,
        None,
    )


def _conv_context(ctx, inputs, output):
    input, weight, _, ctx.backend = inputs
    ctx.save_for_backward(input, weight)


def _weight_backward(ctx, grad_weight):
    input, grad = ctx.saved_tensors
    wanted = ctx.needs_input_grad
    return (
        _conv_op(grad, grad_weight.flip(2, 3), None, ctx.backend)
        if wanted[0]
        else None,
        _conv_op(input, grad_weight, None, ctx.backend) if wanted[1] else None,
        None,
        None,
        None,
    )


def _weight_context(ctx, inputs, output):
    input, grad, _, _, ctx.backend = inputs
    ctx.save_for_backward(input, grad)


_conv_op.register_autograd(_conv_backward, setup_context=_conv_context)
_weight_op.register_autograd(_weight_backward, setup_context=_weight_context)


@register_flop_formula(torch.ops.smpconv_mm.depthwise_conv2d)
def _conv_flops(input_shape, weight_shape, *args, **kwargs) -> int:
    """Two operations a tap and place, taps on the padding included."""
    return 2 * prod(input_shape) * prod(weight_shape[2:])


@register_flop_formula(torch.ops.smpconv_mm.depthwise_conv2d_weight)
def _weight_flops(input_shape, grad_shape, kh, kw, *args, **kwargs) -> int:
    return 2 * prod(input_shape) * kh * kw


# name -> (convolution, gradient of the kernel, memory format of the output)
_KERNELS = {}


def _wants_operator(input: Tensor, weight: Tensor) -> bool:
    """Whether a gradient of ours is needed, and not only a plain convolution."""
    wanted = torch.is_grad_enabled() and (input.requires_grad or weight.requires_grad)
    return wanted and not exporting()


def _unsupported_cpp(input: Tensor, weight: Tensor, bias: Optional[Tensor]):
    if input.device.type != 'cpu':
        return f'it runs on the CPU, the input is on {input.device}'
    if input.dtype not in _CPP_DTYPES:
        return f'it has no {input.dtype}'
    return why_not('cpu')


def _slower_cpp(input: Tensor, weight: Tensor, bias: Optional[Tensor]):
    if exporting():
        return 'an exporter knows plain convolutions only'
    return None


_CPP_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
_LEAST_FOR_CPP = 9
_HAS_ONEDNN = torch.backends.mkldnn.is_available()


def _cpp_conv(input: Tensor, weight: Tensor, bias: Optional[Tensor]) -> Tensor:
    # oneDNN's convolution with few taps is up to five times faster, but its
    # gradient of the kernel is slower at any size
    if (
        max(weight.shape[2:]) < _LEAST_FOR_CPP
        and input.dtype == torch.float32
        and _HAS_ONEDNN
    ):
        return _onednn_conv(input, weight, bias)
    return torch.ops.smpconv_mm_ext.depthwise_conv2d(input, weight, bias)


if HAS_EXT:
    _KERNELS['cpp'] = (
        _cpp_conv,
        torch.ops.smpconv_mm_ext.depthwise_conv2d_weight.default,
        torch.channels_last,
    )


@register_backend(
    'depthwise_conv2d',
    'cpp',
    _unsupported_cpp,
    'the CPU, the compiled operations of cuda_ops/',
    _slower_cpp,
)
def _cpp(input: Tensor, weight: Tensor, bias: Optional[Tensor]) -> Tensor:
    return _conv_op(input, weight, bias, 'cpp')


_MOST_TAPS = 63  # kMostTaps of cuda_ops/csrc/cuda


def _unsupported_cuda(input: Tensor, weight: Tensor, bias: Optional[Tensor]):
    if input.device.type != 'cuda':
        return f'it runs on GPUs, the input is on {input.device}'
    if input.dtype == torch.float64:
        return 'it has no float64'
    if max(weight.shape[2:]) > _MOST_TAPS:
        sides = tuple(weight.shape[2:])
        return f'kernel sides may be at most {_MOST_TAPS}, got {sides}'
    return why_not('cuda')


def _slower_cuda(input: Tensor, weight: Tensor, bias: Optional[Tensor]):
    if exporting():
        return 'an exporter knows plain convolutions only'
    if max(weight.shape[2:]) < 7:
        return 'it is made for kernel sides from 7 on'
    return None


@register_backend(
    'depthwise_conv2d',
    'cuda',
    _unsupported_cuda,
    'a GPU, the compiled operations, no float64, kernel sides up to 63',
    _slower_cuda,
)
def _cuda(input: Tensor, weight: Tensor, bias: Optional[Tensor]) -> Tensor:
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        return _conv_op(input, weight, bias, 'cuda')
    return _cuda_conv(input, weight, bias)


def _cuda_conv(input: Tensor, weight: Tensor, bias: Optional[Tensor]) -> Tensor:
    bias = None if bias is None else bias.contiguous()
    return torch.ops.smpconv_mm_ext.depthwise_conv2d(
        input.contiguous(), weight.contiguous(), bias
    )


def _cuda_weight(input: Tensor, grad: Tensor, kh: int, kw: int) -> Tensor:
    return torch.ops.smpconv_mm_ext.depthwise_conv2d_weight(
        input.contiguous(), grad.contiguous(), kh, kw
    )


_KERNELS['cuda'] = (_cuda_conv, _cuda_weight, torch.contiguous_format)


def _unsupported_onednn(input: Tensor, weight: Tensor, bias: Optional[Tensor]):
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
def _onednn(input: Tensor, weight: Tensor, bias: Optional[Tensor]) -> Tensor:
    if _wants_operator(input, weight):
        return _conv_op(input, weight, bias, 'onednn')
    # no gradient of ours is needed: a plain convolution, which exporters know
    return _onednn_conv(input, weight, bias)


def _onednn_conv(input: Tensor, weight: Tensor, bias: Optional[Tensor]) -> Tensor:
    # oneDNN has a fast depthwise kernel for channels-last maps only: 80 times
    # faster than NCHW at 56x56 with a 31x31 kernel.
    input = input.contiguous(memory_format=torch.channels_last)
    out = _conv2d(input, weight, bias)
    return out.contiguous(memory_format=torch.channels_last)


def _onednn_weight(input: Tensor, grad: Tensor, kh: int, kw: int) -> Tensor:
    """Gradient of the kernel, as a depthwise convolution of its own.

    With every (image, channel) a channel, the map a channel's input and the
    output's gradient its kernel, the "output" is the kernel's gradient for one
    image; oneDNN's fast kernel computes it, 4 to 25 times faster than its own
    weight gradient.
    """
    n, channels, height, width = input.shape
    if n == 0:
        return input.new_zeros(channels, 1, kh, kw)
    # (H, W, N * C): channels-last with the images among the channels
    maps = input.permute(2, 3, 0, 1).reshape(height, width, -1).float()
    kernels = grad.permute(2, 3, 0, 1).reshape(height, width, -1).float()
    rows, columns = (min(k // 2, _MOST_PADDING) for k in (kh, kw))
    extra = (kh // 2 - rows, kw // 2 - columns)
    if any(extra):
        maps = F.pad(maps, (0, 0, extra[1], extra[1], extra[0], extra[0]))
    out = F.conv2d(
        maps.permute(2, 0, 1)[None],
        kernels.permute(2, 0, 1)[:, None],
        padding=(rows, columns),
        groups=n * channels,
    )
    return out.view(n, channels, kh, kw).sum(0)[:, None].to(input.dtype)


# With wider padding oneDNN leaves its fast kernel (30 times slower, measured);
# the rest of the padding is written out.
_MOST_PADDING = 6

_KERNELS['onednn'] = (_onednn_conv, _onednn_weight, torch.channels_last)


@register_backend('depthwise_conv2d', 'conv2d')
def _conv2d(input: Tensor, weight: Tensor, bias: Optional[Tensor]) -> Tensor:
    if _must_widen(input, weight):
        bias = None if bias is None else bias.float()
        return _conv2d(input.float(), weight.float(), bias).to(input.dtype)
    if _may_crash(input, weight):
        bias = None if bias is None else F.pad(bias, (0, 1))
        two = F.pad(input, (0, 0) * 2 + (0, 1)), F.pad(weight, (0, 0) * 3 + (0, 1))
        return _conv2d(*two, bias)[:, :1]
    padding = (weight.shape[2] // 2, weight.shape[3] // 2)
    return F.conv2d(input, weight, bias, padding=padding, groups=weight.shape[0])


def _must_widen(input: Tensor, weight: Tensor) -> bool:
    """Whether the CPU shall compute in float32.

    Sums of float16 lose digits. In bfloat16 oneDNN (3.10) never returns from some
    large kernels on channels-last maps, e.g. 9x31 on 5x40.
    """
    if input.device.type != 'cpu' or exporting():
        return False
    large = max(weight.shape[2:]) >= _LEAST_FOR_CPP
    return input.dtype == torch.float16 or (input.dtype == torch.bfloat16 and large)


def _may_crash(input: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN (3.10) may write where it must not, in the kernel's gradient.

    It does for a single channel, which is an ordinary convolution to it, and a
    kernel larger than the map, e.g. 31x9 on 16x7; a second channel helps.
    """
    single = len(weight) == 1 and input.device.type == 'cpu'
    if not single or not torch.is_grad_enabled() or exporting():
        return False  # without a look at the map, whose sides may be open
    return any(k > n for k, n in zip(weight.shape[2:], input.shape[2:]))
