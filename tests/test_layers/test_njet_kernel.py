from math import factorial

import pytest
import torch
from tolerances import assert_close

from smpconv_mm.layers import KernelConv2d, NJetKernel


def test_derivatives_of_a_gaussian():
    """Against differences of the Gaussian, which automatic derivatives give."""
    kernel = NJetKernel(1, 1, 21, 1, order=4, sigma=2.0, reach=5.0).double()
    filters = kernel.derivatives()
    x = torch.arange(-10.0, 11, dtype=torch.float64).requires_grad_()
    value = torch.exp(-((x / 2.0) ** 2) / 2)
    value = value / value.sum().detach()
    for n, filter in enumerate(filters):
        assert_close(filter, 2.0**n * value.detach(), 1e-10, f'order {n}')
        (value,) = torch.autograd.grad(value.sum(), x, create_graph=True)


@pytest.mark.parametrize('ndim, number', [(1, 5), (2, 15), (3, 35)])
def test_number_of_derivatives(ndim, number):
    kernel = NJetKernel(2, 3, 9, ndim)
    assert kernel.weight.shape == (3, 2, number)
    assert number == factorial(4 + ndim) // factorial(4) // factorial(ndim)
    assert kernel().shape == (3, 2, *(5,) * ndim)


def test_learned_scale():
    kernel = NJetKernel(1, 2, (9, 31)).double()
    with torch.no_grad():
        kernel.log_sigma.fill_(1.9)
    assert kernel().shape == (2, 1, 9, 17)
    assert torch.autograd.gradcheck(
        lambda s, w: torch.func.functional_call(
            kernel, dict(log_sigma=s, weight=w), ()
        ),
        (kernel.log_sigma, kernel.weight),
    )


def test_twice_the_resolution():
    """A smooth image at twice the resolution gives the same responses."""
    torch.manual_seed(0)
    conv = KernelConv2d(
        1, 4, 31, padding='same', kernel=dict(type='NJetKernel', sigma=3.0, reach=4.0)
    ).double()

    def image(n):
        place = torch.linspace(-1, 1, n, dtype=torch.float64)
        return torch.exp(-4 * (place[:, None] ** 2 + place**2))[None, None]

    expected = conv(image(65))
    conv.kernel_size = 61
    found = conv(image(129))[..., ::2, ::2]
    middle = (..., slice(20, -20), slice(20, -20))
    assert_close(found[middle], expected[middle].detach(), 1e-2)


def test_bad_arguments():
    for kwargs in (dict(order=-1), dict(sigma=0.0), dict(reach=-1.0)):
        with pytest.raises(ValueError, match='order must be at least 0'):
            NJetKernel(1, 1, 5, **kwargs)
