import pytest
import torch
from structures import structure
from tolerances import assert_close

from smpconv_mm.apis.complexity import measure
from smpconv_mm.layers import OrientedConv2d, switch_to_deploy
from smpconv_mm.models import OrientedConvNeXt

# of the published classifiers, without the angles
PARAMETERS = {
    ('tiny', '2d'): 28_589_128,
    ('tiny', '1d'): 28_476_040,
    ('tiny', '1dpp'): 29_215_880,
    ('tiny', '2dpp'): 29_437_000,
    ('base', '2d'): 88_591_464,
    ('base', '1d'): 88_273_256,
    ('base', '1dpp'): 90_292_584,
    ('base', '2dpp'): 90_901_608,
}
# of the backbones of detectors, with the angles
BACKBONE = {
    ('tiny', '2d'): 27_821_472,
    ('tiny', '1d'): 27_659_840,
    ('tiny', '1dpp'): 28_255_680,
    ('tiny', '2dpp'): 28_474_656,
    ('base', '2d'): 87_568_256,
    ('base', '1d'): 87_157_632,
    ('base', '1dpp'): 88_911_232,
    ('base', '2dpp'): 89_508_224,
}
# multiply-adds of classifiers at 224 x 224 as the authors count, in 1e9: each number
# that a norm of a channels-last map returns counts 5
FLOPS = {
    ('tiny', '2d'): 4.466,
    ('tiny', '1d'): 4.480,
    ('tiny', '1dpp'): 4.695,
    ('tiny', '2dpp'): 4.732,
    ('base', '2d'): 15.378,
    ('base', '1d'): 15.348,
    ('base', '1dpp'): 15.836,
    ('base', '2dpp'): 15.957,
}
SMALL = dict(depths=[1, 2, 1, 1], channels=[8, 16, 16, 24])
VARIANTS = ['1d', '1dpp', '2d', '2dpp']


def small(variant='1dpp', **kwargs):
    torch.manual_seed(0)
    net = OrientedConvNeXt(SMALL, variant, stem_channels=8, **kwargs)
    net.init_weights()
    return net


@pytest.mark.parametrize('arch, variant', PARAMETERS)
def test_number_of_parameters(arch, variant):
    net = structure(OrientedConvNeXt, arch, variant)
    head = 1000 * (net.channels[-1] + 1)
    count = sum(p.numel() for p in net.parameters())
    assert count + head == PARAMETERS[arch, variant]


@pytest.mark.parametrize('arch, variant', FLOPS)
def test_number_of_operations(arch, variant):
    net = structure(OrientedConvNeXt, arch, variant)
    sides = (56, 28, 14, 7)
    blocks = zip(net.depths, net.channels, sides)
    normed = sum(depth * channels * side**2 for depth, channels, side in blocks)
    if variant.startswith('1d'):  # the stem is channels-last, too
        normed += 64 * (112**2 + 56**2) + net.channels[0] * 56**2
    head = 1000 * net.channels[-1]
    found = measure(net, (3, 224, 224)).total + head + 5 * normed
    assert round(found / 1e9, 3) == FLOPS[arch, variant]


@pytest.mark.parametrize('arch, variant', BACKBONE)
def test_number_of_parameters_for_larger_images(arch, variant):
    sides, maps = (56, 28, 14, 7), (0, 1, 2, 3)
    net = structure(
        OrientedConvNeXt, arch, variant, trained_sides=sides, out_indices=maps
    )
    angles = [b for name, b in net.named_buffers() if name.endswith('.angle')]
    count = sum(t.numel() for t in [*net.parameters(), *angles])
    assert count == BACKBONE[arch, variant]


@pytest.mark.parametrize('variant', VARIANTS)
@pytest.mark.parametrize('size', [(64, 64), (37, 50)])
def test_maps_of_any_size(variant, size):
    net = small(variant, out_indices=(0, 1, 2, 3), gap_before_final_norm=False)
    x = torch.randn(2, 3, *size)
    outs = net(x)
    assert [out.shape[:2] for out in outs] == [(2, c) for c in SMALL['channels']]
    sum(out.square().mean() for out in outs).backward()
    assert all(p.grad is not None for p in net.parameters())


def test_directions_turn_in_every_second_block():
    even, odd = small().stages[1]
    for layer in ('depthwise_conv', 'middle_conv'):
        a, b = (getattr(block, layer).kernel.angle for block in (even, odd))
        turned = (a + torch.pi / 2) % torch.pi
        assert torch.allclose(turned, b, atol=1e-6)


def test_weights_start_as_published():
    net = small(layer_scale_init_value=1.0)
    block = net.stages[1][0]
    for weight in (block.middle_conv.kernel.weight, block.pointwise_conv1.weight):
        assert 0.015 < weight.std() < 0.025
    assert all(
        (m.bias == 0).all() for m in net.modules() if isinstance(m, OrientedConv2d)
    )
    assert (block.gamma == 1).all()


@pytest.mark.parametrize('variant', VARIANTS)
def test_deploy_form_and_checkpointing(variant):
    x = torch.randn(1, 3, 48, 40)
    net = small(variant).eval()
    wanted = net(x)[0].detach()
    again = small(variant, with_cp=True).eval()
    again(x.clone().requires_grad_())[0].sum().backward()
    assert_close(again(x)[0], wanted, 1e-6)
    switch_to_deploy(net)
    assert_close(net(x)[0], wanted, 1e-4)
    if variant == '1d':
        program = torch.export.export(net, (x,))
        targets = {str(n.target) for n in program.graph.nodes}
        assert not any('smpconv_mm' in target for target in targets)


def test_frozen_stages_stay():
    net = small(frozen_stages=1)
    assert net.train() is net
    assert not any(p.requires_grad for p in net.downsample_layers[0].parameters())
    assert all(p.requires_grad for p in net.stages[1].parameters())


@pytest.mark.parametrize(
    'args, message',
    [
        (dict(variant='3d'), "one of 1d, 1dpp, 2d, 2dpp, got '3d'"),
        (dict(trained_sides=(56, 28)), 'each of 4 stages'),
    ],
)
def test_bad_arguments(args, message):
    with pytest.raises(ValueError, match=message):
        OrientedConvNeXt(SMALL, **args)
