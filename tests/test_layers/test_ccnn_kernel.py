"""Kernels of CCNN, against the original program."""

import copy
from pathlib import Path

import pytest
import torch
from tolerances import assert_close

from smpconv_mm.convert.ccnn import convert_layer
from smpconv_mm.layers import CCNNKernel, CCNNMAGNet, KernelConv2d, SeparableConv

GOLDEN = Path(__file__).parents[1] / 'golden/ccnn'
LAYERS = {
    'layer1d_causal_fft': dict(kernel_size=120, ndim=1, causal=True),
    'layer2d_aniso': dict(kernel_size=17, ndim=2),
}


@pytest.mark.parametrize('name', LAYERS)
@pytest.mark.parametrize(
    'dtype, tolerance', [(torch.float32, 1e-5), (torch.float64, 1e-13)], ids=str
)
def test_original_layers(name, dtype, tolerance):
    """Kernel, output and every gradient of the original program."""
    golden = torch.load(GOLDEN / f'{name}.pt', weights_only=True)
    net = dict(hidden_channels=16)
    layer = SeparableConv(4, 6, **LAYERS[name], kernel_cfg=dict(kernel_net=net))
    layer.to(dtype).load_state_dict(convert_layer(golden['state_dict']))
    x = golden['x'].to(dtype).requires_grad_()
    out = layer(x)
    kernel = layer.depthwise_conv.kernel()
    assert_close(kernel.transpose(0, 1), golden['kernels']['self'], tolerance)
    assert_close(out, golden['y'], tolerance)
    (out * golden['cotangent'].to(dtype)).sum().backward()
    assert_close(x.grad, golden['grad_x'], tolerance)
    grads = convert_layer(golden['grads'])
    own = {n: p.grad for n, p in layer.named_parameters()}
    assert set(own) == set(grads)
    for key, value in grads.items():
        assert_close(own[key], value, 20 * tolerance, key)


def kernel_of(taps, ndim=2, sigma=0.075, mean=None, **kwargs):
    kernel = CCNNKernel(
        1, 3, taps, ndim, kernel_net=dict(hidden_channels=4, omega_0=1.0), **kwargs
    ).double()
    with torch.no_grad():
        kernel.mask_width.fill_(sigma)
        if mean is not None:
            kernel.mask_mean.fill_(mean)
    return kernel


@pytest.mark.parametrize(
    'taps, sigma, causal, kept',
    [
        (784, 0.075, True, 65),
        (1024, 0.075, True, 84),
        (16000, 0.075, True, 1289),
        (161, 0.075, True, 14),
        (2048, 0.03, True, 67),
        (4096, 0.015, True, 67),
        (1024, 0.4, True, 441),
        (1024, -0.4, True, 441),
        (33, 0.0, True, 33),
        *((33, s, False, k) for s, k in [(0.075, 5), (-0.225, 15), (0.75, 33)]),
        *((31, s, False, k) for s, k in [(0.075, 5), (0.225, 15), (0.75, 31)]),
        *((65, s, False, k) for s, k in [(0.075, 11), (0.225, 31), (0.0, 1)]),
    ],
)
def test_sizes_of_the_original(taps, sigma, causal, kept):
    kernel = kernel_of(taps, 1, sigma, causal=causal)
    ((first, end),) = kernel.kept_taps()
    assert end - first == kept == kernel().shape[-1]
    assert first + end == (taps + first if causal else taps)


@pytest.mark.parametrize('taps', [1, 2, 8, 33])
@pytest.mark.parametrize('ndim, causal', [(1, True), (1, False), (2, False)])
def test_any_mean_and_width(taps, ndim, causal):
    """Finite, gradients too; the crop is that of a traced graph, which has zeros."""
    for mean in (None, 0.3, -4.0):
        for sigma in (0.0, 1e-9, -0.1, 0.3, 5.0):
            kernel = kernel_of(taps, ndim, sigma, mean, causal=causal)
            out = kernel()
            out.sum().backward()
            assert out.isfinite().all()
            assert all(p.grad.isfinite().all() for p in kernel.parameters())
            whole = copy.deepcopy(kernel)
            whole._traced = lambda: True
            expected = torch.zeros(3, 1, *[taps] * ndim, dtype=torch.double)
            part = expected
            for axis, kept in enumerate(out.shape[2:], 2):
                cropped = taps - kept
                start = cropped if causal else cropped // 2
                part = part.narrow(axis, start, kept)
            part.copy_(out.detach())
            assert_close(whole(), expected, 1e-12, (mean, sigma))


def test_initial_values():
    """Distributions of the paper, and kernels that are smaller the more they sum."""
    torch.manual_seed(0)
    net = CCNNMAGNet(2, 5, 4096, omega_0=10.0, mu_range=0.2, causal=True)
    for index, filter in enumerate(net.filters):
        assert not filter.linear.bias.any()
        assert 0.8 <= filter.mu.min() < 0.801 and 0.999 < filter.mu.max() <= 1
        # a gamma distribution has its shape as mean and variance
        shape = 6 / (index + 1)
        assert filter.gamma.mean().item() == pytest.approx(shape, rel=0.05)
        assert filter.gamma.var().item() == pytest.approx(shape, rel=0.1)
        relative = filter.linear.weight / (20 * torch.pi * filter.gamma)
        assert relative.abs().max().item() == pytest.approx(0.5**0.5, rel=1e-3)
    for linear in net.linears:
        assert (linear.bias == 1).all()
        assert linear.weight.var().item() == pytest.approx(1 / 4096, rel=0.02)
    assert not net.output.bias.any()
    assert net.output.weight.var().item() == pytest.approx(1 / 4096, rel=0.05)
    centred = CCNNMAGNet(2, 5, 64, mu_range=1.25)
    assert centred.filters[0].mu.min() < -1 and centred.filters[0].mu.max() > 1
    for kernel, summed in (
        (CCNNKernel(1, 4, 784, 1, causal=True, depthwise=True), 65),
        (CCNNKernel(1, 4, 33, depthwise=True), 25),
        (CCNNKernel(3, 4, 33), 75),
        (CCNNKernel(3, 4, 33, crop=False), 3 * 33**2),
    ):
        bound = (3 / 32 / summed) ** 0.5
        found = kernel.net.output.weight.abs().max().item()
        assert 0.9 * bound < found <= bound
    assert kernel.mask_width.tolist() == [pytest.approx(0.075)] * 2


def test_dense_layer():
    """A layer without a channel mixer, of sines: names and order of the values."""
    net = dict(type='SIREN', hidden_channels=8, omega_0=2.0)
    layer = KernelConv2d(3, 4, 5, kernel=dict(type='CCNNKernel', kernel_net=net))
    maker = layer.kernel.net
    original = {
        'bias': layer.bias,
        'mask_width_param': layer.kernel.mask_width,
        'mask_mean_param': layer.kernel.mask_mean,
        'mask_threshold': torch.tensor([0.1]),
        'train_length': torch.tensor([5], dtype=torch.int32),
        'Kernel.output_linear.weight': maker.output.weight[..., None, None],
        'Kernel.output_linear.bias': maker.output.bias,
    }
    for index, sine in zip((0, 2), maker.layers):
        prefix = f'Kernel.kernel_net.{index}.'
        original[prefix + 'weight'] = sine.weight[..., None, None]
        original[prefix + 'bias'] = sine.bias
        original[prefix + 'omega_0'] = sine.omega_0
    other = KernelConv2d(3, 4, 5, kernel=dict(type='CCNNKernel', kernel_net=net))
    other.load_state_dict(convert_layer(original))
    assert torch.equal(other.kernel(), layer.kernel())
    # the values at a position are those of all inputs of the first output, then of
    # the second, and so on
    position = torch.zeros(1, 2, 1, 1)
    values = maker(position).view(4, 3)
    (middle,) = layer.kernel().flatten(2).unbind(2)  # all that the mask leaves
    assert_close(middle, values, 1e-5)


def test_bad_arguments():
    with pytest.raises(ValueError, match='omega_0 must be positive'):
        CCNNMAGNet(1, 2, omega_0=0.0)
    with pytest.raises(ValueError, match='mask_init must be positive'):
        CCNNKernel(1, 2, 5, mask_init=-1.0)
