"""The operation, and three operators that are known to torch.

The sum is linear in its input and in its weight, so each operator's derivatives are
the other two:

* ``smpconv_mm::involution``, the output,
* ``smpconv_mm::involution_input``, the gradient of the input,
* ``smpconv_mm::involution_weight``, the gradient of the weight.
"""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from ..checks import autocast, check_tensors
from ..dispatch import OperatorBackend, choose, find
from ..extension import why_not

ORDERS = ('contiguous', 'interleaved')
BORDERS = ('zeros', 'clamp')


def involution(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: int = 1,
    padding: int | None = None,
    dilation: int = 1,
    order: str = 'contiguous',
    border: str = 'zeros',
    backend: str = 'auto',
) -> Tensor:
    """Convolve each place with a kernel of its own, shared by a group of channels.

    ``out[n, c, i, j] = bias[c] + sum_uv weight[n, g, u, v, i, j] * input[n, c,
    i * stride - padding + u * dilation, j * stride - padding + v * dilation]``, where
    channel ``c`` belongs to group ``g``. Source: Involution (CVPR 2021), section 3.
    C-volution, LSNet and OverLoCK use the same sum. :func:`.reference.involution` is
    the definition. A backend that uses tensor cores may spread a value that is not
    finite over 16 neighbouring columns.

    Args:
        input (Tensor): Maps of shape (N, C, H, W), any strides, any floating dtype;
            N may be 0.
        weight (Tensor): Kernels of shape (N, G, K, K, P, Q), of the input's dtype
            (under autocast, both are cast to its dtype). G divides C. P is
            ``(H + 2 * padding - dilation * (K - 1) - 1) // stride + 1``, Q likewise.
        bias (Tensor, optional): Shape (C,). Defaults to None.
        stride (int): Step between outputs. Defaults to 1.
        padding (int, optional): Places around the map where windows may begin.
            Defaults to ``dilation * (K - 1) // 2``, which keeps the size of the map
            for stride 1; then ``dilation * (K - 1)`` must be even.
        dilation (int): Step between the places of a window. Defaults to 1.
        order (str): Group of a channel: ``'contiguous'``, ``c // (C / G)``, or
            ``'interleaved'``, ``c mod G``. Defaults to ``'contiguous'``.
        border (str): ``'zeros'`` around the map, or ``'clamp'``: a window that leaves
            the map is moved inside by multiples of the dilation, as in neighbourhood
            attention; then ``dilation * K`` may not exceed H and W. Defaults to
            ``'zeros'``.
        backend (str): ``'auto'`` or a name of ``dispatch.backends('involution')``.
            Defaults to ``'auto'``.

    Returns:
        Tensor: Shape (N, C, P, Q).

    Raises:
        ValueError: If a shape or an option is wrong.
        TypeError: If dtypes are not floating or differ.
        RuntimeError: If devices differ or a forced backend cannot run.
    """
    padding = _check(input, weight, bias, stride, padding, dilation, order, border)
    input, weight, bias = autocast(input, weight, bias)
    options = (stride, padding, dilation, order == 'interleaved', border == 'clamp')
    chosen = choose('involution', backend, input, weight, *options)
    out = chosen.run(input, weight, *options)
    return out if bias is None else out + bias[:, None, None]


def out_size(size: int, k: int, stride: int, padding: int, dilation: int) -> int:
    """Return the number of outputs along an axis of ``size`` places."""
    return (size + 2 * padding - dilation * (k - 1) - 1) // stride + 1


def _check(input, weight, bias, stride, padding, dilation, order, border) -> int:
    """Raise for a wrong argument; returns the padding."""
    if input.dim() != 4 or weight.dim() != 6:
        raise ValueError(
            'involution: input must have shape (N, C, H, W) and weight '
            f'(N, G, K, K, P, Q), got {tuple(input.shape)} and {tuple(weight.shape)}'
        )
    n, channels, height, width = input.shape
    groups, k = map(int, weight.shape[1:3])  # a tracer's sizes are tensors
    if order not in ORDERS or border not in BORDERS:
        raise ValueError(
            f'involution: order must be one of {ORDERS} and border one of {BORDERS}, '
            f'got {order!r} and {border!r}'
        )
    if stride < 1 or dilation < 1 or (padding is not None and padding < 0):
        raise ValueError(
            'involution: stride and dilation must be at least 1 and padding at least '
            f'0, got {stride}, {dilation} and {padding}'
        )
    if groups == 0 or k == 0 or channels % groups:
        raise ValueError(
            f'involution: the G groups of the weight (N, G, K, K, P, Q) must divide '
            f'the {channels} channels of the input, got weight {tuple(weight.shape)}'
        )
    if padding is None:
        padding = dilation * (k - 1) // 2
        if stride == 1 and dilation * (k - 1) % 2:
            raise ValueError(
                f'involution: no padding keeps the size of a map under a kernel of '
                f'side {k} with dilation {dilation}: give a padding'
            )
    places = [out_size(size, k, stride, padding, dilation) for size in (height, width)]
    if min(places) < 1:
        raise ValueError(
            f'involution: a kernel of side {k} with dilation {dilation} and padding '
            f'{padding} does not fit a map of {height} x {width}'
        )
    wanted = (n, groups, k, k, *places)
    if tuple(weight.shape) != wanted:
        raise ValueError(
            f'involution: weight must have shape (N, G, K, K, P, Q) = {wanted} for an '
            f'input of {tuple(input.shape)} with stride {stride}, padding {padding} '
            f'and dilation {dilation}, got {tuple(weight.shape)}'
        )
    if border == 'clamp' and dilation * k > min(height, width):
        raise ValueError(
            f"involution: border='clamp' needs a map of at least dilation * K = "
            f'{dilation * k} places a side, got {height} x {width}'
        )
    if bias is not None and bias.shape != (channels,):
        raise ValueError(
            f'involution: bias must have shape ({channels},), got {tuple(bias.shape)}'
        )
    check_tensors('involution', input, weight, bias)
    return padding


class OwnKernels(OperatorBackend):
    """A backend that computes the three operators.

    All methods take ``(stride, padding, dilation, interleaved, clamp)`` last.
    """

    def run(self, input: Tensor, weight: Tensor, *options) -> Tensor:
        """Compute the output by the operator, which has derivatives."""
        return involution_operator(input, weight, *options, self.name)

    def output(self, input: Tensor, weight: Tensor, *options) -> Tensor:
        """Compute the output, (N, C, P, Q)."""
        raise NotImplementedError

    def input_gradient(
        self, grad: Tensor, weight: Tensor, height: int, width: int, *options
    ) -> Tensor:
        """Compute the gradient of the input, (N, C, H, W)."""
        raise NotImplementedError

    def weight_gradient(
        self, input: Tensor, grad: Tensor, groups: int, k: int, *options
    ) -> Tensor:
        """Compute the gradient of the weight, (N, G, K, K, P, Q)."""
        raise NotImplementedError


def why_not_built(device: str) -> str | None:
    """Return why the compiled operators cannot run on a type of device, or None."""
    names = ('involution', 'involution_input', 'involution_weight')
    return why_not(names, device)


_OPTIONS = (
    'SymInt stride, SymInt padding, SymInt dilation, bool interleaved, bool clamp, '
    'str backend'
)


@torch.library.custom_op(
    'smpconv_mm::involution',
    mutates_args=(),
    schema=f'(Tensor input, Tensor weight, {_OPTIONS}) -> Tensor',
)
def involution_operator(input, weight, *options):
    """:meth:`OwnKernels.output` of the backend of that name."""
    return find('involution', options[-1]).output(input, weight, *options[:-1])


@torch.library.custom_op(
    'smpconv_mm::involution_input',
    mutates_args=(),
    schema='(Tensor grad, Tensor weight, SymInt height, SymInt width, '
    f'{_OPTIONS}) -> Tensor',
)
def input_operator(grad, weight, height, width, *options):
    """:meth:`OwnKernels.input_gradient` of the backend of that name."""
    backend = find('involution', options[-1])
    return backend.input_gradient(grad, weight, height, width, *options[:-1])


@torch.library.custom_op(
    'smpconv_mm::involution_weight',
    mutates_args=(),
    schema='(Tensor input, Tensor grad, SymInt groups, SymInt k, '
    f'{_OPTIONS}) -> Tensor',
)
def weight_operator(input, grad, groups, k, *options):
    """:meth:`OwnKernels.weight_gradient` of the backend of that name."""
    backend = find('involution', options[-1])
    return backend.weight_gradient(input, grad, groups, k, *options[:-1])


@involution_operator.register_fake
def _(input, weight, *options):
    return input.new_empty(*input.shape[:2], *weight.shape[-2:])


@input_operator.register_fake
def _(grad, weight, height, width, *options):
    return grad.new_empty(*grad.shape[:2], height, width)


@weight_operator.register_fake
def _(input, grad, groups, k, *options):
    return input.new_empty(input.shape[0], groups, k, k, *grad.shape[-2:])


def _output_context(ctx, inputs, output):
    input, weight, *ctx.options = inputs
    ctx.save_for_backward(input, weight)


def _output_backward(ctx, grad):
    input, weight = ctx.saved_tensors
    want_input, want_weight = ctx.needs_input_grad[:2]
    sizes, groups = input.shape[-2:], weight.shape[1:3]
    return (
        input_operator(grad, weight, *sizes, *ctx.options) if want_input else None,
        weight_operator(input, grad, *groups, *ctx.options) if want_weight else None,
        *[None] * len(ctx.options),
    )


def _input_context(ctx, inputs, output):
    grad, weight, _, _, *ctx.options = inputs
    ctx.save_for_backward(grad, weight)


def _input_backward(ctx, slope):
    grad, weight = ctx.saved_tensors
    want_grad, want_weight = ctx.needs_input_grad[:2]
    groups = weight.shape[1:3]
    return (
        involution_operator(slope, weight, *ctx.options) if want_grad else None,
        weight_operator(slope, grad, *groups, *ctx.options) if want_weight else None,
        *[None] * (2 + len(ctx.options)),
    )


def _weight_context(ctx, inputs, output):
    input, grad, _, _, *ctx.options = inputs
    ctx.save_for_backward(input, grad)


def _weight_backward(ctx, slope):
    input, grad = ctx.saved_tensors
    want_input, want_grad = ctx.needs_input_grad[:2]
    sizes = input.shape[-2:]
    return (
        input_operator(grad, slope, *sizes, *ctx.options) if want_input else None,
        involution_operator(input, slope, *ctx.options) if want_grad else None,
        *[None] * (2 + len(ctx.options)),
    )


involution_operator.register_autograd(_output_backward, setup_context=_output_context)
input_operator.register_autograd(_input_backward, setup_context=_input_context)
weight_operator.register_autograd(_weight_backward, setup_context=_weight_context)


@register_flop_formula(torch.ops.smpconv_mm.involution)
def _output_flops(input_shape, weight_shape, *args, **kwargs) -> int:
    """Two operations a tap and output of a channel, taps on the padding included."""
    n, groups, *rest = weight_shape
    return 2 * input_shape[1] * n * prod(rest)


@register_flop_formula(torch.ops.smpconv_mm.involution_input)
def _input_flops(grad_shape, weight_shape, *args, **kwargs) -> int:
    return _output_flops(grad_shape, weight_shape)


@register_flop_formula(torch.ops.smpconv_mm.involution_weight)
def _weight_flops(input_shape, grad_shape, groups, k, *args, **kwargs) -> int:
    return 2 * prod(grad_shape) * k * k
