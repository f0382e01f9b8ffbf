import copy
import pickle

import pytest
import torch
from tolerances import assert_close

from smpconv_mm import ops
from smpconv_mm.layers import SMPConv2d, SMPKernel

PUBLISHED = dict(shared_points=True, normalize=False, radius_range=(1e-3, 1.0))


@pytest.mark.parametrize('ndim', [1, 2, 3])
@pytest.mark.parametrize('shared', [False, True])
def test_shapes(ndim, shared):
    kernel = SMPKernel(3, 4, 7, ndim, n_points=5, shared_points=shared)
    groups = 1 if shared else 4
    assert kernel.coord.shape == (groups, 5, ndim)
    assert kernel.radius.shape == (groups, 5)
    assert kernel.weight.shape == (groups, 12 // groups, 5)
    assert kernel().shape == (4, 3, *[7] * ndim)


@pytest.mark.parametrize('normalize', [False, True])
@pytest.mark.parametrize('ndim, size', [(1, (9,)), (2, (5, 7)), (3, (3, 4, 5))])
def test_gradcheck(ndim, size, normalize):
    torch.manual_seed(0)
    kernel = SMPKernel(
        2, 3, size, ndim, n_points=4, normalize=normalize, radius=0.8, coord_std=0.5
    ).double()
    names = ['weight'] if normalize else ['coord', 'radius', 'weight']
    parameters = [getattr(kernel, name) for name in names]

    def f(*tensors):
        return torch.func.functional_call(kernel, dict(zip(names, tensors)), ())

    assert torch.autograd.gradcheck(f, parameters, eps=1e-7, atol=1e-5)


def test_published_initialisation():
    torch.manual_seed(0)
    kernel = SMPKernel(1, 96, 31, n_points=None, **PUBLISHED)
    assert kernel.n_points == 240
    assert torch.allclose(kernel.radius, torch.tensor(4 / 31))
    many = SMPKernel(1, 4, 31, n_points=20000, **PUBLISHED)
    assert abs(float(many.coord.std()) - 0.2) < 0.005
    assert many.coord.abs().max() <= 1
    assert abs(float(many.weight.std()) - 0.02) < 0.0005
    # one-sided: 2c + 1 of a normal of std 0.1 cut at [-1, 0]; densest at +1
    causal = SMPKernel(1, 1, 9, 1, n_points=20000, coord_std=0.1, one_sided=True)
    assert causal.coord.max() <= 1 and causal.coord.min() >= -1
    assert abs(float(((1 - causal.coord) ** 2).mean().sqrt()) - 0.2) < 0.005


def test_clip_radius_in_place():
    kernel = SMPKernel(1, 2, 5, n_points=3, radius=0.5, radius_range=(0.1, 0.9))
    storage = kernel.radius.data_ptr()
    with torch.no_grad():
        kernel.radius[0] = torch.tensor([-1.0, 0.5, 2.0])
    kernel.clip_radius()
    assert kernel.radius.data_ptr() == storage
    assert kernel.radius[0].tolist() == pytest.approx([0.1, 0.5, 0.9])


def test_resampled_kernel_covers_the_same_field():
    torch.manual_seed(0)
    kernel = SMPKernel(1, 2, 31, n_points=9, radius=0.6, **PUBLISHED).double()
    trained = kernel()
    kernel.kernel_size = 61  # every second place is a place of the 31-grid
    fine = kernel()
    assert fine.shape == (2, 1, 61, 61)
    assert_close(fine[..., ::2, ::2] * (61 / 31) ** 2, trained, 1e-6)
    # the kernel keeps its mass
    assert_close(fine.sum((2, 3)), trained.sum((2, 3)), 0.05)
    kernel.kernel_size = 31
    assert torch.equal(kernel(), trained)


class TestCache:
    def make(self):
        torch.manual_seed(0)
        return SMPKernel(1, 4, 9, n_points=5, **PUBLISHED).eval()

    @torch.no_grad()
    def test_kept_in_eval_mode(self):
        kernel = self.make()
        assert kernel() is kernel()

    def test_not_kept_with_gradients_or_in_training(self):
        kernel = self.make()
        assert kernel() is not kernel()
        with torch.no_grad():
            kernel.train()
            assert kernel() is not kernel()

    @pytest.mark.parametrize('mode', [torch.no_grad, torch.inference_mode])
    @pytest.mark.parametrize(
        'change',
        [
            lambda k: k.weight.mul_(2),
            lambda k: k.load_state_dict(
                {n: p * 0.5 for n, p in k.state_dict().items()}
            ),
            lambda k: setattr(k, 'weight', torch.nn.Parameter(k.weight * 2)),
            lambda k: k.double(),
            lambda k: setattr(k, 'kernel_size', 11),
            lambda k: k.clip_radius() if k.radius.mul_(3) is not None else None,
        ],
        ids=['in place', 'load', 'replace', 'dtype', 'size', 'radius'],
    )
    def test_dropped_when_something_changes(self, change, mode):
        kernel = self.make()
        with mode():
            before = kernel()
        with torch.no_grad():
            change(kernel)
        with mode():
            after = kernel()
        assert after is not before
        assert torch.equal(after, kernel.make_kernel())

    @torch.no_grad()
    def test_dropped_by_train_and_eval(self):
        # writing through .data leaves no trace, as in MMEngine's EMA hook
        kernel = self.make()
        kernel()
        kernel.weight.data.copy_(kernel.weight.data * 2)
        kernel.eval()
        assert torch.equal(kernel(), kernel.make_kernel())

    def test_inference_kernel_does_not_reach_training(self):
        conv = SMPConv2d(4, 4, 9, padding=4, groups=4, n_points=5).eval()
        x = torch.randn(1, 4, 9, 9)
        with torch.inference_mode():
            conv(x)
        conv(x).sum().backward()
        assert conv.kernel.coord.grad is not None

    @torch.no_grad()
    def test_copied_and_pickled_without_it(self):
        kernel = self.make()
        kernel()
        for other in (copy.deepcopy(kernel), pickle.loads(pickle.dumps(kernel))):
            assert other._cache is None
            assert torch.equal(other(), kernel())
        assert set(kernel.state_dict()) == {'coord', 'radius', 'weight'}


def test_kernel_is_the_op():
    kernel = SMPKernel(2, 3, (5, 7), n_points=6)
    expected = ops.smp_kernel(
        kernel.coord, kernel.radius, kernel.weight, (5, 7), normalize=True
    )
    assert torch.equal(kernel(), expected)


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(n_points=0), 'n_points must be a positive integer, got 0'),
        (dict(n_points=2.5), 'n_points must be a positive integer, got 2.5'),
        (
            dict(radius=-0.1),
            r'radius must lie in radius_range = \(0.0001, 1.0\), got -0.1',
        ),
        (dict(radius_range=(0, 1)), r'0 < low <= high, got \(0, 1\)'),
        (dict(radius_range=(0.5, 0.1)), r'got \(0.5, 0.1\)'),
        (dict(coord_std=0), 'coord_std must be positive, got 0'),
        (dict(kernel_size=(3, 3, 3)), r'2 of them, got \(3, 3, 3\)'),
        (dict(kernel_size=0), 'kernel_size must be a positive integer.*got 0'),
        (dict(ndim=4), 'ndim must be 1, 2 or 3, got 4'),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        SMPKernel(**{**dict(in_channels=1, out_channels=2, kernel_size=5), **kwargs})


def test_bad_resampling():
    kernel = SMPKernel(1, 2, 5)
    with pytest.raises(ValueError, match='got -3'):
        kernel.kernel_size = -3
    assert kernel.kernel_size == (5, 5)
