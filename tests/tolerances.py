"""Allowed errors, relative to the largest value of the reference (float64).

One row per operation, one column per dtype: (output, gradient of the input, gradient of
the weight). Half precision is compared after rounding the inputs, so that what
is left is the error of the computation.
"""

import torch

_LONG_CONV = {
    torch.float64: (1e-12, 1e-12, 1e-12),
    torch.float32: (1e-5, 1e-5, 1e-5),
    torch.bfloat16: (2e-2, 2e-2, 2e-2),
    torch.float16: (2e-3, 5e-3, 5e-3),
}

TOLERANCES = {
    'depthwise_conv2d': {
        torch.float64: (1e-12, 1e-12, 1e-12),
        torch.float32: (1e-5, 1e-5, 1e-5),
        torch.bfloat16: (1e-2, 1e-2, 2e-2),
        torch.float16: (2e-3, 5e-3, 5e-3),
    },
    'oriented_conv2d': {
        torch.float64: (1e-12, 1e-12, 1e-12),
        torch.float32: (1e-5, 1e-5, 1e-5),
        torch.bfloat16: (1e-2, 1e-2, 2e-2),
        torch.float16: (2e-3, 2e-3, 5e-3),
    },
    'involution': {
        torch.float64: (1e-12, 1e-12, 1e-12),
        torch.float32: (1e-5, 1e-5, 1e-5),
        torch.bfloat16: (1e-2, 1e-2, 1e-2),
        torch.float16: (2e-3, 2e-3, 2e-3),
    },
    'causal_conv1d': _LONG_CONV,
    'conv2d': _LONG_CONV,
    # output, gradient of (coord, radius), gradient of weight
    'smp_kernel': {
        torch.float64: (1e-12, 1e-12, 1e-12),
        torch.float32: (1e-5, 1e-4, 1e-5),
    },
}


def assert_close(actual, expected, tolerance, what='value', terms=None):
    """Compare with an error relative to the largest expected value.

    A sum that cancels has the errors of its terms: ``terms``, the roots of the
    sums of the squared terms, count too if given.
    """
    assert actual.shape == expected.shape, (what, actual.shape, expected.shape)
    if expected.numel() == 0:
        return
    expected = expected.double()
    error = (actual.double() - expected).abs().max()
    scale = expected.abs().max().clamp(min=1e-30)
    if terms is not None:
        scale = torch.maximum(scale, terms.max())
    assert torch.isfinite(actual).all(), f'{what} is not finite'
    assert error <= tolerance * scale, (
        f'{what}: {float(error / scale):.2e} > {tolerance}'
    )
