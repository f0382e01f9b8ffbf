import pytest
import torch
from mmpretrain.models import LinearClsHead
from tolerances import assert_close

from smpconv_mm.layers import switch_to_deploy
from smpconv_mm.models import UniRepLKNet
from smpconv_mm.models.backbones.unireplknet import GlobalResponseNorm

SMALL = dict(
    channels=[8, 16, 16, 24],
    depths=[1, 1, 2, 1],
    kernel_sizes=[[3], [13], [13, 5], [7]],
)
# of the authors' classifiers with 1000 classes, in training and in deploy form
PARAMETERS = {
    'a': (4_649_060, 4_437_300),
    'f': (6_489_328, 6_235_216),
    'p': (11_080_520, 10_741_704),
    'n': (18_818_880, 18_318_560),
    't': (31_693_420, 31_037_980),
    's': (56_456_704, 55_645_984),
    'b': (99_089_416, 98_008_456),
    'l': (220_076_056, 218_454_616),
    'xl': (388_690_984, 386_529_064),
}


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize('deploy', [False, True])
@pytest.mark.parametrize('arch', PARAMETERS)
def test_number_of_parameters(arch, deploy):
    with torch.device('meta'):
        net = UniRepLKNet(arch, deploy=deploy)
        head = LinearClsHead(1000, net.channels[-1])
    assert count(net) + count(head) == PARAMETERS[arch][deploy]


@pytest.mark.parametrize('arch, entries', [('a', (626, 156)), ('t', (1116, 321))])
def test_entries_of_a_checkpoint(arch, entries):
    net = UniRepLKNet(arch)
    assert len(net.state_dict()) + 2 == entries[0]
    switch_to_deploy(net)
    assert len(net.state_dict()) + 2 == entries[1] and not [*net.buffers()]
    assert count(net) + 1000 * (net.channels[-1] + 1) == PARAMETERS[arch][1]


@pytest.mark.parametrize('size', [(64, 64), (33, 70)])
def test_maps_and_vectors(size):
    net = UniRepLKNet(SMALL, out_indices=range(4), gap_before_final_norm=False).eval()
    sides = [tuple(-(-side // 2 ** (i + 2)) for side in size) for i in range(4)]
    x = torch.randn(1, 3, *size)
    maps = net(x)
    assert [tuple(m.shape[2:]) for m in maps] == sides
    assert [m.shape[1] for m in maps] == SMALL['channels']
    net.gap_before_final_norm = True
    vectors = net(x)
    assert [tuple(v.shape) for v in vectors] == [(1, c) for c in SMALL['channels']]


def test_initial_values():
    net = UniRepLKNet('a')
    net.init_weights()
    for name, value in net.named_parameters():
        if value.ndim > 1 and name.endswith('weight'):
            assert float(value.std()) == pytest.approx(0.02, rel=0.15), name
        elif name.endswith('grn.gamma') or name.endswith(('.beta', 'bias')):
            assert not value.any(), name
        else:
            expected = 1e-6 if name.endswith('gamma') else 1
            assert value.eq(expected).all(), name


def test_depth_of_blocks_in_stochastic_depth():
    net = UniRepLKNet(SMALL, drop_path_rate=0.2)
    rates = [getattr(b.drop_path, 'drop_prob', 0) for s in net.stages for b in s]
    assert rates == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])


def test_frozen_stages():
    net = UniRepLKNet(SMALL, frozen_stages=2).train()
    frozen = {n for n, p in net.named_parameters() if not p.requires_grad}
    starts = ('downsample_layers.0', 'downsample_layers.1', 'stages.0', 'stages.1')
    assert frozen == {n for n, _ in net.named_parameters() if n.startswith(starts)}
    assert not net.stages[1][0].norm.training and net.stages[2][0].norm.training


def test_without_layer_scale():
    net = UniRepLKNet(SMALL, layer_scale_init_value=0).double().eval()
    assert not any(n.endswith('j.gamma') for n, _ in net.named_parameters())
    x = torch.randn(1, 3, 40, 40, dtype=torch.float64)
    expected = net(x)[0]
    switch_to_deploy(net)
    assert_close(net(x)[0], expected, 1e-12)


def test_other_norms_stay_in_training_form():
    net = UniRepLKNet(SMALL, norm_cfg=dict(type='GN', num_groups=2))
    before = [*net.state_dict()]
    with pytest.raises(TypeError, match='only a batch norm'):
        net.switch_to_deploy()
    assert [*net.state_dict()] == before and not net.deploy


@pytest.mark.parametrize(
    'arch, message',
    [
        ('tiny', "arch 'tiny' is unknown; choose one of a, f, p"),
        (dict(SMALL, widths=[1]), 'needs the keys'),
        (dict(SMALL, depths=[1, 1, 1, 1]), 'a kernel size for each block'),
        (dict(SMALL, channels=[8, 16, 16]), 'a kernel size for each block'),
        (dict(channels=[], depths=[], kernel_sizes=[]), 'at least one stage'),
        (dict(channels=[3], depths=[1], kernel_sizes=[[3]]), '4 channels'),
        (dict(channels=[8], depths=[1], kernel_sizes=[[4]]), 'must be odd, .* got 4'),
        (dict(channels=[8], depths=[1], kernel_sizes=[[19]]), 'to 17, got 19'),
    ],
)
def test_wrong_archs(arch, message):
    with pytest.raises(ValueError, match=message):
        UniRepLKNet(arch)


@pytest.mark.parametrize('argument', [dict(drop_path_rate=1), dict(frozen_stages=5)])
def test_wrong_arguments(argument):
    with pytest.raises(ValueError, match=next(iter(argument))):
        UniRepLKNet(SMALL, **argument)


def test_a_norm_of_half_precision_does_not_overflow():
    norm = GlobalResponseNorm(4).half()
    torch.nn.init.ones_(norm.gamma)
    x = torch.full((1, 400, 400, 4), 200.0).half()
    # all channels are of one size: each is doubled
    assert_close(norm(x), torch.full(x.shape, 400.0), 1e-3)


def test_the_gradient_of_an_empty_map_is_zero():
    norm = GlobalResponseNorm(3)
    torch.nn.init.ones_(norm.gamma)
    x = torch.zeros(1, 2, 2, 3, requires_grad=True)
    norm(x).sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))  # of the residual alone
