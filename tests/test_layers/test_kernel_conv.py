import pytest
import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule, build_conv_layer
from mmengine.registry import MODELS as ROOT
from tolerances import assert_close
from torch import nn

from smpconv_mm.layers import SMPConv1d, SMPConv2d, SMPConv3d, switch_to_deploy

CONVS = {1: (SMPConv1d, F.conv1d), 2: (SMPConv2d, F.conv2d), 3: (SMPConv3d, F.conv3d)}


@pytest.mark.parametrize('ndim', CONVS)
@pytest.mark.parametrize('groups', [1, 2, 4], ids=['dense', 'grouped', 'depthwise'])
@pytest.mark.parametrize(
    'stride, padding, dilation', [(1, 'same', 1), (2, 1, 1), (1, 0, 2), (1, 'same', 3)]
)
def test_equals_convolution_with_the_made_kernel(
    ndim, groups, stride, padding, dilation
):
    torch.manual_seed(0)
    layer, conv = CONVS[ndim]
    layer = layer(
        4, 4, 5, stride, padding, dilation, groups, n_points=6, radius=0.5
    ).double()
    nn.init.normal_(layer.bias)
    x = torch.randn(2, 4, *(13, 11, 12)[:ndim], dtype=torch.float64)
    pad = 2 * dilation if padding == 'same' else padding
    expected = conv(x, layer.make_kernel(), layer.bias, stride, pad, dilation, groups)
    assert_close(layer(x), expected, 1e-12)
    if padding == 'same':
        assert layer(x).shape == x.shape


@pytest.mark.parametrize('ndim', CONVS)
def test_gradcheck(ndim):
    torch.manual_seed(0)
    layer = CONVS[ndim][0](
        2, 2, 3, padding='same', groups=2, n_points=3, radius=0.9, coord_std=0.4
    ).double()
    x = torch.randn(2, 2, *(4, 3, 5)[:ndim], dtype=torch.float64, requires_grad=True)
    names = [n for n, _ in layer.named_parameters()]

    def f(x, *tensors):
        return torch.func.functional_call(layer, dict(zip(names, tensors)), (x,))

    tensors = [x, *layer.parameters()]
    assert torch.autograd.gradcheck(f, tensors, eps=1e-7, atol=1e-5)


def test_published_variants_are_the_defaults():
    depthwise = SMPConv2d(8, 8, 13, padding='same', groups=8)
    assert depthwise.kernel.shared_points and not depthwise.kernel.normalize
    assert depthwise.kernel.n_points == 13 * 13 // 4
    dense = SMPConv2d(3, 8, 13, padding='same')
    assert dense.kernel.normalize and not dense.kernel.shared_points
    mixed = SMPConv2d(3, 8, 5, shared_points=True, normalize=True)
    assert mixed.kernel.normalize and mixed.kernel.shared_points


@pytest.mark.parametrize('kernel_size', [5, 6, 40])
@pytest.mark.parametrize('dilation', [1, 2])
def test_causal(kernel_size, dilation):
    torch.manual_seed(0)
    layer = SMPConv1d(3, 4, kernel_size, dilation=dilation, causal=True, radius=0.4)
    layer = layer.double()
    x = torch.randn(2, 3, 17, dtype=torch.float64)
    out = layer(x)
    assert out.shape == (2, 4, 17)
    # the last tap multiplies the current sample, earlier taps earlier ones
    kernel = layer.make_kernel()
    expected = torch.zeros_like(out) + layer.bias[:, None]
    for t in range(17):
        for j in range(kernel_size):
            s = t - (kernel_size - 1 - j) * dilation
            if s >= 0:
                expected[..., t] += x[..., s] @ kernel[..., j].T
    assert_close(out, expected, 1e-12)
    later = x.clone()
    later[..., 10:] = 0
    assert_close(layer(later)[..., :10], out[..., :10], 1e-12)


def test_empty_batch():
    assert SMPConv2d(3, 5, 7, padding='same')(torch.randn(0, 3, 8, 8)).shape == (
        0,
        5,
        8,
        8,
    )


class TestResampling:
    @pytest.mark.parametrize('groups', [1, 4])
    @pytest.mark.parametrize('padding', ['same', 15])
    def test_padding_follows(self, groups, padding):
        layer = SMPConv2d(4, 4, 31, padding=padding, groups=groups, n_points=20)
        x = torch.randn(1, 4, 10, 12)
        for size in (47, (21, 33), 31):
            layer.kernel_size = size
            assert layer(x).shape == x.shape

    def test_resized_image(self):
        """A 31x31 kernel at 47x47 sees in a larger image what it saw before."""
        torch.manual_seed(0)
        layer = SMPConv2d(3, 3, 31, padding='same', groups=3, n_points=12, radius=0.5)
        image = F.interpolate(torch.randn(1, 3, 8, 8), (64, 64), mode='bicubic')
        larger = F.interpolate(image, scale_factor=1.5, mode='bilinear')
        with torch.no_grad():
            small = layer(image)
            wrong = F.interpolate(layer(larger), (64, 64), mode='bilinear')
            layer.kernel_size = 47
            right = F.interpolate(layer(larger), (64, 64), mode='bilinear')
        inner = (..., slice(16, 48), slice(16, 48))
        assert_close(right[inner], small[inner], 0.05)
        error = (wrong - small)[inner].abs().max() / small[inner].abs().max()
        assert error > 0.2  # without resampling it does not

    def test_what_no_padding_can_follow(self):
        layer = SMPConv2d(4, 4, 31, padding=15, groups=4)
        with pytest.raises(ValueError, match=r'\(31, 31\) to \(32, 32\)'):
            layer.kernel_size = 32
        assert layer.kernel_size == (31, 31) == layer.kernel.kernel_size
        with pytest.raises(ValueError, match=r'padding=\(0, 0\)'):
            SMPConv2d(4, 4, 9).kernel_size = 5

    def test_causal(self):
        layer = SMPConv1d(2, 2, 16, causal=True)
        layer.kernel_size = 33
        assert layer(torch.randn(1, 2, 20)).shape == (1, 2, 20)


class TestDeploy:
    def test_any_network(self):
        """ConvModules with BN are folded, whatever surrounds them."""
        torch.manual_seed(0)
        cfg = dict(type='smpconv_mm.SMPConv2d', n_points=4)
        net = nn.Sequential(
            ConvModule(3, 8, 3, padding=1, norm_cfg=dict(type='BN')),
            ConvModule(8, 8, 7, padding=3, conv_cfg=cfg, norm_cfg=dict(type='BN')),
            ConvModule(
                8, 8, 5, padding=2, conv_cfg=cfg, norm_cfg=dict(type='GN', num_groups=2)
            ),
        ).double()
        x = torch.randn(4, 3, 9, 9, dtype=torch.float64)
        net(x)  # running statistics
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 2)
                nn.init.normal_(module.bias)
        expected = net.eval()(x)
        switch_to_deploy(net)
        assert_close(net(x), expected, 1e-12)
        assert not any(isinstance(m, nn.BatchNorm2d) for m in net.modules())
        assert isinstance(net[2].norm, nn.GroupNorm)  # cannot be folded, stays


class TestRegistered:
    @pytest.mark.parametrize('ndim', CONVS)
    def test_conv_cfg(self, ndim):
        name = f'SMPConv{ndim}d'
        layer = build_conv_layer(
            dict(type=f'smpconv_mm.{name}', n_points=4), 3, 8, 5, padding=2, bias=False
        )
        assert type(layer).__name__ == name and layer.bias is None
        assert ROOT.get(f'smpconv_mm.{name}') is type(layer)

    def test_conv_module(self):
        module = ConvModule(
            3,
            8,
            7,
            stride=2,
            padding=3,
            conv_cfg=dict(type='smpconv_mm.SMPConv2d', n_points=9),
            norm_cfg=dict(type='BN'),
        )
        before = {k: v.clone() for k, v in module.conv.state_dict().items()}
        module.init_weights()  # must not touch the points
        for key, value in module.conv.state_dict().items():
            assert torch.equal(value, before[key])
        assert module(torch.randn(2, 3, 16, 16)).shape == (2, 8, 8, 8)

    def test_mmpretrain_resnet(self):
        from mmpretrain.registry import MODELS

        net = MODELS.build(
            dict(
                type='ResNet',
                depth=18,
                conv_cfg=dict(type='smpconv_mm.SMPConv2d', n_points=4),
            )
        )
        net.init_weights()
        (out,) = net(torch.randn(2, 3, 32, 32))
        out.square().sum().backward()
        assert out.shape == (2, 512, 1, 1)
        smp = [m for m in net.modules() if isinstance(m, SMPConv2d)]
        assert len(smp) == 20
        assert all(p.grad is not None for m in smp for p in m.parameters())


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(groups=3), 'groups=3 with 4 and 4 channels'),
        (dict(in_channels=0), 'must be positive, got 0'),
        (dict(stride=0), 'stride must be an integer of at least 1.*got 0'),
        (dict(padding='full'), "padding.*'same' or 'valid', got 'full'"),
        (dict(padding_mode='mirror'), "padding_mode must be 'zeros'.*got 'mirror'"),
        (dict(dilation=(1, 1, 1)), r'dilation.*got \(1, 1, 1\)'),
        (dict(causal=True), 'causal=True is for sequences.*SMPConv2d has 2 axes'),
        (dict(n_points=-1), 'n_points.*got -1'),
        (dict(radius=-1), 'radius.*got -1'),
    ],
)
def test_bad_arguments(kwargs, message):
    args = dict(in_channels=4, out_channels=4, kernel_size=5)
    with pytest.raises(ValueError, match=message):
        SMPConv2d(**{**args, **kwargs})


def test_bad_causal_padding():
    with pytest.raises(ValueError, match='pads by itself.*got 3'):
        SMPConv1d(2, 2, 5, padding=3, causal=True)


@pytest.mark.parametrize('shape', [(9, 9), (3, 9, 9), (1, 3, 9, 9), (1, 1, 4, 9, 9)])
def test_bad_input(shape):
    layer = SMPConv2d(4, 4, 5, padding='same')
    with pytest.raises(ValueError, match=r'SMPConv2d expects.*4 channels') as info:
        layer(torch.randn(shape))
    assert str(shape[-2:])[1:] in str(info.value)


@pytest.mark.parametrize('dtype', [torch.int64, torch.uint8, torch.bool], ids=str)
def test_whole_numbers_are_refused(dtype):
    with pytest.raises(TypeError, match=rf'expects floating-point.*got {dtype}'):
        SMPConv2d(4, 4, 5)(torch.ones(1, 4, 9, 9).to(dtype))


class TestArgumentsOfTorch:
    """What ``nn.Conv2d`` takes, by comparison with it."""

    @pytest.mark.parametrize('ndim', CONVS)
    @pytest.mark.parametrize('groups', [1, 4])
    @pytest.mark.parametrize(
        'options',
        [
            dict(padding='valid'),
            dict(padding='same', dilation=2),
            dict(kernel_size=4, padding='same'),
            dict(kernel_size=4, padding='same', dilation=3),
            dict(padding=3, padding_mode='reflect', stride=2),
            dict(padding=3, padding_mode='circular'),
            dict(padding='same', padding_mode='replicate'),
        ],
        ids=str,
    )
    def test_same_outputs(self, ndim, groups, options):
        torch.manual_seed(0)
        args = dict(in_channels=4, out_channels=4, groups=groups, **options)
        args.setdefault('kernel_size', 5)
        ours = CONVS[ndim][0](**args, n_points=6, radius=0.5, dtype=torch.float64)
        plain = getattr(nn, f'Conv{ndim}d')(**args, dtype=torch.float64)
        plain.weight.data = ours.make_kernel().detach()
        nn.init.normal_(ours.bias)
        plain.bias.data = ours.bias.detach()
        x = torch.randn(2, 4, *(13, 11, 12)[:ndim], dtype=torch.float64)
        assert_close(ours(x), plain(x), 1e-12)
        assert_close(ours(x[0]), plain(x[0]), 1e-12)  # without the batch

    def test_device_and_dtype(self):
        ours = SMPConv2d(4, 4, 5, device='meta', dtype=torch.bfloat16)
        tensors = [*ours.parameters(), *ours.buffers()]
        assert all(t.is_meta for t in tensors)
        assert {p.dtype for p in ours.parameters()} == {torch.bfloat16}
        assert ours(torch.ones(2, 4, 9, 8, device='meta')).shape == (2, 4, 5, 4)
        like = SMPConv2d(4, 4, 5)
        ours.load_state_dict(like.state_dict(), assign=True)
        assert_close(ours(torch.ones(1, 4, 9, 9)), like(torch.ones(1, 4, 9, 9)), 1e-6)

    @pytest.mark.parametrize('causal', [False, True])
    def test_many_at_a_time(self, causal):
        """vmap over the parameters of several layers, and grad."""
        torch.manual_seed(0)
        layers = [
            SMPConv1d(4, 4, 9, causal=causal, padding='same', n_points=3)
            if causal
            else SMPConv2d(4, 4, 5, padding='same', groups=4, n_points=3)
            for _ in range(3)
        ]
        x = torch.randn(2, 4, 11) if causal else torch.randn(2, 4, 9, 8)
        parameters = [dict(layer.named_parameters()) for layer in layers]

        def call(parameters):
            return torch.func.functional_call(layers[0], parameters, (x,))

        stacked = {n: torch.stack([p[n] for p in parameters]) for n in parameters[0]}
        for out, layer in zip(torch.vmap(call)(stacked), layers):
            assert_close(out, layer(x), 1e-5)
        grads = torch.func.grad(lambda p: call(p).square().sum())(parameters[0])
        layers[0](x).square().sum().backward()
        for name, parameter in parameters[0].items():
            assert_close(grads[name], parameter.grad, 1e-4, name)

    @pytest.mark.filterwarnings('ignore::torch.jit.TracerWarning')
    def test_traced(self):
        layer = SMPConv2d(4, 4, 5, padding='same', groups=4).eval()
        x = torch.randn(1, 4, 9, 9)
        traced = torch.jit.trace(layer, x)
        assert_close(traced(2 * x), layer(2 * x), 1e-6)


class TestLongKernels:
    """What is saved for kernels as long as the sequence changes no result."""

    @staticmethod
    def layer():
        torch.manual_seed(0)
        layer = SMPConv1d(2, 3, 40, causal=True, n_points=4, radius=0.1).double()
        nn.init.uniform_(layer.kernel.coord, 0.2, 1.2)  # the past is empty
        return layer

    @staticmethod
    def gradients(layer):
        x = torch.randn(2, 2, 50, dtype=torch.float64, requires_grad=True)
        layer(x).square().sum().backward()
        return [x.grad, *(p.grad for p in layer.parameters())]

    @pytest.mark.parametrize('moved', [(0, 0.0), (1, -3.0), (2, 9.0), (3, -1.05)])
    def test_first_tap(self, moved):
        layer = self.layer()
        point, place = moved
        with torch.no_grad():
            layer.kernel.coord[0, point] = place
        kernel = layer.make_kernel()
        first = layer.kernel.first_tap()
        assert not kernel[..., :first].any()
        assert kernel[..., first : first + 3].any() or place == -3
        with torch.no_grad():
            layer.kernel.coord[0, point] = float('nan')
        assert layer.kernel.first_tap() == 0

    def test_nothing_is_left_of_an_empty_kernel(self):
        layer = self.layer()
        with torch.no_grad():
            layer.kernel.coord.fill_(5)
        assert layer.kernel.first_tap() == 39
        out = layer(torch.randn(1, 2, 9).double())
        assert torch.equal(out, layer.bias[None, :, None].expand_as(out))

    @pytest.mark.parametrize('method', ['fft', 'direct'])
    def test_kernels_made_again(self, method, monkeypatch):
        from smpconv_mm import ops
        from smpconv_mm.layers import kernel_conv

        found = []
        for limit in (2**22, 0):
            monkeypatch.setattr(kernel_conv, '_LONG', limit)
            layer = self.layer()
            with ops.use_backend('causal_conv1d', method):
                torch.manual_seed(1)
                found.append(self.gradients(layer))
        for one, two in zip(*found):
            assert_close(one, two, 1e-12)

    @pytest.mark.parametrize('method', ['fft', 'direct'])
    def test_kernel_is_not_kept(self, method, monkeypatch):
        from torch.multiprocessing.reductions import StorageWeakRef

        from smpconv_mm import ops
        from smpconv_mm.layers import kernel_conv

        monkeypatch.setattr(kernel_conv, '_LONG', 0)
        convolve, kernels = ops.causal_conv1d, []

        def spy(input, weight, *args, **kwargs):
            kernels.append(StorageWeakRef(weight.untyped_storage()))
            return convolve(input, weight, *args, **kwargs)

        monkeypatch.setattr(ops, 'causal_conv1d', spy)
        layer = self.layer()
        x = torch.randn(2, 2, 50, dtype=torch.float64, requires_grad=True)
        with ops.use_backend('causal_conv1d', method):
            out = layer(x)
            assert [kernel.expired() for kernel in kernels] == [True]
            with torch.no_grad():
                layer.kernel.coord += 0.1
            with pytest.raises(RuntimeError, match='before optimizer.step'):
                out.sum().backward()
