"""Sizes of RedNet and CedNet, as published."""

import pytest
from structures import structure
from torch import nn

from smpconv_mm.apis.complexity import measure
from smpconv_mm.layers import CVolution2d
from smpconv_mm.models import CedNet, RedNet

# of classifiers with 1000 classes: network, depth, side of the stem's kernels,
# parameters, and multiply-adds at 224 x 224 of convolutions, involutions and the head
SIZES = [
    (RedNet, 26, 3, 9_233_166, 1.685),
    (RedNet, 38, 3, 12_386_986, 2.167),
    (RedNet, 50, 3, 15_540_806, 2.649),
    (RedNet, 101, 3, 25_652_950, 4.659),
    (RedNet, 152, 3, 33_984_582, 6.679),
    (RedNet, 26, 7, 9_233_886, 1.709),
    (RedNet, 38, 7, 12_387_706, 2.191),
    (RedNet, 50, 7, 15_541_526, 2.673),
    (RedNet, 101, 7, 25_653_670, 4.683),
    (RedNet, 152, 7, 33_985_302, 6.703),
    (CedNet, 26, 7, 9_550_582, 1.889),
    (CedNet, 38, 7, 12_900_482, 2.418),
    (CedNet, 50, 7, 16_250_382, 2.948),
    (CedNet, 101, 7, 26_990_302, 5.161),
    (CedNet, 152, 7, 35_838_990, 7.375),
]


class Classifier(nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.backbone, self.fc = backbone, nn.Linear(2048, 1000)

    def forward(self, x):
        return self.fc(self.backbone(x)[-1].mean((2, 3)))


@pytest.mark.parametrize('network, depth, stem, parameters, operations', SIZES)
def test_sizes(network, depth, stem, parameters, operations):
    net = structure(lambda: Classifier(network(depth, stem_kernel_size=stem)))
    assert sum(p.numel() for p in net.parameters()) == parameters
    saved = []

    def count(layer, args, output):
        """A gate's convolution, which is computed from means: what that saves."""
        height, width = (side + layer.kernel_size - 3 for side in args[0].shape[2:])
        weight = layer.conv_q.weight
        saved.append(weight.numel() * height * width - weight[..., 0, 0].numel())

    for module in net.modules():
        if isinstance(module, CVolution2d):
            module.register_forward_hook(count)
    cost = measure(net, (3, 224, 224))
    extra = sum(saved) // 2  # the network was called twice
    assert round((cost.total + extra) / 1e9, 3) == operations
