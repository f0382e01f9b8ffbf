import copy

import pytest
import torch

from smpconv_mm.layers import switch_to_deploy
from smpconv_mm.models import DCLSConvNeXt

SMALL = dict(depths=[1, 2, 1, 1], channels=[8, 16, 16, 24])
# of the published classifiers; of those, of positions
PARAMETERS = {
    ('tiny', 34): (28_587_688, 97_920),
    ('small', 40): (50_217_064, 115_200),
    ('base', 40): (88_582_632, 153_600),
}


@pytest.mark.parametrize('arch, n_points', PARAMETERS)
def test_number_of_parameters(arch, n_points):
    net = DCLSConvNeXt(arch, n_points=n_points)
    head = 1000 * (net.channels[-1] + 1)
    named = dict(net.named_parameters())
    positions = sum(p.numel() for n, p in named.items() if n.endswith('.position'))
    count = sum(p.numel() for p in named.values()) + head
    assert (count, positions) == PARAMETERS[arch, n_points]


def test_positions_are_shared_by_a_stage():
    net = DCLSConvNeXt(SMALL, version='gauss', kernel_size=9, n_points=5)
    loaded = DCLSConvNeXt(SMALL, version='gauss', kernel_size=9, n_points=5)
    loaded.load_state_dict(net.state_dict())
    for network in (net, loaded, copy.deepcopy(net)):
        first, second = (b.depthwise_conv.kernel for b in network.stages[1])
        assert first.position is second.position and first.width is second.width
        assert first.weight is not second.weight
    switch_to_deploy(net)
    assert not any('position' in name for name, _ in net.named_parameters())


def test_positions_of_each_block():
    net = DCLSConvNeXt(SMALL, share_positions=False)
    first, second = (b.depthwise_conv.kernel for b in net.stages[1])
    assert not torch.equal(first.position, second.position)


def test_even_kernels_are_refused():
    with pytest.raises(ValueError, match='odd, got 16'):
        DCLSConvNeXt(SMALL, kernel_size=16)
