"""The network of CCNN, against the original program."""

from pathlib import Path

import pytest
import torch
from mmengine.registry import init_default_scope
from mmpretrain.structures import DataSample
from tolerances import assert_close
from torch import nn

from smpconv_mm.convert import convert_ccnn
from smpconv_mm.layers import KernelConv, resample, switch_to_deploy
from smpconv_mm.models import CCNN, BinaryClsHead
from smpconv_mm.registry import MODELS

GOLDEN = Path(__file__).parents[1] / 'golden/ccnn'
FOUR, SIX = [140] * 4, [380] * 6


def net_of(hidden):
    return dict(kernel_net=dict(hidden_channels=hidden))


@pytest.mark.parametrize(
    'ndim, in_channels, classes, four, six, six_with_32',
    [
        (1, 1, 10, 198_769, 1_993_091, 1_851_331),
        (1, 3, 10, 199_117, 1_993_983, 1_852_159),
        (1, 20, 10, 202_075, 2_001_565, 1_859_197),
        (1, 1, 1, 197_500, 1_989_662, 1_847_902),
        (2, 3, 10, 201_042, 1_999_366, 1_854_854),
        (2, 3, 100, 213_732, 2_033_656, 1_889_144),
        (2, 1, 10, 200_694, 1_998_474, 1_854_026),
        (2, 1, 1, 199_425, 1_995_045, 1_850_597),
    ],
)
def test_parameters(ndim, in_channels, classes, four, six, six_with_32):
    for channels, hidden, expected in (
        (FOUR, 32, four),
        (SIX, 64, six),
        (SIX, 32, six_with_32),
    ):
        net = CCNN(in_channels, 33, channels, ndim=ndim, kernel_cfg=net_of(hidden))
        features = channels[-1]
        found = sum(p.numel() for p in net.parameters()) + classes * (features + 1)
        assert found == expected


class Classifier(nn.Module):
    """With the names that converted weights have."""

    def __init__(self, backbone, classes):
        super().__init__()
        self.backbone = backbone
        self.head = nn.Module()
        self.head.fc = nn.Linear(backbone.channels[-1], classes)

    def forward(self, x):
        return self.head.fc(self.backbone(x)[-1].flatten(2).mean(2))


def check(model, golden, state, grads, tolerance):
    """Output and all gradients, and the same in deploy form."""
    model.load_state_dict(state)
    x = golden['x'].to(next(model.parameters()).dtype).requires_grad_()
    out = model(x)
    assert_close(out, golden['y'], tolerance)
    (out * golden['cotangent'].to(x)).sum().backward()
    assert_close(x.grad, golden['grad_x'], tolerance)
    own = {n: p.grad for n, p in model.named_parameters()}
    assert set(own) == set(grads)
    for key, value in grads.items():
        assert_close(own[key], value, 10 * tolerance, key)
    switch_to_deploy(model)
    assert all(m.kernel is None for m in model.modules() if isinstance(m, KernelConv))
    assert_close(model(x), golden['y'], tolerance)


PRECISION = pytest.mark.parametrize(
    'dtype, tolerance', [(torch.float32, 1e-5), (torch.float64, 1e-13)], ids=str
)


@PRECISION
def test_original_network(dtype, tolerance):
    golden = torch.load(GOLDEN / 'ccnn2_8_1d.pt', weights_only=True)
    state, report = convert_ccnn(golden['state_dict'])
    assert len(report.renamed) + len(report.dropped) == len(golden['state_dict'])
    net = CCNN(3, 64, [8, 8], ndim=1, kernel_cfg=net_of(8))
    grads, _ = convert_ccnn(golden['grads'])
    check(Classifier(net, 5).to(dtype).eval(), golden, state, grads, tolerance)


@PRECISION
def test_original_block(dtype, tolerance):
    golden = torch.load(GOLDEN / 'block1d_s4_prenorm.pt', weights_only=True)
    parts = [
        {f'blocks.0.{k}': v for k, v in golden[part].items()}
        for part in ('state_dict', 'grads')
    ]
    state, grads = (convert_ccnn(part)[0] for part in parts)
    net = CCNN(3, 40, [8], ndim=1, kernel_cfg=net_of(16))

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = nn.Module()
            self.backbone.blocks = net.blocks

        def forward(self, x):
            return self.backbone.blocks[0](x)

    check(Block().to(dtype).eval(), golden, state, grads, tolerance)


def test_initial_outputs_do_not_grow_with_the_kernel():
    """Depthwise outputs of CCNN-4,140 for noise, as the original's."""
    torch.manual_seed(0)
    x = torch.randn(4, 140, 784)
    net = CCNN(1, 784, FOUR, ndim=1, kernel_cfg=dict(kernel_net=dict(omega_0=2976.0)))
    net.init_weights()
    out = [block.conv.depthwise_conv(x).std().item() for block in net.blocks]
    assert sum(out) / 4 == pytest.approx(0.6, rel=0.15)
    weight = net.blocks[0].linear.conv.weight
    assert weight.std().item() == pytest.approx((2 / 140) ** 0.5, rel=0.05)


def test_past_alone_decides():
    torch.manual_seed(0)
    net = CCNN(2, 12, [4, 4], ndim=1, kernel_cfg=net_of(4)).eval()
    x = torch.randn(1, 2, 15)
    changed = torch.cat([x[..., :9], torch.randn(1, 2, 6)], dim=2)
    before, after = net(x)[0], net(changed)[0]
    assert torch.equal(before[..., :9], after[..., :9])
    assert not torch.equal(before, after)


@pytest.mark.parametrize('ndim', [1, 2])
def test_dropout(ndim):
    """Whole channels, or single values."""
    x = torch.ones(64, 8, *(16, 4)[:ndim])
    for whole in (True, False):
        net = CCNN(8, 5, [8], ndim=ndim, dropout=0.25, drop_channels=whole)
        dropped = (net.blocks[0].dropout(x) == 0).flatten(2)
        assert dropped.float().mean().item() == pytest.approx(0.25, abs=0.06)
        of_channel = dropped.float().mean(2)
        assert bool(((of_channel == 0) | (of_channel == 1)).all()) == whole
    net = CCNN(8, 5, [8], ndim=ndim, input_dropout=0.25)
    seen = []
    net.stem.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    net(x)
    assert (seen[0] == 0).float().mean().item() == pytest.approx(0.25, abs=0.05)


def test_other_resolution():
    """A smooth network is nearly the same function of an image of twice the size."""
    torch.manual_seed(0)
    kernel = dict(mask_init=0.3, kernel_net=dict(hidden_channels=8, omega_0=0.02))
    net = CCNN(2, 17, [6, 6], kernel_cfg=kernel).double().eval()
    place = torch.linspace(-1, 1, 33, dtype=torch.float64)
    wave = torch.cos(2 * place)
    image = torch.stack([wave[:, None] * wave, wave[:, None].expand(33, 33)])[None]
    small = net(image[..., ::2, ::2])[0]
    resample(net, 2)
    large = net(image)[0][..., ::2, ::2]
    middle = (..., slice(4, -4), slice(4, -4))
    assert_close(large[middle], small[middle], 0.1)


def test_binary_head():
    init_default_scope('mmpretrain')
    torch.manual_seed(0)
    head = MODELS.build(dict(type='smpconv_mm.BinaryClsHead', in_channels=6))
    assert isinstance(head, BinaryClsHead) and head.num_classes == 2
    features = (torch.randn(3, 6),)
    samples = [DataSample().set_gt_label(label) for label in (1, 0, 1)]
    score = head(features)
    assert score.shape == (3, 1)
    p = score[:, 0].sigmoid()
    expected = -torch.stack([p[0], 1 - p[1], p[2]]).log().mean()
    assert_close(head.loss(features, samples)['loss'], expected, 1e-6)
    for given in (samples, None):
        found = head.predict(features, given)
        for one, sample in zip(p, found):
            assert_close(sample.pred_score, torch.stack([1 - one, one]), 1e-6)
            assert sample.pred_label.item() == int(one > 0.5)
    assert found[0].get('gt_label') is None


@pytest.mark.parametrize(
    'arguments, message',
    [
        (dict(channels=[]), 'channels must be positive'),
        (dict(channels=[4, 0]), 'channels must be positive'),
        (dict(ndim=3), 'ndim must be 1'),
        (dict(kernel_size=32), 'kernel_size must be odd for images, got 32'),
        (dict(dropout=1.0), r'dropout must lie in \[0, 1\)'),
        (dict(input_dropout=-0.1), 'input_dropout must lie in'),
        (dict(out_indices=4), 'out_indices must name'),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        CCNN(**arguments)
    assert len(CCNN(out_indices=(0, -1))(torch.randn(1, 3, 8, 8))) == 2


def test_norm_that_cannot_be_folded():
    net = CCNN(channels=[4], norm_cfg=dict(type='GN', num_groups=2))
    with pytest.raises(TypeError, match='only a batch norm'):
        switch_to_deploy(net)
    assert net.stem.depthwise_conv.kernel is not None  # nothing was changed
