"""Shapes, tensors and expected values for tests of the involution's CUDA kernels."""

import torch

from smpconv_mm.ops import reference

# N, C, G, H, W, K, stride, padding, dilation, order, border
SHAPES = [
    (1, 1, 1, 1, 1, 1, 1, 0, 1, 'contiguous', 'zeros'),
    (2, 32, 2, 7, 7, 7, 1, 3, 1, 'contiguous', 'zeros'),
    (1, 16, 1, 14, 14, 7, 1, 3, 1, 'contiguous', 'zeros'),
    (1, 48, 2, 12, 20, 3, 1, 1, 1, 'contiguous', 'zeros'),  # 24 channels a group
    (2, 16, 1, 28, 28, 5, 1, 2, 1, 'contiguous', 'zeros'),
    (1, 4, 4, 5, 130, 3, 1, 1, 1, 'contiguous', 'zeros'),  # tiles of columns
    (1, 16, 1, 4, 100, 7, 2, 3, 1, 'contiguous', 'zeros'),
    (2, 6, 3, 13, 29, 7, 2, 3, 1, 'interleaved', 'zeros'),
    (1, 5, 1, 9, 11, 3, 3, 0, 2, 'contiguous', 'zeros'),
    (1, 10, 2, 6, 8, 4, 1, 2, 1, 'contiguous', 'zeros'),  # an even kernel
    (1, 8, 2, 3, 2, 5, 1, 6, 3, 'contiguous', 'zeros'),  # windows beyond the map
    (2, 16, 2, 14, 13, 5, 1, 2, 1, 'interleaved', 'clamp'),
    (1, 16, 1, 14, 24, 13, 1, 6, 1, 'contiguous', 'clamp'),
    (1, 8, 1, 15, 11, 3, 1, 3, 3, 'contiguous', 'clamp'),
    (1, 8, 2, 10, 9, 3, 2, 1, 2, 'contiguous', 'clamp'),
]


def out_size(shape):
    h, w, k, stride, padding, dilation = shape[3:9]
    reach = dilation * (k - 1) + 1
    return [(size + 2 * padding - reach) // stride + 1 for size in (h, w)]


def make(shape, dtype):
    n, c, g, h, w, k = shape[:6]
    generator = torch.Generator().manual_seed(0)
    places = out_size(shape)
    sizes = (n, c, h, w), (n, g, k, k, *places), (n, c, *places)
    x, weight, grad = (torch.randn(s, generator=generator) for s in sizes)
    return [t.to(dtype) for t in (x, weight / k, grad)]


def expect(shape, x, weight, grad):
    x, weight = x.double().requires_grad_(), weight.double().requires_grad_()
    stride, padding, dilation, order, border = shape[6:]
    out = reference.involution(
        x,
        weight,
        stride=stride,
        padding=padding,
        dilation=dilation,
        order=order,
        border=border,
    )
    return out.detach(), *torch.autograd.grad(out, (x, weight), grad.double())
