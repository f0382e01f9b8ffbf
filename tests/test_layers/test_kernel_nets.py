from math import pi, sqrt
from pathlib import Path

import pytest
import torch
from original_weights import hashed
from tolerances import assert_close
from torch import nn

from smpconv_mm.convert.flexconv import convert_layer
from smpconv_mm.layers import (
    MLP,
    NSIREN,
    SIREN,
    FourierNet,
    GaborNet,
    KernelNet,
    MAGNet,
)
from smpconv_mm.registry import MODELS

GOLDEN = Path(__file__).parents[1] / 'golden/flexconv'
NETS = dict(
    MLP=MLP,
    SIREN=SIREN,
    NSIREN=NSIREN,
    FourierNet=FourierNet,
    GaborNet=GaborNet,
    MAGNet=MAGNet,
)
GROUP_NORM = dict(type='GN', num_groups=1, eps=1e-12)
OPTIONS = [
    *((name, {}) for name in NETS),
    ('MLP', dict(norm_cfg=None, act_cfg=dict(type='Swish'), weight_norm=True)),
    ('MLP', dict(norm_cfg=GROUP_NORM)),
    ('SIREN', dict(learn_omega_0=True, weight_norm=True, bias_init='uniform')),
    ('NSIREN', dict(learn_omega_0=True, omega_0=2.0)),
    ('MAGNet', dict(isotropic=True, bias_init='zero')),
]


def build(name, ndim=2, **kwargs):
    torch.manual_seed(0)
    return MODELS.build(
        dict(type=name, in_channels=ndim, out_channels=3, hidden_channels=8, **kwargs)
    )


@pytest.mark.parametrize('name, options', OPTIONS, ids=str)
@pytest.mark.parametrize('grid', [(3,), (1, 2), (2, 1, 2)])
def test_values_and_gradients(name, options, grid):
    net = build(name, len(grid), **options).double()
    torch.manual_seed(1)
    positions = torch.rand(2, len(grid), *grid, dtype=torch.float64, requires_grad=True)
    window = torch.rand(2, *grid, dtype=torch.float64, requires_grad=True)
    net.eval()
    out = net(positions)
    assert out.shape == (2, 3, *grid)
    assert_close(net(positions, window), out * window[:, None], 1e-12)
    if options.get('norm_cfg', {}) != GROUP_NORM:  # at each position by itself
        assert_close(net(positions[1:, :, :1]), out[1:, :, :1], 1e-12)
    assert torch.autograd.gradcheck(net, (positions, window))
    net.train()
    (net(positions) * torch.randn_like(out)).sum().backward()
    lacking = [n for n, p in net.named_parameters() if not p.grad.any()]
    assert not lacking
    fresh = build(name, len(grid), **options).double().eval()
    fresh.load_state_dict(net.state_dict())
    assert torch.equal(fresh(positions), net.eval()(positions))


def test_formulas():
    """Against the definitions, written plainly, one position at a time."""
    for name in ('FourierNet', 'GaborNet', 'MAGNet'):
        net = build(name, num_layers=2, input_scale=3.0).double()
        x = torch.tensor([0.3, -0.7], dtype=torch.float64)

        def gate(filter, x=x, name=name):
            sine = torch.sin(filter.linear.weight @ x + filter.linear.bias)
            if name == 'FourierNet':
                return sine
            squared = (filter.gamma * (x - filter.mu)).square().sum(1)
            return torch.exp(-squared / 2) * sine

        z = gate(net.filters[0])
        for linear, filter in zip(net.linears, net.filters[1:]):
            z = gate(filter) * (linear.weight @ z + linear.bias)
        expected = net.output.weight @ z + net.output.bias
        assert_close(net(x.view(1, 2, 1))[0, :, 0], expected, 1e-12)
    for name in ('SIREN', 'NSIREN'):
        net = build(name, omega_0=5.0).double()
        h = x
        for layer in net.layers:
            h = layer.weight @ h
            if name == 'SIREN':
                h = torch.sin(5 * (h + layer.bias))
            else:
                h = torch.sin(5 * h + layer.bias)
        expected = net.output.weight @ h + net.output.bias
        assert_close(net(x.view(1, 2, 1))[0, :, 0], expected, 1e-12)


def test_original_steerable_magnet():
    golden = torch.load(GOLDEN / 'gen_magnet_steerable_2d.pt', weights_only=True)
    net = MAGNet(2, 6, 16, steerable=True)
    prefixed = {f'Kernel.{k}': v for k, v in golden['state_dict'].items()}
    state = convert_layer(prefixed)
    net.load_state_dict({k.removeprefix('kernel.net.'): v for k, v in state.items()})
    for dtype, end, tolerance in [
        (torch.float32, '', 2e-6),
        (torch.float64, '64', 1e-12),
    ]:
        net.to(dtype).zero_grad()
        x = golden['input'].to(dtype, copy=True).requires_grad_()
        out = net(x)
        assert_close(out, golden[f'output{end}'], tolerance)
    cotangent = hashed('R:gen_magnet_steerable_2d', out.shape)
    (out * cotangent).sum().backward()
    assert_close(x.grad, golden['grad_input64'], 1e-12)
    grads = convert_layer({f'Kernel.{k}': v for k, v in golden['grads64'].items()})
    own = {f'kernel.net.{n}': p for n, p in net.named_parameters()}
    assert set(grads) == set(own)
    for key, value in grads.items():
        assert_close(own[key].grad, value, 1e-12, key)


class TestInitialisation:
    """Ranges and moments of the published initial values."""

    @pytest.mark.parametrize('name', ['SIREN', 'NSIREN'])
    def test_siren(self, name):
        net = NETS[name](2, 64, 256, bias_init='uniform', omega_0=20.0)
        for layer, bound in [
            (net.layers[0], 0.5),
            (net.layers[1], sqrt(6 / 256) / 20),
            (net.output, sqrt(6 / 256) / 20),
        ]:
            assert 0.98 * bound < layer.weight.abs().max() <= bound
            assert 0.9 < layer.bias.abs().max() <= 1

    def test_weight_norm_leaves_the_values(self):
        torch.manual_seed(0)
        plain = SIREN(2, 3)
        torch.manual_seed(0)
        normed = SIREN(2, 3, weight_norm=True)
        x = torch.rand(1, 2, 5)
        assert_close(normed(x), plain(x), 1e-6)

    def test_mlp(self):
        net = MLP(3, 5)
        assert all(not layer.bias.any() for layer in (*net.layers, net.output))
        assert isinstance(net.norms[0], nn.BatchNorm1d)

    def test_multiplicative(self):
        torch.manual_seed(0)
        net = FourierNet(2, 16, 4096, 1)
        for filter in net.filters:
            weight = filter.linear.weight.abs().max()
            bound = 256 / sqrt(2) / sqrt(2)
            assert 0.99 * bound < weight <= bound * 1.001
            assert 0.99 * pi < filter.linear.bias.abs().max() <= pi
        bound = sqrt(1 / 4096)
        assert 0.99 * bound < net.linears[0].weight.abs().max() <= bound
        assert 0.99 * bound < net.output.weight.abs().max() <= bound
        for bias in (net.linears[0].bias, net.output.bias):
            assert 0 < bias.abs().max() <= bound

    @pytest.mark.parametrize('kind', [GaborNet, MAGNet])
    def test_gabor(self, kind):
        torch.manual_seed(0)
        net = kind(2, 1, 8000, 1, mu_range=0.5, beta=2.0).requires_grad_(False)
        for number, filter in enumerate(net.filters, 1):
            concentration = 6 / (2 if kind is GaborNet else number)
            assert filter.gamma.shape == (8000, 1 if kind is GaborNet else 2)
            assert filter.gamma.mean() == pytest.approx(concentration / 2, rel=0.02)
            assert filter.gamma.var() == pytest.approx(concentration / 4, rel=0.05)
            assert 0.498 < filter.mu.abs().max() <= 0.5
            plain = (filter.linear.weight / filter.gamma).abs().max()
            assert plain == pytest.approx(25.6 / sqrt(2) / sqrt(2), rel=0.01)


def test_bad_arguments():
    for kwargs in (
        dict(out_channels=0),
        dict(hidden_channels=0),
        dict(num_layers=1),
    ):
        with pytest.raises(ValueError, match='SIREN needs positive numbers'):
            SIREN(**{**dict(in_channels=2, out_channels=3), **kwargs})
    assert MAGNet(2, 3, num_layers=1)(torch.rand(1, 2, 4)).shape == (1, 3, 4)
    with pytest.raises(ValueError, match='positions have 3 axes'):
        MAGNet(3, 1, steerable=True)
    with pytest.raises(ValueError, match='bias_init must be None'):
        SIREN(2, 3, bias_init='ones')
    with pytest.raises(ValueError, match='omega_0 must be positive'):
        SIREN(2, 3, omega_0=0)
    with pytest.raises(ValueError, match=r'\(N, 2, \*grid\), got \(1, 3, 4\)'):
        MAGNet(2, 3)(torch.rand(1, 3, 4))
    with pytest.raises(NotImplementedError):
        KernelNet(2, 3)(torch.rand(1, 2, 4))
