"""Every registered backbone is tested by existing."""

import io

import pytest
import torch
from kernels import FORMS, cfg_of
from mmcv.cnn.bricks import DropPath
from mmpretrain.models.backbones.base_backbone import BaseBackbone
from tolerances import assert_close
from torch import nn

from smpconv_mm.layers import (
    Involution2d,
    Kernel,
    KernelConv,
    resample,
    switch_to_deploy,
)
from smpconv_mm.registry import MODELS

FLEX = dict(mask_init=0.3, kernel_net=dict(hidden_channels=8, input_scale=4.0))
RESNET = dict(depth=26, base_channels=16, stem_channels=32)
# Small arguments and two input shapes for each backbone
SMALL = {
    'CCNN': (
        dict(
            kernel_size=9,
            channels=[6, 8],
            dropout=0.1,
            kernel_cfg=dict(
                mask_init=0.3, kernel_net=dict(hidden_channels=8, omega_0=0.2)
            ),
        ),
        [(2, 3, 9, 8), (1, 3, 7, 4)],
    ),
    'DCLSConvNeXt': (
        dict(
            arch=dict(channels=[8, 16, 16, 16], depths=[1, 2, 1, 1]),
            kernel_size=7,
            n_points=4,
            layer_scale_init_value=0.5,
        ),
        [(2, 3, 64, 64), (1, 3, 45, 70)],
    ),
    'OrientedConvNeXt': (
        dict(
            arch=dict(channels=[8, 16, 16, 16], depths=[1, 2, 1, 1]),
            variant='1dpp',
            stem_channels=8,
            layer_scale_init_value=0.5,
        ),
        [(2, 3, 64, 64), (1, 3, 45, 70)],
    ),
    'CIFARResNet': (dict(depth=20), [(2, 3, 32, 32), (1, 3, 19, 30)]),
    'FlexNet': (
        dict(kernel_size=9, channels=[6, 8], stem_channels=6, kernel_cfg=FLEX),
        [(2, 3, 9, 8), (1, 3, 7, 4)],
    ),
    'FlexTCN': (
        dict(in_channels=3, kernel_size=16, channels=[8, 8, 6], kernel_cfg=FLEX),
        [(2, 3, 16), (1, 3, 23)],
    ),
    'SMPNet': (
        dict(arch=dict(channels=[8, 16], depths=[1, 2], kernel_sizes=[13, 7])),
        [(2, 3, 32, 32), (1, 3, 45, 30)],
    ),
    'SMPTCN': (
        dict(in_channels=3, kernel_size=16, channels=[8, 8, 6], n_points=4, radius=0.3),
        [(2, 3, 16), (1, 3, 23)],
    ),
    'SMPResNet': (
        dict(kernel_size=7, channels=[6, 8], stem_channels=6, n_points=4, dropout=0.1),
        [(2, 3, 9, 8), (1, 3, 7, 4)],
    ),
    'UniRepLKNet': (
        dict(
            arch=dict(
                channels=[8, 16, 16],
                depths=[1, 2, 1],
                kernel_sizes=[[5], [13, 3], [7]],
            ),
            layer_scale_init_value=0.5,
        ),
        [(2, 3, 32, 32), (1, 3, 45, 30)],
    ),
    'RedNet': (dict(RESNET), [(2, 3, 64, 48), (1, 3, 37, 65)]),
    'CedNet': (dict(RESNET), [(2, 3, 64, 48), (1, 3, 37, 65)]),
}
# To be compiled, a block of each kind is enough.
STAGES = dict(num_stages=2, strides=(1, 2), dilations=(1, 1), out_indices=(0, 1))
SHALLOW = {
    'CCNN': dict(channels=[8]),
    'DCLSConvNeXt': dict(arch=dict(channels=[8, 16], depths=[1, 1]), out_indices=-1),
    'OrientedConvNeXt': dict(
        arch=dict(channels=[8, 16], depths=[1, 1]), out_indices=-1
    ),
    'SMPNet': dict(arch=dict(channels=[8, 16], depths=[1, 1], kernel_sizes=[13, 7])),
    'UniRepLKNet': dict(
        arch=dict(channels=[8, 16], depths=[1, 1], kernel_sizes=[[5], [13]])
    ),
    'RedNet': STAGES,
    'CedNet': STAGES,
    'FlexNet': dict(channels=[8]),
    'FlexTCN': dict(channels=[8, 6]),
    'SMPTCN': dict(channels=[8, 6]),
    'SMPResNet': dict(channels=[8]),
}
# Those that take kernel_cfg, and what their kernels are
TAKES_KERNELS = {
    'CCNN': (2, 'depthwise', False),
    'FlexNet': (2, 'dense', False),
    'FlexTCN': (1, 'dense', True),
    'SMPNet': (2, 'depthwise', False),
    'SMPTCN': (1, 'dense', True),
    'SMPResNet': (2, 'dense', False),
}
PAIRS = [
    (name, kernel)
    for name, form in TAKES_KERNELS.items()
    for kernel, *other in FORMS
    if tuple(other) == form
]
# those that have one form only, and another name for the share of dropped paths
RESNETS = ('RedNet', 'CedNet', 'CIFARResNet')
MODELS.import_from_location()
BACKBONES = [
    name
    for name, kind in MODELS.module_dict.items()
    if isinstance(kind, type) and issubclass(kind, BaseBackbone)
]


def test_every_backbone_has_small_arguments():
    assert sorted(SMALL) == sorted(BACKBONES)


def build(name, **kwargs):
    torch.manual_seed(0)
    cfg = {**SMALL[name][0], **kwargs}
    backbone = MODELS.build(dict(type=f'smpconv_mm.{name}', **cfg))
    backbone.init_weights()
    # norms and points away from their initial values
    for module in backbone.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
        if isinstance(module, Involution2d):
            # kernels grow with the input: with strange statistics it would explode
            next(module.conv2.parameters()).data *= 0.1
    return backbone


def inputs(name, index=0):
    return torch.randn(
        SMALL[name][1][index], generator=torch.Generator().manual_seed(index)
    )


@pytest.mark.parametrize('name', BACKBONES)
@pytest.mark.parametrize('index', [0, 1])
def test_forward(name, index):
    out = build(name).eval()(inputs(name, index))
    assert isinstance(out, tuple)
    assert all(torch.isfinite(x).all() for x in out)
    assert out[0].shape[0] == SMALL[name][1][index][0]


@pytest.mark.parametrize('name', BACKBONES)
def test_gradients_reach_every_parameter(name):
    backbone = build(name).train()
    out = backbone(inputs(name))
    sum((x * torch.randn_like(x)).sum() for x in out).backward()
    lacking = [n for n, p in backbone.named_parameters() if p.grad is None]
    assert not lacking
    zero = [n for n, p in backbone.named_parameters() if not p.grad.any()]
    assert not zero


@pytest.mark.parametrize('name', BACKBONES)
def test_state_dict_round_trip(name):
    one, two = (
        build(name).eval(),
        MODELS.build(dict(type=f'smpconv_mm.{name}', **SMALL[name][0])),
    )
    file = io.BytesIO()
    torch.save(one.state_dict(), file)
    file.seek(0)
    two.load_state_dict(torch.load(file, weights_only=True), strict=True)
    for a, b in zip(one(inputs(name)), two.eval()(inputs(name))):
        assert torch.equal(a, b)


@pytest.mark.parametrize('name', BACKBONES)
@pytest.mark.parametrize(
    'dtype, tolerance', [(torch.float32, 1e-4), (torch.float64, 1e-9)]
)
def test_deploy_form_is_equal(name, dtype, tolerance):
    backbone = build(name).to(dtype).eval()
    x = inputs(name).to(dtype)
    with torch.no_grad():
        expected = backbone(x)
        switch_to_deploy(backbone)
        for a, b in zip(backbone(x), expected):
            assert_close(a, b, tolerance)
        if name in RESNETS:
            return
        direct = MODELS.build(
            dict(type=f'smpconv_mm.{name}', **SMALL[name][0], deploy=True)
        ).to(dtype)
        direct.load_state_dict(backbone.state_dict(), strict=True)
        for a, b in zip(direct.eval()(x), expected):
            assert_close(a, b, tolerance)


@pytest.mark.parametrize('name, kernel', PAIRS)
def test_any_kernel(name, kernel):
    """Trains, deploys to plain convolutions, survives its state dict resampled."""
    cfg = cfg_of(kernel)
    backbone = build(name, kernel_cfg=cfg).double()
    kernels = [m for m in backbone.modules() if isinstance(m, Kernel)]
    assert len(kernels) >= 3 and {type(k).__name__ for k in kernels} == {kernel}
    for key, value in cfg.items():
        if isinstance(value, int):
            assert all(getattr(k, key) == value for k in kernels), key
    x = inputs(name).double()
    out = backbone(x)[-1]
    torch.manual_seed(1)
    (out * torch.randn_like(out)).sum().backward()
    assert all(p.grad.isfinite().all() for p in backbone.parameters())
    assert all(p.grad.any() for k in kernels for p in k.parameters())
    torch.optim.SGD(backbone.parameters(), lr=1e-3).step()
    for module in kernels:
        module.after_step()
    backbone.eval()
    with torch.no_grad():
        trained = backbone(x)[-1]
        other = build(name, kernel_cfg=cfg).double().eval()
        other.load_state_dict(backbone.state_dict())
        assert torch.equal(other(x)[-1], trained)
        resample(backbone, 1.5)
        expected = backbone(x)[-1]
        assert not torch.equal(expected, trained)
        resample(backbone, 1)
        assert torch.equal(backbone(x)[-1], trained)
        switch_to_deploy(backbone)
        assert not any(isinstance(m, Kernel) for m in backbone.modules())
        convs = [m for m in backbone.modules() if isinstance(m, KernelConv)]
        assert len(convs) == len(kernels) and all(c.bias is not None for c in convs)
        assert_close(backbone(x)[-1], trained, 1e-8)
        direct = MODELS.build(
            {
                'type': f'smpconv_mm.{name}',
                **SMALL[name][0],
                'kernel_cfg': cfg,
                'deploy': True,
            }
        ).double()
        direct.load_state_dict(backbone.state_dict())
        assert torch.equal(direct.eval()(x)[-1], backbone(x)[-1])


@pytest.mark.parametrize('name', BACKBONES)
def test_checkpointing_changes_nothing(name):
    grads = []
    for with_cp in (False, True):
        backbone = build(name, with_cp=with_cp).train()
        x = inputs(name).requires_grad_()
        torch.manual_seed(1)
        backbone(x)[-1].square().sum().backward()
        grads.append([x.grad, *(p.grad for p in backbone.parameters())])
    for a, b in zip(*grads):
        if b is not None:
            assert_close(a, b, 1e-5)


def gradients_of(backbone, call, x):
    """Outputs, and gradients that are more than rounding errors of zero."""
    backbone.zero_grad()
    out = call(x)
    torch.manual_seed(1)
    (out[-1] * torch.randn_like(out[-1])).sum().backward()
    grads = {n: p.grad.clone() for n, p in backbone.named_parameters()}
    largest = max(g.abs().max() for g in grads.values())
    return out, {n: g for n, g in grads.items() if g.abs().max() > 1e-5 * largest}


def compile_whole(backbone, x, backend):
    """Compile in one graph and compare with the same without."""
    torch._dynamo.reset()
    expected, grads = gradients_of(backbone, backbone, x)
    compiled = torch.compile(backbone, fullgraph=True, backend=backend)
    found, ours = gradients_of(backbone, compiled, x)
    for a, b in zip(found, expected):
        assert_close(a, b, 1e-4)
    assert len(grads) > len(list(backbone.parameters())) / 2
    for name in grads:
        assert_close(ours[name], grads[name], 1e-3, name)
    return compiled


@pytest.mark.parametrize(
    'form, name',
    [
        (form, name)
        for form in ('train', 'eval', 'deploy')
        for name in BACKBONES
        if form != 'deploy' or name not in RESNETS
    ],
)
def test_compile_has_no_graph_break(form, name):
    backbone = build(name, **SHALLOW.get(name, {})).train(form == 'train')
    for module in backbone.modules():  # the same numbers in every call
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
        elif isinstance(module, DropPath):
            module.drop_prob = 0.0
    if form == 'deploy':
        switch_to_deploy(backbone)
    x = inputs(name)
    # the graph of gradients is that of training in every form
    compiled = compile_whole(backbone, x, 'aot_eager' if form == 'train' else 'eager')
    with torch.no_grad():
        backbone(x)
        for a, b in zip(compiled(x), backbone(x)):
            assert_close(a, b, 1e-4)
    torch._dynamo.reset()


def test_inductor():
    """The default backend of torch.compile."""
    arch = dict(channels=[8], depths=[1], kernel_sizes=[13])
    backbone = build('SMPNet', arch=arch, drop_path_rate=0.0).train()
    compile_whole(backbone, inputs('SMPNet'), 'inductor')
    torch._dynamo.reset()


@pytest.mark.parametrize('name', BACKBONES)
def test_resolves_from_every_scope(name):
    from mmengine.registry import MODELS as ROOT
    from mmpretrain.registry import MODELS as MMPRETRAIN

    for registry in (ROOT, MMPRETRAIN):
        backbone = registry.build(dict(type=f'smpconv_mm.{name}', **SMALL[name][0]))
        assert type(backbone).__name__ == name
