"""SMPTCN and SMPResNet: what the common tests of backbones do not say."""

import copy

import pytest
import torch
import torch.nn.functional as F
from tolerances import assert_close
from torch import nn

from smpconv_mm.datasets import Digits
from smpconv_mm.layers import CausalConv1d, SMPKernel, resample, switch_to_deploy
from smpconv_mm.models import SMPTCN, LastTimeStep, SMPResNet
from smpconv_mm.models.backbones.large_kernel import LargeKernelConv

TCN = dict(in_channels=2, kernel_size=24, channels=[6, 6, 8], n_points=5, radius=0.2)
RESNET = dict(kernel_size=9, channels=[6, 8], stem_channels=6, n_points=5)


@pytest.mark.parametrize(
    'net, width', [(SMPTCN(), (1, 30)), (SMPResNet(radius=0.12), (24, 24))]
)
def test_published_initialisation(net, width):
    torch.manual_seed(0)
    kernels = [m for m in net.modules() if isinstance(m, SMPKernel)]
    assert all(k.radius_range == (1e-4, 1.0) and k.normalize for k in kernels)
    points = [k.coord.clone() for k in kernels]
    shortcuts = {
        n: m.weight.clone()
        for n, m in net.named_modules()
        if 'shortcut' in n
        if isinstance(m, nn.Conv1d)
    }
    net.init_weights()
    for kernel, before in zip(kernels, points):
        assert torch.equal(kernel.coord, before)
    for name, module in net.named_modules():
        if isinstance(module, (CausalConv1d, nn.Conv2d)):
            spread = 5 / (2 * module.weight.numel()) ** 0.5
            assert float(module.weight.detach().std()) == pytest.approx(
                0.02, rel=spread
            ), name
        elif name in shortcuts:  # sequences: the framework's own
            assert torch.equal(module.weight, shortcuts[name])
    assert net.blocks[0].conv1.smp.conv.in_channels == width[0]
    assert net.blocks[0].conv1.smp.conv.out_channels == width[1]


def test_block_of_the_paper():
    """A TCN block has two activations more than a ResNet block."""
    for net, x in [
        (SMPTCN(**TCN), torch.randn(2, 2, 24)),
        (SMPResNet(**RESNET), torch.randn(2, 3, 9, 9)),
    ]:
        net.eval()
        block = net.blocks[0]
        x = net.stem(x)
        z = block.conv2(F.relu(block.conv1(x)))
        z = F.relu(z) if net.ndim == 1 else z
        assert_close(block(x), F.relu(z + block.shortcut(x)), 1e-6)


def test_dropout():
    net = SMPTCN(**TCN, dropout=0.5, input_dropout=0.25).train()
    assert net.stem.p == 0.25
    assert [b.dropout.p for b in net.blocks] == [0.5] * 3
    x = torch.randn(2, 2, 24)
    assert not torch.equal(net(x)[0], net(x)[0])
    net.eval()
    assert torch.equal(net(x)[0], net(x)[0])


def test_causal():
    net = SMPTCN(**TCN).eval()
    x = torch.randn(1, 2, 40)
    out = net(x)[0]
    x[..., 30:] = 0
    assert_close(net(x)[0][..., :30], out[..., :30], 1e-5)


@pytest.mark.parametrize('length', [1, 7, 24, 61])
def test_any_length(length):
    out = SMPTCN(**TCN, out_indices=(0, 2)).eval()(torch.randn(2, 2, length))
    assert [tuple(o.shape) for o in out] == [(2, 6, length), (2, 8, length)]
    assert [o.shape for o in LastTimeStep()(out)] == [(2, 6), (2, 8)]


@pytest.mark.parametrize('cls, args', [(SMPTCN, TCN), (SMPResNet, RESNET)])
def test_other_norms_and_activations(cls, args):
    net = cls(
        **args,
        norm_cfg=dict(type='GN', num_groups=1, eps=1e-12),
        act_cfg=dict(type='LeakyReLU', negative_slope=0.01),
    )
    kinds = [type(m) for m in net.modules()]
    assert nn.GroupNorm in kinds and nn.LeakyReLU in kinds
    assert nn.BatchNorm1d not in kinds and nn.BatchNorm2d not in kinds
    before = {k: v.clone() for k, v in net.state_dict().items()}
    with pytest.raises(TypeError, match='GroupNorm'):
        net.switch_to_deploy()
    assert list(net.state_dict()) == list(before)


@pytest.mark.parametrize('rate', [1, 0.6, 2.5])
def test_deploy_with_biases_at_any_rate(rate):
    torch.manual_seed(0)
    args = dict(TCN, conv_bias=True, kernel_size=7, small_kernel_size=7)
    net = SMPTCN(**args).double()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    for name, parameter in net.named_parameters():
        if name.endswith('smp.conv.bias'):
            nn.init.normal_(parameter)
    net.sampling_rate = rate
    x = torch.randn(2, 2, 30).double()
    expected = net.eval()(x)[0]
    switch_to_deploy(net)
    assert not any(isinstance(m, nn.BatchNorm1d) for m in net.modules())
    assert_close(net(x)[0], expected, 1e-12)
    fresh = SMPTCN(**args, sampling_rate=rate, deploy=True).double().eval()
    fresh.load_state_dict(net.state_dict(), strict=True)
    assert torch.equal(fresh(x)[0], net(x)[0])
    with pytest.raises(ValueError, match=f'fixed at sampling_rate={rate}'):
        fresh.sampling_rate = 1


class TestSamplingRate:
    def test_small_kernel_acts_on_the_interpolated_sequence(self):
        torch.manual_seed(0)
        conv = CausalConv1d(2, 3, 4).double()
        x = torch.randn(1, 2, 12).double()
        expected = conv(x)
        conv.sampling_rate = 3
        fine = F.interpolate(x, size=34, mode='linear', align_corners=True)
        inner = slice(3, None)  # the zeros before the sequence are not interpolated
        assert_close(conv(fine)[..., ::3][..., inner], expected[..., inner], 1e-12)
        conv.sampling_rate = 0.5  # lags 0, 0.5, 1, 1.5
        weight = conv.make_kernel()
        assert weight.shape[-1] == 3
        assert_close(weight.sum(-1), conv.weight.sum(-1), 1e-12)
        assert_close(
            weight[..., 2], conv.weight[..., 3] + conv.weight[..., 2] / 2, 1e-12
        )

    def test_back_and_forth(self):
        net = SMPTCN(**TCN).eval()
        x = torch.randn(1, 2, 24)
        expected = net(x)[0]
        net.sampling_rate = 0.3
        assert not torch.equal(net(x)[0], expected)
        assert set(net.state_dict()) == set(SMPTCN(**TCN).state_dict())
        net.sampling_rate = 1
        assert torch.equal(net(x)[0], expected)

    @pytest.mark.parametrize('form', ['train', 'deploy'])
    @pytest.mark.parametrize('rate', [0.3, 2, 128 / 161])
    def test_is_part_of_the_state_dict(self, form, rate):
        net = SMPTCN(**TCN).half().float().eval()
        net.sampling_rate = rate
        x = torch.randn(1, 2, 24)
        if form == 'deploy':
            switch_to_deploy(net)
        expected, state = net(x)[0], copy.deepcopy(net.state_dict())
        fresh = SMPTCN(**TCN, deploy=form == 'deploy').eval()
        fresh.load_state_dict(state)
        assert fresh.sampling_rate == rate
        assert torch.equal(fresh(x)[0], expected)
        if form == 'deploy':
            return
        # a rate that was given or assigned is what the inputs have
        given, assigned = SMPTCN(**TCN, sampling_rate=1).eval(), SMPTCN(**TCN).eval()
        assigned.sampling_rate = 1
        for other in (given, assigned):
            other.load_state_dict(state)
            assert other.sampling_rate == 1
            assert other.blocks[0].conv1.smp.conv.kernel_size == (24,)
            assert other.state_dict()['_sampling_rate'].tolist() == [1, 1]
        # files of earlier versions
        older = {k: v for k, v in state.items() if not k.endswith(('_rate', '_size'))}
        fresh = SMPTCN(**TCN).eval()
        fresh.load_state_dict(older)
        assert fresh.sampling_rate == 1
        resample(fresh, rate)
        assert fresh.sampling_rate == rate
        assert torch.equal(fresh(x)[0], expected)

    def test_accuracy_at_other_rates(self):
        """Trained on digits at one rate, tested at half and twice that rate."""
        length = 128
        torch.manual_seed(0)
        net = SMPTCN(kernel_size=length, channels=[16, 16], n_points=16, radius=0.06)
        head = nn.Linear(16, 10)
        parameters = [*net.parameters(), *head.parameters()]
        optimizer = torch.optim.Adam(parameters, lr=1e-2)
        x, y = digits('train', length)
        epochs, batch = 5, 64
        steps = epochs * (len(x) // batch)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, steps)
        for _ in range(epochs):
            for index in torch.randperm(len(x)).split(batch)[: len(x) // batch]:
                optimizer.zero_grad()
                logits = head(net(x[index])[0][..., -1])
                F.cross_entropy(logits, y[index]).backward()
                optimizer.step()
                schedule.step()
                for module in net.modules():
                    if isinstance(module, SMPKernel):
                        module.after_step()
        net.eval()

        @torch.no_grad()
        def accuracy(length):
            x, y = digits('test', length)
            right = head(net(x)[0][..., -1]).argmax(1) == y
            return 100 * float(right.double().mean())

        trained = accuracy(length)
        assert trained > 94
        for other in (64, 256):
            assert accuracy(other) < trained - 20  # it does not come by itself
            net.sampling_rate = other / length
            assert accuracy(other) > trained - 3
            net.sampling_rate = 1


def digits(split, length):
    dataset = Digits(split=split, sequence=True, length=length)
    samples = [dataset.get_data_info(i) for i in range(len(dataset))]
    x = torch.stack([s['img'] for s in samples])
    return (x - 78) / 96, torch.tensor([s['gt_label'] for s in samples])


def test_compile_has_no_graph_break():
    net = SMPTCN(**TCN).eval()
    x = torch.randn(1, 2, 24)
    compiled = torch.compile(net, fullgraph=True, backend='aot_eager')
    torch.testing.assert_close(compiled(x)[0], net(x)[0], rtol=1e-4, atol=1e-5)
    torch._dynamo.reset()


def test_deploy_form_has_one_convolution_where_there_were_two():
    for net in (SMPTCN(**TCN), SMPResNet(**RESNET)):
        pairs = [m for m in net.modules() if isinstance(m, LargeKernelConv)]
        switch_to_deploy(net)
        assert all(m.small_conv is None and not m.smp.with_norm for m in pairs)
        assert not any(isinstance(m, SMPKernel) for m in net.modules())


@pytest.mark.parametrize(
    'cls, kwargs, message',
    [
        (SMPTCN, dict(channels=[]), r'channels.*got \(\)'),
        (SMPTCN, dict(channels=[8, 0]), r'channels.*got \(8, 0\)'),
        (SMPResNet, dict(channels=[], stem_channels=8), r'channels.*got \(\)'),
        (SMPResNet, dict(stem_channels=0), r'channels.*got \(0, 24'),
        (SMPTCN, dict(kernel_size=4), 'small_kernel_size.*5 with kernel_size=4'),
        (SMPResNet, dict(kernel_size=32), 'odd.*kernel_size=32'),
        (SMPResNet, dict(small_kernel_size=4), 'odd.*small_kernel_size=4'),
        (SMPTCN, dict(dropout=1), r'dropout must lie in \[0, 1\), got 1'),
        (SMPTCN, dict(input_dropout=-0.1), r'input_dropout.*got -0\.1'),
        (SMPTCN, dict(out_indices=(6,)), r'0\.\.5, got \(6,\)'),
        (SMPTCN, dict(sampling_rate=0), 'sampling_rate must be positive, got 0'),
        (SMPTCN, dict(n_points=0), 'n_points.*got 0'),
        (SMPTCN, dict(radius=2.0), r'radius.*got 2\.0'),
    ],
)
def test_bad_arguments(cls, kwargs, message):
    with pytest.raises(ValueError, match=message):
        cls(**kwargs)


@pytest.mark.parametrize('shape', [(1, 3, 24), (2, 24), (0, 2, 24), (1, 2, 0)])
def test_bad_sequence(shape):
    with pytest.raises(ValueError, match=r'\(N, 2, L\)') as info:
        SMPTCN(**TCN)(torch.randn(shape))
    assert str(shape) in str(info.value)


@pytest.mark.parametrize('name', ['stride', 'padding', 'dilation', 'groups'])
def test_causal_conv_refuses_what_it_does_not_do(name):
    with pytest.raises(ValueError, match=f'{name}=3'):
        CausalConv1d(3, 3, 5, **{name: 3})


def test_causal_conv_takes_what_torch_does():
    conv = CausalConv1d(2, 3, 4, device='cpu', dtype=torch.float64)
    x = torch.randn(2, 9, dtype=torch.float64)
    assert torch.equal(conv(x), conv(x[None])[0])


@pytest.mark.parametrize('network, config', [(SMPTCN, TCN), (SMPResNet, RESNET)])
def test_kernel_cfg_reaches_every_kernel(network, config):
    net = network(**config, kernel_cfg=dict(learn_coord=False, clip_coord=True))
    kernels = [m for m in net.modules() if isinstance(m, SMPKernel)]
    assert len(kernels) >= 5
    for kernel in kernels:
        assert kernel.clip_coord
        assert kernel.radius.requires_grad and not kernel.coord.requires_grad
