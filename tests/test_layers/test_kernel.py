"""Every registered kernel is tested by existing."""

import copy
import io
import pickle

import pytest
import torch
from kernels import (
    FORMS,
    GROUPS,
    KERNELS,
    SMALL,
    GaussianKernel,
    NetKernel,
    cfg_of,
)
from mmengine.registry import init_default_scope
from tolerances import assert_close
from torch import nn
from torch.nn.utils import prune

from smpconv_mm.layers import (
    DenseKernel,
    Kernel,
    KernelConv1d,
    KernelConv2d,
    KernelConv3d,
    SMPConv2d,
    SMPKernel,
    keep_kernels,
    resample,
)
from smpconv_mm.layers.kernel import build_kernel, reach
from smpconv_mm.layers.resampling import resampled_taps

LAYERS = {1: KernelConv1d, 2: KernelConv2d, 3: KernelConv3d}
FORM = pytest.mark.parametrize('name, ndim, kind, causal', FORMS)


def test_every_kernel_has_small_arguments():
    assert sorted(SMALL) == sorted(KERNELS)


def build(kernel, ndim=2, kind='dense', causal=False, size=7, **kwargs):
    torch.manual_seed(0)
    cfg = cfg_of(kernel) if isinstance(kernel, str) else dict(type=kernel)
    return LAYERS[ndim](
        4,
        4,
        size,
        padding='same',
        groups=GROUPS[kind],
        kernel=cfg,
        causal=causal,
        **kwargs,
    )


def inputs(ndim, dtype=torch.float64):
    torch.manual_seed(1)
    return torch.randn(2, 4, *(13, 10, 9)[:ndim], dtype=dtype)


@FORM
def test_trains_deploys_and_loads(name, ndim, kind, causal):
    layer = build(name, ndim, kind, causal).double()
    x = inputs(ndim)
    out = layer(x)
    assert out.shape == x.shape
    (out * torch.randn_like(out)).sum().backward()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in layer.parameters())
    layer.kernel.after_step()
    expected = layer.eval()(x).detach()
    other = build(name, ndim, kind, causal).double().eval()
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other(x), expected)
    layer.switch_to_deploy()
    layer.switch_to_deploy()  # twice does no harm
    assert layer.kernel is None and set(layer.state_dict()) == {'weight', 'bias'}
    assert_close(layer(x), expected, 1e-10)
    fresh = build(name, ndim, kind, causal, deploy=True).double()
    fresh.load_state_dict(layer.state_dict())
    assert torch.equal(fresh(x), layer(x))
    for fixed in (lambda: setattr(layer, 'kernel_size', 7), lambda: layer.resample(2)):
        with pytest.raises(ValueError, match='fixed at .* in deploy form'):
            fixed()


@FORM
def test_resampled_kernel_survives_its_state_dict(name, ndim, kind, causal):
    layer = build(name, ndim, kind, causal).double().eval()
    x = inputs(ndim)
    trained = layer(x)
    resample(layer, 1.5)
    size = 10 if causal else 11  # 6 steps become 9; the middle stays a tap
    assert layer.kernel_size == layer.kernel.kernel_size == (size,) * ndim
    assert layer.kernel.trained_size == (7,) * ndim
    expected = layer(x)
    assert expected.shape == x.shape and not torch.equal(expected, trained)
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    fresh = build(name, ndim, kind, causal, size=size, dtype=torch.float64).eval()
    fresh.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(fresh(x), expected)
    assert fresh.kernel.trained_size == (7,) * ndim
    for one in (layer, fresh):
        resample(nn.Sequential(one), 1)
        assert torch.equal(one(x), trained)


@FORM
def test_older_files_load(name, ndim, kind, causal):
    layer, other = (build(name, ndim, kind, causal) for _ in range(2))
    state = {k: v for k, v in layer.state_dict().items() if 'trained_size' not in k}
    before = dict(state)
    assert other.load_state_dict(state) == ([], [])
    assert state == before
    assert other.kernel.trained_size == (7,) * ndim


@pytest.mark.parametrize('name', KERNELS)
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16], ids=str)
def test_half_precision(name, dtype):
    kind = SMALL[name][2][-1]
    layer = build(name, 2, kind)
    x = inputs(2, torch.float32)
    expected = layer(x)
    assert_close(layer(x.to(dtype)), expected, 2e-2)  # parameters stay float32
    with torch.autocast('cpu', dtype):
        assert layer.kernel().dtype == torch.float32
        assert_close(layer(x), expected, 2e-2)
    assert_close(layer.to(dtype)(x.to(dtype)), expected, 4e-2)


@pytest.mark.parametrize('name', KERNELS)
def test_from_any_scope(name):
    ndim, kind = SMALL[name][1][0], SMALL[name][2][0]
    init_default_scope('mmpretrain')
    for scope in ('', 'smpconv_mm.'):
        cfg = dict(cfg_of(name), type=scope + name)
        layer = LAYERS[ndim](4, 4, 5, groups=GROUPS[kind], kernel=cfg)
        assert type(layer.kernel).__name__ == name
        assert name in repr(layer)


CHANGES = {
    'in place': lambda k, p: p.mul_(2),
    'data copy': lambda k, p: p.data.copy_(p.data * 2),
    'data multiplied': lambda k, p: p.data.mul_(2),
    'data item': lambda k, p: p.data.__setitem__(0, p.data[0] * 2 + 1),
    'foreach': lambda k, p: torch._foreach_mul_([p.data], 2.0),
    'numpy': lambda k, p: p.detach().numpy().__imul__(2),
    'shared memory': lambda k, p: p.share_memory_().data.mul_(2),
    'replaced': lambda k, p: setattr(*place_of(k, p), nn.Parameter(p * 2)),
    'pruned': lambda k, p: prune.l1_unstructured(*place_of(k, p), 0.5),
    'loaded': lambda k, p: k.load_state_dict(
        {n: t * 2 if t.is_floating_point() else t for n, t in k.state_dict().items()}
    ),
    'size': lambda k, p: setattr(k, 'kernel_size', 9),
}


def place_of(kernel, parameter):
    """The module that has a parameter, and its name there."""
    return next(
        (module, name)
        for module in kernel.modules()
        for name, p in module.named_parameters(recurse=False)
        if p is parameter
    )


@pytest.mark.parametrize('name', KERNELS)
@pytest.mark.parametrize('mode', [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize('change', CHANGES)
def test_outputs_are_those_of_the_present_parameters(name, mode, change):
    """However they were written, in eval mode too."""
    kind = SMALL[name][2][0]
    layer = build(name, 2, kind, dtype=torch.float64).eval()
    x = inputs(2)
    with mode():
        before = layer(x)
    with torch.no_grad():
        values = [p for p in layer.kernel.parameters() if p.any()]
        CHANGES[change](layer.kernel, values[-1])
    with mode():
        after = layer(x)
        assert not torch.equal(after, before)
        assert_close(after, copy.deepcopy(layer)(x), 1e-12)


def test_fused_optimiser_settings_and_inference_modules():
    layer = build('SMPKernel').eval()
    x = inputs(2, torch.float32)
    with torch.no_grad():
        before = layer(x)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1, fused=True)
    layer(x).sum().backward()
    optimizer.step()
    with torch.no_grad():
        stepped = layer(x)
        layer.kernel.normalize = False
        summed = layer(x)
        layer.kernel().fill_(7)  # nobody else's
        assert torch.equal(layer(x), summed)
    assert not torch.equal(stepped, before) and not torch.equal(stepped, summed)
    with torch.inference_mode():
        layer = build('SMPKernel').eval()
        before = layer(x)
        layer.kernel.weight.mul_(2)
        assert_close(layer(x), before * 2, 1e-5)


class TestKeepKernels:
    @torch.no_grad()
    def test_made_once(self, monkeypatch):
        net = nn.Sequential(build('SMPKernel'), build(NetKernel)).eval()
        made = []
        make = Kernel.make_kernel
        monkeypatch.setattr(
            Kernel, 'make_kernel', lambda self: made.append(1) or make(self)
        )
        x = inputs(2, torch.float32)
        expected = net(x)
        assert len(made) == 2
        with keep_kernels(net):
            assert len(made) == 4
            for _ in range(3):
                assert torch.equal(net(x), expected)
            with keep_kernels(net):  # inside of another one
                assert torch.equal(net(x), expected)
            assert len(made) == 4
            net[0].kernel().fill_(7)  # is not the one that is kept
            assert torch.equal(net(x), expected)
            copies = [copy.deepcopy(net[0]), pickle.loads(pickle.dumps(net[0]))]
        for other in copies:
            other.kernel.weight.mul_(2)
            assert torch.equal(other(x), copy.deepcopy(other)(x))
            assert not torch.equal(other(x), net[0](x))
        made.clear()
        net(x)
        assert len(made) == 2

    def test_not_with_gradients_or_in_training(self):
        layer = build('SMPKernel').eval()
        x = inputs(2, torch.float32)
        with keep_kernels(layer):
            layer(x).sum().backward()
            assert layer.kernel.coord.grad is not None
            layer.train()
            calls = []
            layer.kernel.register_forward_hook(lambda *_: calls.append(1))
            with torch.no_grad():
                layer(x)
            assert calls

    @torch.no_grad()
    def test_size_and_deploy_form_may_change_inside(self):
        layer = build('SMPKernel').eval()
        x = inputs(2, torch.float32)
        with keep_kernels(layer):
            layer.kernel_size = 11
            assert torch.equal(layer(x), copy.deepcopy(layer)(x))
            layer.switch_to_deploy()
            layer(x)
        assert layer._kept is None

    @torch.no_grad()
    @pytest.mark.parametrize('change', ['data multiplied', 'loaded', 'numpy'])
    def test_says_that_parameters_changed(self, change):
        net = nn.Sequential(build('SMPKernel')).eval()
        kernel = net[0].kernel
        with pytest.raises(RuntimeError, match='parameters of 0 changed'):
            with keep_kernels(net):
                CHANGES[change](kernel, kernel.weight)
        assert torch.equal(net(inputs(2, torch.float32)), net(inputs(2, torch.float32)))
        with pytest.raises(ZeroDivisionError):  # errors inside are not hidden
            with keep_kernels(net):
                kernel.weight.mul_(2)
                raise ZeroDivisionError


class TestCropped:
    """A kernel of fewer taps is one of all taps with zeros around it."""

    @pytest.mark.parametrize('width', [0.01, 0.1, 0.2, 0.3, 1.0])
    @pytest.mark.parametrize('causal', [False, True])
    @pytest.mark.parametrize('size', [9, 16])
    def test_sequences(self, width, causal, size):
        layer = build(GaussianKernel, 1, 'dense', causal, size).double()
        nn.init.constant_(layer.kernel.width, width)
        self.compare(layer, inputs(1))

    @pytest.mark.parametrize('kind', GROUPS)
    @pytest.mark.parametrize('widths', [(0.1, 0.6), (2.0, 0.01), (0.3, 0.3)])
    @pytest.mark.parametrize('deploy', [False, True])
    def test_maps(self, kind, widths, deploy):
        layer = build(GaussianKernel, 2, kind, size=(9, 7)).double()
        with torch.no_grad():
            layer.kernel.width.copy_(torch.tensor(widths))
        self.compare(layer, inputs(2), deploy)

    @pytest.mark.parametrize(
        'options',
        [
            dict(padding=0),
            dict(padding='valid', stride=2),
            dict(padding=4),
            dict(padding=(4, 1), stride=2, dilation=(1, 2)),
            dict(padding=5, padding_mode='reflect'),
            dict(padding='same', padding_mode='circular', dilation=2),
        ],
        ids=str,
    )
    def test_padding_is_meant_for_all_taps(self, options):
        torch.manual_seed(0)
        layer = KernelConv2d(
            4, 6, 9, **options, kernel=dict(type=GaussianKernel), dtype=torch.float64
        )
        x = torch.randn(2, 4, 20, 23, dtype=torch.float64)
        self.compare(layer, x)
        plain = nn.Conv2d(4, 6, 9, **options)
        assert layer(x).shape == plain(x.float()).shape

    @staticmethod
    def compare(layer, x, deploy=False):
        kernel = layer.kernel
        whole = kernel.whole().detach()
        taps = kernel().shape[2:]
        assert all(k <= n for k, n in zip(taps, layer.kernel_size))
        dense = copy.deepcopy(layer)
        dense.kernel = DenseKernel(
            kernel.in_channels, kernel.out_channels, kernel.kernel_size, kernel.ndim
        ).double()
        dense.kernel.weight.data = whole
        expected = dense(x)
        if deploy:
            layer.switch_to_deploy()
            assert layer.weight.shape[2:] == taps
            fresh = build(GaussianKernel, 2, size=(9, 7), deploy=True)
            if layer.groups == 1:  # loads the taps that were left
                fresh.double().load_state_dict(layer.state_dict())
                assert torch.equal(fresh(x), layer(x))
        assert_close(layer(x), expected, 1e-12)

    def test_taps_of_a_file_that_holds_fewer_numbers_are_not_taken_over(self):
        layer = build('DenseKernel', deploy=True)
        state = layer.state_dict()
        state['weight'] = torch.ones(1).expand(4, 4, 10**5, 10**5)
        with pytest.raises(RuntimeError, match='size mismatch for weight'):
            layer.load_state_dict(state)


def test_generator_with_statistics():
    layer = build(NetKernel).double()
    x = inputs(2)
    norm = layer.kernel.net[1]
    layer(x).square().mean().backward()
    assert norm.num_batches_tracked == 1
    layer.eval()
    with torch.no_grad():
        before = layer(x)
        norm.running_mean.data.add_(0.5)  # buffers count too
        after = layer(x)
        layer.train()
        layer.switch_to_deploy()  # by the statistics, not by those of the batch
    assert not torch.equal(before, after)
    assert_close(layer(x), after, 1e-12)
    assert norm.num_batches_tracked == 1


class TestDenseKernel:
    @pytest.mark.parametrize('ndim', [1, 2, 3])
    def test_is_the_ordinary_convolution(self, ndim):
        conv = getattr(nn, f'Conv{ndim}d')
        options = dict(stride=2, padding=2, dilation=2, groups=2)
        plain = conv(4, 6, 5, **options).double()
        ours = LAYERS[ndim](4, 6, 5, **options, kernel=dict(type='DenseKernel'))
        state = plain.state_dict()
        ours.double().load_state_dict(
            {'kernel.weight': state['weight'], 'bias': state['bias']}
        )
        x = inputs(ndim).requires_grad_()
        assert torch.equal(ours(x), plain(x))
        torch.manual_seed(3)
        plain.reset_parameters()
        torch.manual_seed(3)
        ours.kernel.reset_parameters()
        assert torch.equal(ours.kernel.weight, plain.weight)
        numbers = [sum(p.numel() for p in m.parameters()) for m in (ours, plain)]
        assert numbers[0] == numbers[1]

    def test_interpolated(self):
        kernel = DenseKernel(1, 1, 5, 1).double()
        with torch.no_grad():
            kernel.weight.copy_(torch.arange(5.0))
        kernel.kernel_size = 9
        assert_close(kernel()[0, 0], torch.arange(9.0).double() / 2 * 5 / 9, 1e-12)

    def test_takes_over_the_trained_size(self):
        small, large = (DenseKernel(2, 3, (k, 5)) for k in (5, 9))
        weight = large.weight
        large.load_state_dict(small.state_dict())
        assert large.weight is weight and large.trained_size == (5, 5)
        assert large.kernel_size == (9, 5) and large().shape == (3, 2, 9, 5)
        old = {'weight': small.weight}  # without its size: not to be guessed
        with pytest.raises(RuntimeError, match='size mismatch for weight'):
            DenseKernel(2, 3, 9).load_state_dict(old)


def test_grid_helpers():
    assert [resampled_taps(31, r, False) for r in (1, 1.5, 0.5, 2, 0.01)] == [
        31,
        47,
        17,
        61,
        3,
    ]
    assert [resampled_taps(8, r, False) for r in (1, 2, 0.5)] == [8, 16, 6]
    assert [resampled_taps(16, r) for r in (1, 2, 0.5, 0.1)] == [16, 31, 9, 3]
    assert reach(5) == (2, 2) and reach(4) == (1, 2) and reach(4, dilation=2) == (3, 3)
    assert reach(4, causal=True) == (3, 0)


def test_what_is_not_a_kernel():
    with pytest.raises(KeyError, match='NoKernel is not in the smpconv_mm'):
        KernelConv2d(4, 4, 5, kernel=dict(type='NoKernel'))
    with pytest.raises(TypeError, match='LastTimeStep is not a kernel'):
        build_kernel(dict(type='LastTimeStep'))
    with pytest.raises(TypeError, match='n_pts'):
        SMPConv2d(4, 4, 5, n_pts=3)
    with pytest.raises(NotImplementedError, match='Kernel must define sample'):
        Kernel(1, 1, 3)()

    class Wrong(Kernel):
        def sample(self):
            return torch.ones(3, 3)

    with pytest.raises(
        ValueError, match=r'Wrong.sample\(\) must return shape \(1, 2, '
    ):
        Wrong(2, 1, 3)()


def test_file_without_all_the_numbers_of_points():
    kernel = SMPKernel(1, 2, 7, n_points=3)
    state = kernel.state_dict()
    huge = 10**10
    state['coord'] = torch.zeros(1).expand(2, huge, 2)
    state['radius'] = torch.zeros(1).expand(2, huge)
    state['weight'] = torch.zeros(1).expand(2, 1, huge)
    with pytest.raises(RuntimeError, match='size mismatch for coord'):
        kernel.load_state_dict(state)
