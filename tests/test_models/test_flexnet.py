"""The networks of FlexConv and CKConv, against the original programs."""

from pathlib import Path

import pytest
import torch
from original_weights import hashed
from tolerances import assert_close
from torch import nn

from smpconv_mm.convert.flexconv import convert_flexconv
from smpconv_mm.models import CIFARResNet, FlexNet, FlexTCN

GOLDEN = Path(__file__).parents[1] / 'golden/flexconv'
SEVEN = dict(channels=[24, 24, 36, 36, 36, 48, 48], stem_channels=24)
FIVE = dict(channels=[22, 33, 33, 44, 44], stem_channels=22)
THREE = dict(channels=[24, 36, 48], stem_channels=24)
WIDE = dict(channels=[38, 38, 57, 57, 57, 76, 76], stem_channels=38)
SIREN = dict(kernel_net=dict(type='SIREN'))
CK_SIREN = dict(
    type='CKKernel',
    kernel_net=dict(type='SIREN', weight_norm=True, bias_init='uniform'),
)
LAYER_NORM = dict(type='GN', num_groups=1, eps=1e-12)


def count(backbone, classes):
    """With a linear head."""
    features = backbone.channels[-1]
    return sum(p.numel() for p in backbone.parameters()) + classes * (features + 1)


@pytest.mark.parametrize(
    'args, classes, expected',
    [
        (SEVEN, 10, 671_650),
        (SEVEN, 100, 676_060),
        (dict(SEVEN, in_channels=1, kernel_size=29), 10, 670_066),
        (FIVE, 10, 454_046),
        (FIVE, 1000, 498_596),
        (THREE, 10, 277_090),
        (dict(SEVEN, kernel_cfg=dict(type='CKKernel')), 10, 671_590),
        (dict(SEVEN, kernel_cfg=dict(SIREN, type='CKKernel')), 10, 627_910),
        (dict(SEVEN, kernel_cfg=SIREN), 10, 627_970),
        (dict(SEVEN, kernel_cfg=dict(kernel_net=dict(type='GaborNet'))), 10, 669_730),
        (dict(SEVEN, kernel_cfg=dict(kernel_net=dict(type='FourierNet'))), 10, 663_970),
        (dict(SEVEN, kernel_cfg=dict(type='DenseKernel')), 10, 19_998_790),
        (
            dict(SEVEN, kernel_size=3, kernel_cfg=dict(type='DenseKernel')),
            10,
            169_990,
        ),
        (
            dict(WIDE, kernel_cfg=dict(type='NJetKernel'), conv_bias=False),
            10,
            698_503,
        ),
    ],
)
def test_parameters_of_image_networks(args, classes, expected):
    assert count(FlexNet(**args), classes) == expected


@pytest.mark.parametrize(
    'args, classes, expected',
    [
        *(
            (dict(in_channels=channels, channels=[30] * blocks), classes, expected)
            for channels, classes, row in [
                (1, 10, (105_548, 239_436, 373_324)),
                (3, 10, (107_588, 241_476, 375_364)),
                (96, 10, (202_448, 336_336, 470_224)),
                (20, 10, (124_928, 258_816, 392_704)),
                (3, 20, (107_898, 241_786, 375_674)),
            ]
            for blocks, expected in zip((2, 4, 6), row)
        ),
        (dict(kernel_cfg=SIREN), 10, 342_604),
        (dict(kernel_cfg=dict(kernel_net=dict(type='FourierNet'))), 10, 370_252),
        (
            dict(
                channels=[30] * 2,
                kernel_cfg=dict(type='CKKernel', kernel_net=dict(type='GaborNet')),
            ),
            10,
            105_540,
        ),
        *(
            (
                dict(
                    in_channels=channels,
                    channels=[width] * 2,
                    kernel_cfg=CK_SIREN,
                    norm_cfg=LAYER_NORM,
                ),
                classes,
                expected,
            )
            for channels, width, classes, expected in [
                (1, 30, 10, 98_286),
                (1, 100, 10, 1_030_546),
                (3, 30, 10, 100_386),
                (3, 30, 20, 100_696),
                (20, 30, 10, 118_236),
            ]
        ),
    ],
)
def test_parameters_of_sequence_networks(args, classes, expected):
    assert count(FlexTCN(**args), classes) == expected


@pytest.mark.parametrize(
    'depth, expected',
    [(20, 269_722), (32, 464_154), (44, 658_586), (56, 853_018), (110, 1_727_962)],
)
def test_parameters_of_the_baseline(depth, expected):
    net = CIFARResNet(depth)
    assert sum(p.numel() for p in net.parameters()) + 10 * 65 == expected


def test_shortcut_without_weights():
    net = CIFARResNet(20)
    x = torch.randn(2, 16, 7, 6)
    out = net.layer2[0].downsample(x)
    assert out.shape == (2, 32, 4, 3)
    assert torch.equal(out[:, 8:24], x[..., ::2, ::2])
    assert not out[:, :8].any() and not out[:, 24:].any()


def test_original_sequence_resnet():
    golden = torch.load(GOLDEN / 'seqresnet2_flexconv.pt', weights_only=True)
    state, report = convert_flexconv(golden['state_dict'])
    assert len(report.renamed) + len(report.dropped) == len(golden['state_dict'])

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = FlexNet(2, 200, [8, 8], 8, ndim=1, dropout=0.1)
            self.head = nn.Module()
            self.head.fc = nn.Linear(8, 5)

        def forward(self, x):
            return self.head.fc(self.backbone(x)[0][..., -1])

    net = Net().eval()
    net.load_state_dict(state)
    assert sum(p.numel() for p in net.parameters()) == golden['meta']['params']
    shapes = {
        'cconv1': net.backbone.stem[0],
        **{
            f'blocks.{i}.cconv{n}': getattr(block, f'conv{n}')
            for i, block in enumerate(net.backbone.blocks)
            for n in (1, 2)
        },
    }
    for name, layer in shapes.items():
        assert layer.smp.conv.make_kernel().shape == golden['kernel_shapes'][name]
    assert_close(net(golden['input']), golden['output'], 1e-5)
    net.double()
    x = golden['input'].double().requires_grad_()
    out = net(x)
    assert_close(out, golden['output64'], 1e-10)
    (out * hashed('R:seqresnet2_flexconv', out.shape)).sum().backward()
    assert x.grad.abs().sum() == pytest.approx(golden['grad_input64_abs_sum'], 1e-10)
    # names of ours, by the order in which rename() keeps them
    norms = golden['grad_norms64']
    old_names = {new: old for old, new in report.renamed.items()}
    for name, parameter in net.named_parameters():
        expected = norms[old_names[name]]
        assert float(parameter.grad.norm()) == pytest.approx(expected, 1e-8), name


def test_published_seed_gives_the_original_start():
    """Bit by bit the original's draws: the regulariser's values show it."""
    torch.manual_seed(0)
    net = FlexNet(**SEVEN)
    total = 0.0
    for kernel in net.modules():
        if not hasattr(kernel, 'mask_params'):
            continue
        for filter in kernel.net.filters:
            sine = filter.linear.weight.detach().abs().max()
            gaussian = 2 * filter.gamma.detach().abs().max()
            excess = (sine + gaussian) / (2 * torch.pi) - 4 / 4
            total += float(excess.clamp(min=0) ** 2)
    assert 0.1 * total == pytest.approx(841.285, abs=2e-3)


def test_bad_arguments():
    with pytest.raises(ValueError, match='input_dropout must lie in'):
        FlexTCN(input_dropout=1.0)
    with pytest.raises(ValueError, match='kernel sides must be odd unless causal'):
        FlexNet(kernel_size=32)
    with pytest.raises(ValueError, match='cannot be causal'):
        FlexTCN(kernel_cfg=dict(type='NJetKernel'))
