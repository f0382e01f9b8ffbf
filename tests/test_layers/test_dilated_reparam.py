from pathlib import Path

import pytest
import torch
from original_weights import original_weights
from tolerances import assert_close
from torch import nn

from smpconv_mm.layers import DilatedReparamConv2d, switch_to_deploy
from smpconv_mm.layers.dilated_reparam import BRANCHES

DATA = Path(__file__).parents[1] / 'golden' / 'unireplknet'


def strange_norms(module):
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias)
            nn.init.normal_(norm.running_mean)
            nn.init.uniform_(norm.running_var, 0.5, 1.5)
    return module


def renamed(name):
    """The original's name of an entry as ours."""
    if name.startswith(('lk_origin', 'origin_bn')):
        kind, end = name.split('.')
        return f'branches.large.{"conv" if kind == "lk_origin" else "bn"}.{end}'
    _, kind, branch = name.split('_', 2)
    branch, end = branch.split('.')
    return f'branches.{branch}.{kind}.{end}'


@pytest.mark.parametrize('form', ['eval', 'train'])
def test_the_original_program(form):
    data = torch.load(DATA / 'drb_k13.pt', weights_only=True)
    layer = DilatedReparamConv2d(6, 13).double()
    weights = original_weights(data['shapes'])
    layer.load_state_dict({renamed(k): v for k, v in weights.items()})
    x = data['x'].requires_grad_()
    if form == 'train':
        assert_close(layer(x), data['y_train'], 1e-12)
        state = layer.state_dict()
        for name, value in data['buffers_after_train'].items():
            assert_close(state[renamed(name)], value, 1e-12, name)
        return
    layer.eval()
    out = layer(x)
    assert_close(out, data['y'], 1e-12)
    assert_close(layer(data['x_small']), data['y_small'], 1e-12)
    parameters = dict(layer.named_parameters())
    wanted = [x, *(parameters[renamed(name)] for name in data['grads'])]
    grads = torch.autograd.grad(out, wanted, data['cot'])
    for actual, expected in zip(grads, [data['grad_x'], *data['grads'].values()]):
        assert_close(actual, expected, 1e-11)
    switch_to_deploy(layer)
    assert_close(layer.conv.weight, data['merged_weight'], 1e-13)
    assert_close(layer.conv.bias, data['merged_bias'], 1e-13)
    assert_close(layer(x), data['y'], 1e-12)


@pytest.mark.parametrize('size', [(1, 1), (5, 7), (19, 22)])
@pytest.mark.parametrize('kernel_size', BRANCHES)
def test_deploy_form_is_equal(kernel_size, size):
    layer = strange_norms(DilatedReparamConv2d(3, kernel_size)).double().eval()
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    expected = layer(x)
    switch_to_deploy(layer)
    assert_close(layer(x), expected, 1e-12)
    assert {*layer.state_dict()} == {'conv.weight', 'conv.bias'}
    other = DilatedReparamConv2d(3, kernel_size, deploy=True).double()
    other.load_state_dict(layer.state_dict())
    layer.switch_to_deploy()  # again: nothing happens
    assert torch.equal(other(x), layer(x))


@pytest.mark.parametrize(
    'dtype, tolerance',
    [(torch.float32, 1e-5), (torch.bfloat16, 3e-2), (torch.float16, 4e-3)],
)
def test_precisions(dtype, tolerance):
    layer = strange_norms(DilatedReparamConv2d(4, 9)).to(dtype).eval()
    x = torch.randn(1, 4, 11, 6, dtype=dtype)
    expected = layer.double()(x.double())
    switch_to_deploy(layer.to(dtype))
    assert layer.conv.weight.dtype == dtype
    assert_close(layer(x), expected, tolerance)


def test_an_empty_batch():
    layer = DilatedReparamConv2d(4, 7).eval()
    assert layer(torch.zeros(0, 4, 9, 9)).shape == (0, 4, 9, 9)


def test_branches_of_ones_own():
    layer = DilatedReparamConv2d(2, 19, [(3, 9), (7, 3)], dict(type='BN', eps=1e-3))
    layer = strange_norms(layer).double().eval()
    x = torch.randn(1, 2, 24, 21, dtype=torch.float64)
    expected = layer(x)
    switch_to_deploy(layer)
    assert layer.conv.kernel_size == (19, 19)
    assert_close(layer(x), expected, 1e-12)


@pytest.mark.parametrize(
    'arguments, message',
    [
        ((19,), 'must be one of 5, 7, .*, got 19; for others give branches'),
        ((8, [(3, 1)]), 'got side 8'),
        ((9, [(4, 1)]), 'got side 4'),
        ((9, [(3, 5)]), 'beyond the kernel of side 9, got side 3 with dilation 5'),
        ((9, [(3, 0)]), 'dilation 0'),
    ],
)
def test_what_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        DilatedReparamConv2d(2, *arguments)


def test_other_norms_stay_in_training_form():
    layer = DilatedReparamConv2d(4, 7, norm_cfg=dict(type='GN', num_groups=2))
    with pytest.raises(TypeError, match='only a batch norm'):
        layer.switch_to_deploy()
    assert layer.branches is not None
