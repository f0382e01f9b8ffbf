from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tolerances import assert_close

from smpconv_mm.convert.dcls import convert_layer
from smpconv_mm.errors import CheckpointError
from smpconv_mm.layers import (
    DCLSConv1d,
    DCLSConv2d,
    DCLSConv3d,
    DCLSKernel,
    KernelConv2d,
    resample,
)

DATA = Path(__file__).parents[1] / 'golden' / 'dcls'
LAYERS = {1: DCLSConv1d, 2: DCLSConv2d, 3: DCLSConv3d}
VERSIONS = ['v0', 'v1', 'max', 'gauss']


@pytest.mark.parametrize('path', sorted(DATA.glob('op_*.pt')), ids=lambda p: p.stem)
def test_agrees_with_the_original(path):
    data = torch.load(path, weights_only=True)
    config = dict(data['config'])
    config['n_points'] = config.pop('kernel_count')
    config['kernel_size'] = config.pop('dilated_kernel_size')
    layer = LAYERS[data['x'].dim() - 2](**config, dtype=torch.float64)
    layer.load_state_dict(convert_layer(data['params'], config['version']))
    x = data['x'].requires_grad_()
    assert_close(layer.make_kernel(), data['kernel'], 1e-12)
    y = layer(x)
    assert_close(y, data['y'], 1e-12)
    names = list(data['grads'])
    wanted = convert_layer(data['grads'], config['version'])
    parameters = dict(layer.named_parameters())
    grads = torch.autograd.grad(
        y, [x] + [parameters[name] for name in wanted], data['cotangent']
    )
    assert len(grads) == len(names) + 1
    for actual, expected in zip(grads, [data['grad_x'], *wanted.values()]):
        assert_close(actual, expected, 1e-11)


def kernel(version='gauss', size=7, ndim=2, **kwargs):
    torch.manual_seed(0)
    kwargs = {'n_points': 5, 'position_std': 1.5, **kwargs}
    return DCLSKernel(3, 2, size, ndim, version=version, **kwargs).double()


def by_definition(made):
    """A loop over elements and taps, from the formulas of the paper."""
    out = torch.zeros(2, 3, *made.kernel_size, dtype=torch.float64)
    for o, i, k in torch.cartesian_prod(*map(torch.arange, made.weight.shape)).tolist():
        share = torch.ones((), dtype=torch.float64)
        for axis, taps in enumerate(made.kernel_size):
            distance = torch.arange(taps) - taps // 2 - made.position[axis, o, i, k]
            if made.version == 'gauss':
                sigma = made.width[axis, o, i, k].abs() + 0.27
                line = torch.exp(-((distance / sigma) ** 2) / 2)
            else:
                width = made.width[axis, o, i, k].abs() if made.version == 'max' else 0
                line = (1 + width - distance.abs()).relu()
            share = share[..., None] * line
        if made.version != 'v0':
            share = share / (share.sum() + 1e-7)
        out[o, i] += made.weight[o, i, k] * share
    return out


@pytest.mark.parametrize('version', VERSIONS)
@pytest.mark.parametrize('size', [(9,), (5, 9), (4, 7), (3, 5, 7), (1, 3)], ids=str)
def test_is_the_formula(version, size):
    made = kernel(version, size, len(size))
    assert_close(made(), by_definition(made), 1e-12)


@pytest.mark.parametrize('version', VERSIONS)
def test_gradients(version):
    made = kernel(version, (3, 5), n_points=2)
    with torch.no_grad():  # between taps, where the kernel has no kinks
        made.position.floor_().add_(0.3).add_(torch.rand_like(made.position), alpha=0.4)
    parameters = dict(made.named_parameters())

    def sample(*values):
        return torch.func.functional_call(made, dict(zip(parameters, values)))

    assert torch.autograd.gradcheck(sample, tuple(parameters.values()))


def test_elements_at_taps_are_a_dense_kernel():
    made = kernel('v1', 3, n_points=9)
    with torch.no_grad():
        offsets = torch.cartesian_prod(torch.arange(-1, 2), torch.arange(-1, 2))
        made.position.copy_(offsets.T[:, None, None])
    assert_close(made(), made.weight.view(2, 3, 3, 3), 1e-6)


@pytest.mark.parametrize('version', VERSIONS)
@pytest.mark.parametrize('causal', [False, True])
def test_positions_stay_inside(version, causal):
    layer = LAYERS[1](4, 4, 9, causal=causal, version=version, groups=4, n_points=3)
    low, high = (-8, 0) if causal else (-4, 4)
    if causal:
        assert (layer.kernel.position <= 0).all()
    with torch.no_grad():
        layer.kernel.position.copy_(torch.tensor([-50.0, 0, 50]))
    layer.kernel.after_step()
    assert layer.kernel.position[0, 0, 0].tolist() == [low, 0, high]
    # all elements are inside, so that the kernel has their sum
    assert_close(layer.make_kernel().sum(-1), layer.kernel.weight.sum(-1), 1e-5)


def test_sides_of_two_lengths_have_limits_of_their_own():
    made = kernel(size=(3, 9))
    with torch.no_grad():
        made.position.fill_(50)
    made.after_step()
    assert made.position[0].unique().tolist() == [1]
    assert made.position[1].unique().tolist() == [4]


@pytest.mark.parametrize('version', VERSIONS)
def test_resampled_for_finer_images(version):
    """A smooth image of twice the resolution gives the same responses."""
    torch.manual_seed(0)
    layer = DCLSConv2d(
        1, 1, 7, padding=3, version=version, n_points=6, position_std=1.5
    ).double()

    def image(n):
        t = torch.arange(n, dtype=torch.float64) * (32 / n)
        return (torch.sin(t / 5)[:, None] + torch.cos(t / 6))[None, None]

    with torch.no_grad():
        coarse = layer(image(32))
        resample(layer, 2)
        assert layer.kernel_size == (13, 13)
        fine = layer(image(64))[..., ::2, ::2]
    assert_close(fine[..., 4:-4, 4:-4], coarse[..., 4:-4, 4:-4], 0.02)


def test_widths_learn_from_the_start():
    made = kernel('max')
    made().square().sum().backward()
    assert made.width.grad.abs().max() > 0


def test_trains_and_deploys_in_half_precision():
    layer = DCLSConv2d(8, 8, 9, padding='same', groups=8, dtype=torch.bfloat16)
    x = torch.randn(1, 8, 12, 12, dtype=torch.bfloat16)
    made = layer.make_kernel()
    assert made.dtype == torch.float32
    out = layer(x)
    layer.switch_to_deploy()
    assert_close(layer(x).float(), out.float(), 1e-2)


def test_equals_the_general_layer():
    layer = DCLSConv2d(4, 6, 5, n_points=3, version='v0', padding=1)
    other = KernelConv2d(
        4, 6, 5, padding=1, kernel=dict(type='DCLSKernel', n_points=3, version='v0')
    )
    other.load_state_dict(layer.state_dict())
    x = torch.randn(2, 4, 9, 8)
    expected = F.conv2d(x, layer.make_kernel(), layer.bias, padding=1)
    assert_close(layer(x), expected, 1e-6)
    assert torch.equal(layer(x), other(x))


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(n_points=0), 'n_points must be a positive integer, got 0'),
        (dict(n_points=2.5), 'n_points must be a positive integer, got 2.5'),
        (dict(version='v2'), "version must be one of .* got 'v2'"),
        (dict(position_std=-1), 'position_std must not be negative, got -1'),
    ],
)
def test_wrong_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        DCLSConv2d(4, 4, 7, **kwargs)


def test_entries_of_another_version_are_refused():
    weight, position = torch.zeros(4, 1, 3), torch.zeros(2, 4, 1, 3)
    with pytest.raises(CheckpointError, match=r"missing \['SIG'\]"):
        convert_layer(dict(weight=weight, P=position), 'gauss')
    with pytest.raises(CheckpointError, match=r"unknown \['SIG'\]"):
        convert_layer(dict(weight=weight, P=position, SIG=position), 'v0')


@pytest.mark.parametrize('version, width', [('max', 9.0), ('gauss', 1.2)])
def test_widths_follow_the_sampling_rate(version, width):
    """At twice the rate an element is twice as wide, in taps."""
    made = DCLSKernel(1, 1, 31, 1, n_points=1, version=version).double()
    with torch.no_grad():
        made.position.zero_()
        made.width.fill_(width)
    deviations = []
    for size in (31, 61):
        made.kernel_size = size
        share = made()[0, 0] / made.weight.sum()
        place = torch.arange(size) - size // 2
        deviations.append(float((share * place**2).sum().sqrt()))
    assert deviations[1] / deviations[0] == pytest.approx(2, rel=0.01)
