"""Every CUDA operator at small sizes against the definitions on the CPU.

Nothing else runs on the GPU, so that cuda_ops/sanitize.sh ends in minutes.
"""

import pytest
import torch
from tolerances import TOLERANCES, assert_close

from smpconv_mm import ops
from smpconv_mm.ops.extension import why_not

OPERATORS = {
    'depthwise_conv2d': (ops.depthwise_conv2d, ops.reference.depthwise_conv2d),
    'oriented_conv2d': (ops.oriented_conv2d, ops.reference.oriented_conv2d),
    'involution': (ops.involution, ops.reference.involution),
}

# operator, shapes of the input and of the weight, more arguments
CASES = [
    ('depthwise_conv2d', (2, 3, 7, 7), (3, 1, 7, 7), {}),
    ('depthwise_conv2d', (17, 1, 14, 14), (1, 1, 9, 9), {}),
    ('depthwise_conv2d', (1, 2, 9, 57), (2, 1, 3, 13), {}),
    ('depthwise_conv2d', (3, 2, 28, 28), (2, 1, 29, 29), {}),
    ('oriented_conv2d', (2, 9, 7, 5), (9, 1, 1, 9), {}),
    ('oriented_conv2d', (1, 3, 20, 41), (3, 1, 1, 31), dict(stride=2)),
    ('involution', (2, 32, 7, 7), (2, 2, 7, 7, 7, 7), {}),
    ('involution', (1, 6, 5, 13), (1, 3, 3, 3, 5, 13), dict(order='interleaved')),
    ('involution', (2, 16, 12, 10), (2, 1, 7, 7, 6, 5), dict(stride=2)),
]
DTYPES = [torch.float32, torch.float16, torch.bfloat16]


def results(function, x, weight, grad, *angle, **options):
    x, weight = (t.detach().requires_grad_() for t in (x, weight))
    out = function(x, weight, *angle, **options)
    grad = grad[: out.numel()].view(out.shape)
    return out, *torch.autograd.grad(out, (x, weight), grad)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU')
@pytest.mark.parametrize('dtype', DTYPES, ids=str)
@pytest.mark.parametrize('op, shape, weight_shape, options', CASES, ids=str)
def test_agrees_with_the_cpu(op, shape, weight_shape, options, dtype):
    if (reason := why_not(op, 'cuda')) is not None:
        pytest.skip(reason)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator).to(dtype)
    weight = torch.randn(weight_shape, generator=generator).to(dtype)
    grad = torch.randn(x.numel(), generator=generator).to(dtype)
    angle = [torch.arange(shape[1]) * 0.4] if op == 'oriented_conv2d' else []
    function, definition = OPERATORS[op]
    found = results(
        function,
        *(t.cuda() for t in (x, weight, grad, *angle)),
        **options,
        backend='cuda',
    )
    exact = results(
        definition, x.double(), weight.double(), grad.double(), *angle, **options
    )
    for a, e, limit in zip(found, exact, TOLERANCES[op][dtype]):
        assert_close(a.cpu(), e, limit)
