import warnings

import pytest
import torch
from tolerances import assert_close

from smpconv_mm import ops
from smpconv_mm.layers import SMPKernel

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
    assert not SMPKernel(1, 1, 9, 1).one_sided
    # one-sided: 2c + 1 of a normal of std 0.1 cut at [-1, 0]; densest at +1
    causal = SMPKernel(1, 1, 9, 1, n_points=20000, coord_std=0.1, causal=True)
    assert causal.coord.max() <= 1 and causal.coord.min() >= -1
    assert abs(float(((1 - causal.coord) ** 2).mean().sqrt()) - 0.2) < 0.005


def test_radii_are_clipped_in_place():
    kernel = SMPKernel(1, 2, 5, n_points=3, radius=0.5, radius_range=(0.1, 0.9))
    storage = kernel.radius.data_ptr()
    with torch.no_grad():
        kernel.radius[0] = torch.tensor([-1.0, 0.5, 2.0])
    kernel.after_step()
    assert kernel.radius.data_ptr() == storage
    assert kernel.radius[0].tolist() == pytest.approx([0.1, 0.5, 0.9])


def test_clip_coord():
    free, kept = (SMPKernel(1, 2, 5, n_points=3, clip_coord=c) for c in (False, True))
    for kernel in (free, kept):
        with torch.no_grad():
            kernel.coord[0, 0] = torch.tensor([-1.5, 0.5])
            kernel.radius[0, 0] = 9.0
        kernel.after_step()
        assert kernel.radius.max() == 1
    assert free.coord[0, 0].tolist() == [-1.5, 0.5]
    assert kept.coord[0, 0].tolist() == [-1.0, 0.5]
    assert 'clip_coord=True' in repr(kept) and 'clip_coord' not in repr(free)


@pytest.mark.parametrize('name', ['coord', 'radius'])
def test_what_is_not_learnt_stays(name):
    torch.manual_seed(0)
    fixed = SMPKernel(1, 2, 9, n_points=3, **{f'learn_{name}': False})
    assert f'learn_{name}=False' in repr(fixed)
    before = {n: p.detach().clone() for n, p in fixed.named_parameters()}
    optimizer = torch.optim.AdamW(fixed.parameters(), lr=0.1, weight_decay=0.5)
    fixed().square().sum().backward()
    optimizer.step()
    for key, parameter in fixed.named_parameters():
        assert torch.equal(parameter, before[key]) == (key == name), key
    # a state dict like any other
    free = SMPKernel(1, 2, 9, n_points=3)
    free.load_state_dict(fixed.state_dict())
    fixed.load_state_dict(free.state_dict())
    assert torch.equal(free(), fixed())
    assert not getattr(fixed, name).requires_grad
    assert getattr(free, name).requires_grad


class TestOtherNumberOfPoints:
    @pytest.mark.parametrize('shared', [False, True])
    @pytest.mark.parametrize('points', [2, 9])
    def test_loads(self, shared, points):
        ours, theirs = (
            SMPKernel(3, 2, 7, n_points=n, shared_points=shared, normalize=not shared)
            for n in (5, points)
        )
        parameters = list(ours.parameters())
        ours.load_state_dict(theirs.state_dict())
        assert ours.n_points == points
        assert torch.equal(ours(), theirs())
        assert all(a is b for a, b in zip(parameters, ours.parameters()))
        ours().sum().backward()  # gradients have the new shape
        ours().sum().backward()

    @pytest.mark.parametrize(
        'other',
        [
            dict(in_channels=2),
            dict(ndim=1),
            dict(shared_points=True),
            dict(out_channels=3),
        ],
    )
    def test_but_nothing_else(self, other):
        sizes = dict(in_channels=1, out_channels=2, kernel_size=7, n_points=3)
        ours = SMPKernel(**{**sizes, 'n_points': 5})
        with pytest.raises(RuntimeError, match='size mismatch for coord|weight'):
            ours.load_state_dict(SMPKernel(**{**sizes, **other}).state_dict())
        assert ours.n_points == 5

    def test_entries_must_agree(self):
        ours, theirs = (SMPKernel(1, 2, 7, n_points=n) for n in (5, 3))
        mixed = {**theirs.state_dict(), 'radius': torch.ones(2, 4)}
        with pytest.raises(RuntimeError, match='size mismatch for radius'):
            ours.load_state_dict(mixed)
        with pytest.raises(RuntimeError, match='size mismatch'):
            ours.load_state_dict({k: v[..., :0] for k, v in mixed.items()})


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


class TestRadii:
    @pytest.mark.parametrize('radius', [0.0, -0.5])
    @pytest.mark.parametrize('normalize', [False, True])
    def test_gradient_is_finite_at_zero(self, radius, normalize):
        kernel = SMPKernel(2, 3, 9, 1, n_points=4, normalize=normalize)
        with torch.no_grad():
            kernel.coord[:, 0] = 0.25  # on a place of the grid
            kernel.radius[:, :2] = radius
        kernel.eval()().square().sum().backward()
        assert all(p.grad.isfinite().all() for p in kernel.parameters())
        assert kernel.weight.grad[..., 0].any()

    def test_says_once_that_they_are_not_clipped(self):
        kernel = SMPKernel(1, 2, 9, n_points=3)
        optimizer = torch.optim.SGD(kernel.parameters(), lr=1e4)
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            kernel().square().sum().backward()
            optimizer.step()  # far outside
            kernel.eval()()
            kernel.train()
            with torch.no_grad():
                kernel()
        assert kernel.radius.abs().max() > 1.1
        with pytest.warns(UserWarning, match=r'radius_range=\(0.0001, 1.0\).*AfterSt'):
            kernel()
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            kernel()  # once
            clipped = SMPKernel(1, 2, 9, n_points=3).to(torch.float16)
            clipped.radius.data.fill_(-1)
            clipped.after_step()
            clipped()
            fixed = SMPKernel(1, 2, 9, n_points=3, learn_radius=False)
            fixed.radius.data.fill_(2)
            fixed()


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
