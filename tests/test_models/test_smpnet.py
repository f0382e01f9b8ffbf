import pytest
import torch
from mmengine.registry import Registry
from torch import nn

from smpconv_mm.layers import SMPConv2d, SMPKernel, switch_to_deploy
from smpconv_mm.models import SMPNet

ARCH = dict(channels=[8, 16, 24], depths=[1, 1, 2], kernel_sizes=[9, 7, 5])


@pytest.mark.parametrize(
    'arch, parameters, tensors, coord, radius, weights',
    [
        # of the paper's networks without the head (769,000 and 1,025,000)
        ('tiny', 25_936_248, 368, 4_880, 2_440, 750_336),
        ('base', 78_521_520, 656, 9_248, 4_624, 2_118_656),
    ],
)
def test_published_sizes(arch, parameters, tensors, coord, radius, weights):
    net = SMPNet(arch)
    assert sum(p.numel() for p in net.parameters()) == parameters
    assert len(list(net.parameters())) == tensors
    kernels = [m for m in net.modules() if isinstance(m, SMPKernel)]
    assert sum(k.coord.numel() for k in kernels) == coord
    assert sum(k.radius.numel() for k in kernels) == radius
    assert sum(k.weight.numel() for k in kernels) == weights
    points = dict(zip(net.channels, [240, 210, 182, 42]))
    for kernel in kernels:
        side = kernel.kernel_size[0]
        assert kernel.n_points == points[kernel.out_channels]
        assert kernel.radius.unique().item() == pytest.approx(4 / side)
        assert kernel.radius_range == (1e-3, 1.0)


def test_published_initialisation():
    torch.manual_seed(0)
    net = SMPNet('tiny')
    points = {n: p.clone() for n, p in net.named_parameters() if '.kernel.' in n}
    net.init_weights()
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d):
            assert abs(float(module.weight.std()) - 0.02) < 0.003, name
    for name, parameter in net.named_parameters():
        if name in points:
            assert torch.equal(parameter, points[name])


def test_drop_path_grows_with_depth():
    from mmcv.cnn.bricks import DropPath

    rates = [
        m.drop_prob
        for m in SMPNet('tiny', drop_path_rate=0.1).modules()
        if isinstance(m, DropPath)
    ]
    # 14 pairs, both members of one rate; the first has none
    expected = [0.1 * i / 13 for i in range(1, 14) for _ in range(2)]
    assert rates == pytest.approx(expected)
    assert not any(
        isinstance(m, DropPath) for m in SMPNet(ARCH, drop_path_rate=0).modules()
    )


def test_out_indices():
    net = SMPNet(ARCH, out_indices=(0, 1, 2)).eval()
    x = torch.randn(1, 3, 64, 48)
    outs = net(x)
    assert [tuple(o.shape) for o in outs] == [
        (1, 8, 16, 12),
        (1, 16, 8, 6),
        (1, 24, 4, 3),
    ]
    last = SMPNet(ARCH, out_indices=-1)
    assert last.out_indices == (2,)
    last.load_state_dict(net.state_dict(), strict=False)
    assert torch.equal(last.eval()(x)[0], outs[-1])
    plain = SMPNet(ARCH, out_indices=(0, 1, 2), out_norm=False)
    assert not [n for n, _ in plain.named_parameters() if n.startswith('norm')]


@pytest.mark.parametrize('size', [(1, 1), (7, 5), (33, 18), (31, 64)])
def test_any_input_size(size):
    outs = SMPNet(ARCH, out_indices=(0, 1, 2)).eval()(torch.randn(2, 3, *size))
    h, w = size
    for i, out in enumerate(outs):
        stride = 2 ** (i + 2)
        assert out.shape[2:] == (-(-h // stride), -(-w // stride))


@pytest.mark.parametrize('frozen', [-1, 0, 1, 3])
def test_frozen_stages(frozen):
    net = SMPNet(ARCH, frozen_stages=frozen, out_indices=(0, 1, 2)).train()

    def state(prefix):
        part = net.get_submodule(prefix)
        return (
            any(m.training for m in part.modules()),
            any(p.requires_grad for p in part.parameters()),
        )

    assert state('stem') == ((True, True) if frozen < 0 else (False, False))
    for i in range(3):
        assert state(f'stages.{i}') == ((False, False) if i < frozen else (True, True))
    for i in range(2):  # transition i leads to stage i + 1
        assert state(f'transitions.{i}') == (
            (False, False) if i + 1 < frozen else (True, True)
        )


def test_norm_eval():
    net = SMPNet(ARCH, norm_eval=True).train()
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms and not any(m.training for m in norms)
    assert net.training


def test_norm_cfg():
    net = SMPNet(ARCH, norm_cfg=dict(type='SyncBN'))
    norms = [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert norms and all(isinstance(m, nn.SyncBatchNorm) for m in norms)
    assert all(m.eps == 1e-5 and m.momentum == 0.1 for m in norms)
    # no global switch: the next network is not affected
    assert not any(isinstance(m, nn.SyncBatchNorm) for m in SMPNet(ARCH).modules())


def test_deploy_form_has_plain_convolutions_only():
    net = switch_to_deploy(SMPNet(ARCH, out_norm=False))
    kinds = {type(m) for m in net.modules() if not list(m.children())}
    assert kinds <= {nn.Conv2d, SMPConv2d, nn.ReLU, nn.GELU, nn.Identity}
    assert not any(isinstance(m, SMPKernel) for m in net.modules())
    large = [m for m in net.modules() if isinstance(m, SMPConv2d)]
    assert len(large) == 4 and all(m.bias is not None for m in large)


def test_deploy_refuses_other_norms_untouched():
    net = SMPNet(ARCH, norm_cfg=dict(type='GN', num_groups=2))
    before = {k: v.clone() for k, v in net.state_dict().items()}
    with pytest.raises(TypeError, match='GroupNorm'):
        net.switch_to_deploy()
    after = net.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[k], before[k]) for k in before)


def test_exports_as_plain_operations():
    net = switch_to_deploy(SMPNet(ARCH))
    program = torch.export.export(net, (torch.randn(1, 3, 32, 32),))
    out = program.module()(torch.ones(1, 3, 32, 32))
    torch.testing.assert_close(out[0], net(torch.ones(1, 3, 32, 32))[0])


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (
            dict(arch='huge'),
            r"arch 'huge' is unknown; choose one of \['base', 'tiny'\]",
        ),
        (dict(arch=dict(channels=[8])), r"needs the keys.*got \['channels'\]"),
        (dict(arch=dict(ARCH, width=3)), r"got \[.*'width'\]"),
        (dict(arch=dict(ARCH, depths=[1, 1])), "'depths': 2"),
        (dict(arch=dict(ARCH, depths=[1, 0, 1])), r"arch\['depths'\].*\[1, 0, 1\]"),
        (dict(arch=dict(ARCH, kernel_sizes=[9, 8, 7])), r'odd.*\[9, 8, 7\]'),
        (dict(arch=dict(ARCH, kernel_sizes=[9, 7, 3])), 'small_kernel_size=5'),
        (dict(arch=dict(ARCH, n_points=[0, 1, 1])), r"arch\['n_points'\].*\[0, 1, 1\]"),
        (dict(arch=dict(ARCH, n_points=[4, 4])), "'n_points': 2"),
        (dict(out_indices=(4,)), r'0\.\.3, got \(4,\)'),
        (dict(out_indices=()), r'got \(\)'),
        (dict(frozen_stages=5), r'frozen_stages must lie in -1\.\.4.*got 5'),
        (dict(drop_path_rate=1.5), r'drop_path_rate must lie in \[0, 1\), got 1.5'),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        SMPNet(**kwargs)


def test_unknown_key_in_a_config():
    with pytest.raises(TypeError, match='SMPNet.*n_pts'):
        from smpconv_mm.registry import MODELS

        assert isinstance(MODELS, Registry)
        MODELS.build(dict(type='smpconv_mm.SMPNet', n_pts=3))


@pytest.mark.parametrize(
    'shape', [(1, 4, 32, 32), (3, 32, 32), (0, 3, 32, 32), (1, 3, 0, 8)]
)
@pytest.mark.parametrize('training', [True, False])
def test_bad_input(shape, training):
    with pytest.raises(ValueError, match=r'\(N, 3, H, W\)') as info:
        SMPNet(ARCH).train(training)(torch.randn(shape))
    assert str(shape) in str(info.value)


def test_kernel_cfg_reaches_every_kernel():
    options = dict(learn_radius=False, clip_coord=True, radius_range=(0.01, 0.9))
    net = SMPNet(arch='tiny', kernel_cfg=options)
    kernels = [m for m in net.modules() if isinstance(m, SMPKernel)]
    assert len(kernels) == 14
    for kernel in kernels:
        assert kernel.clip_coord and kernel.radius_range == (0.01, 0.9)
        assert kernel.coord.requires_grad and not kernel.radius.requires_grad
