"""Penalties on kernels, against the original program."""

from pathlib import Path

import pytest
import torch
from mmengine.registry import init_default_scope
from mmpretrain.structures import DataSample
from tolerances import assert_close

from smpconv_mm.convert.flexconv import convert_flexconv
from smpconv_mm.layers import FlexConv2d, FlexKernel, KernelConv
from smpconv_mm.models import (
    CCNN,
    AliasingLoss,
    FlexNet,
    KernelNormLoss,
    ParameterNormLoss,
)
from smpconv_mm.registry import MODELS

GOLDEN = Path(__file__).parents[1] / 'golden/flexconv/regularizer.pt'


@pytest.fixture(scope='module')
def original():
    return torch.load(GOLDEN, weights_only=True)


def network(case, kind):
    net = FlexNet(
        in_channels=2,
        channels=[4, 6],
        stem_channels=4,
        kernel_cfg=dict(kernel_net=dict(type=f'{kind}Net', hidden_channels=8)),
    )
    state, _ = convert_flexconv(case['state_dict'])
    net.load_state_dict(
        {k.removeprefix('backbone.'): v for k, v in state.items() if 'head' not in k}
    )
    return net


def layers(net):
    return {m: None for m in net.modules() if isinstance(m, KernelConv)}


@pytest.mark.parametrize('kind', ['MAG', 'Gabor'])
def test_values_and_gradients_of_the_original(original, kind):
    case = original['cases'][{'MAG': 'MAGNet', 'Gabor': 'Gabor'}[kind]]
    net = network(case, kind)
    compared = 0
    for (size, target, method, penalty, stddevs), expected in case['values'].items():
        method = method.replace('+mask', '')
        if isinstance(expected, str) or size < 2:
            continue
        loss = AliasingLoss(
            size,
            loss_weight=original['meta']['factor'],
            target=target,
            method=method,
            stddevs=stddevs,
            penalty=penalty,
            per_unit=False,
        )
        assert float(loss(layers(net)).detach()) == pytest.approx(expected, rel=1e-5)
        compared += 1
    assert compared >= 40
    for target, expected in case['grads_h17_s2_f0p1'].items():
        net.zero_grad()
        AliasingLoss(17, target=target, per_unit=False)(layers(net)).backward()
        grads, _ = convert_flexconv(expected)
        own = {f'backbone.{n}': p.grad for n, p in net.named_parameters()}
        for name, value in grads.items():
            found = own[name] if own[name] is not None else torch.zeros_like(value)
            assert torch.allclose(found, value, atol=1e-6), name


def test_per_unit_is_the_largest_sum(original):
    """Each unit and axis by itself: never more than the two maxima."""
    net = network(original['cases']['MAGNet'], 'MAG')
    for layer in layers(net):
        exact, _ = AliasingLoss(9).frequencies(layer.kernel)
        bound, _ = AliasingLoss(9, per_unit=False).frequencies(layer.kernel)
        assert (exact <= bound).all() and (exact < bound).any()
        for filter, value in zip(layer.kernel.net.filters, exact.tolist()):
            pairs = zip(
                filter.linear.weight.flatten().tolist(), filter.gamma.flatten().tolist()
            )
            sums = [(abs(w) + 2 * abs(g)) / (2 * torch.pi) for w, g in pairs]
            assert max(sums) == pytest.approx(value, rel=1e-5)


def test_size_of_each_kernel_by_default():
    torch.manual_seed(0)
    conv = FlexConv2d(2, 3, (9, 13))
    assert AliasingLoss()({conv: None}) == AliasingLoss(13)({conv: None})
    one_axis = FlexConv2d(2, 3, 9)
    one_axis.kernel = FlexKernel(2, 3, 9, 1)  # a mask of one axis
    assert AliasingLoss(target='gabor+mask')({one_axis: None}).isfinite()


def test_kernel_norm():
    torch.manual_seed(0)
    conv = FlexConv2d(2, 3, 9)
    kernel = conv.kernel()
    conv.bias.data.fill_(2.0)
    expected = 0.1 * (kernel.square().sum().sqrt() + 12**0.5)
    assert KernelNormLoss(0.1)({conv: kernel}).item() == pytest.approx(expected.item())


def test_parameter_norm():
    """As CCNN says: kernels, and all parameters outside of their networks."""
    torch.manual_seed(0)
    net = CCNN(2, 9, [3], kernel_cfg=dict(kernel_net=dict(hidden_channels=4)))
    kernels = {layer: layer.kernel() for layer in layers(net)}
    # mask, bias and 1x1 convolution of both layers; norms, linear
    others = [p for n, p in net.named_parameters() if '.kernel.net.' not in n]
    assert len(others) == 2 * 4 + 3 * 2 + 2
    norms = [v.square().sum().sqrt() for v in (*kernels.values(), *others)]
    loss = ParameterNormLoss(0.1)(kernels, net)
    assert_close(loss, 0.1 * sum(norms), 1e-6)
    loss.backward()
    assert all(p.grad.isfinite().all() for p in net.parameters())
    # plain weights are the kernel, and count once
    net = CCNN(2, 3, [3], kernel_cfg=dict(type='DenseKernel'))
    kernels = {layer: layer.kernel() for layer in layers(net)}
    total = sum(p.norm() for p in net.parameters())
    assert_close(ParameterNormLoss(0.1)(kernels, net), 0.1 * total, 1e-6)


def test_classifier_trains_on_all():
    init_default_scope('mmpretrain')
    torch.manual_seed(0)
    small = dict(kernel_net=dict(hidden_channels=4))
    model = MODELS.build(
        dict(
            type='smpconv_mm.KernelRegularizedClassifier',
            backbone=dict(
                type='smpconv_mm.FlexNet',
                kernel_size=5,
                channels=[4],
                stem_channels=4,
                kernel_cfg=small,
            ),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type='LinearClsHead', num_classes=3, in_channels=4),
            kernel_losses=[
                dict(type='smpconv_mm.AliasingLoss'),
                dict(type='smpconv_mm.KernelNormLoss', loss_weight=1e-5),
                dict(type='smpconv_mm.ParameterNormLoss', loss_weight=1e-5),
            ],
        )
    )
    made = []
    kernels = [m for m in model.modules() if isinstance(m, FlexKernel)]
    hooks = [k.register_forward_hook(lambda *a: made.append(1)) for k in kernels]
    losses = model.loss(
        torch.randn(2, 3, 5, 5), [DataSample().set_gt_label(i) for i in (0, 2)]
    )
    assert len(made) == len(hooks) == 3  # each once
    names = {'aliasing', 'kernel_norm', 'parameter_norm'}
    assert set(losses) == {'loss', *(f'loss_{name}' for name in names)}
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in model.parameters())
    assert not any(len(k._forward_hooks) > 1 for k in kernels)


def test_bad_arguments():
    for kwargs in (
        dict(target='mask'),
        dict(method='apart'),
        dict(penalty='l1'),
        dict(size=1),
    ):
        with pytest.raises(ValueError, match='must be'):
            AliasingLoss(**kwargs)
    with pytest.raises(ValueError, match='no FlexKernel made by'):
        AliasingLoss()({})
