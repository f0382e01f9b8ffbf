import pytest
import torch
from tolerances import TOLERANCES, assert_close

from smpconv_mm import ops

# G, I, P, size
CASES = [
    (1, 5, 6, (9, 9)),
    (1, 3, 4, (7, 13)),
    (4, 3, 5, (5, 9)),
    (4, 3, 6, (28,)),
    (1, 2, 3, (1,)),
    (3, 1, 1, (8,)),
    (2, 2, 7, (3, 5, 4)),
    (1, 6, 4, (1, 1)),
]


def make(case, dtype=torch.float64, seed=0):
    groups, slices, points, size = case
    generator = torch.Generator().manual_seed(seed)
    dims = len(size)
    coord = torch.rand(groups, points, dims, generator=generator) * 2.4 - 1.2
    radius = torch.rand(groups, points, generator=generator) * 0.9 + 0.1
    weight = torch.randn(groups, slices, points, generator=generator)
    return [t.to(dtype) for t in (coord, radius, weight)], size


@pytest.mark.parametrize('dtype', TOLERANCES['smp_kernel'], ids=str)
@pytest.mark.parametrize('normalize', [False, True])
@pytest.mark.parametrize('case', CASES, ids=str)
@pytest.mark.parametrize('backend', ops.backends('smp_kernel'))
def test_agrees_with_reference(backend, case, normalize, dtype):
    tensors, size = make(case)
    tensors = [t.to(dtype) for t in tensors]

    def run(function, tensors, **kwargs):
        tensors = [t.detach().requires_grad_() for t in tensors]
        out = function(*tensors, size, normalize=normalize, **kwargs)
        probe = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
        return out, *torch.autograd.grad((out * probe.to(out.dtype)).sum(), tensors)

    actual = run(ops.smp_kernel, tensors, backend=backend)
    expected = run(ops.reference.smp_kernel, [t.double() for t in tensors])
    assert actual[0].shape == (*case[:2], *size)
    value, dpoint, dweight = TOLERANCES['smp_kernel'][dtype]
    names = ('kernel', 'grad coord', 'grad radius', 'grad weight')
    for a, e, t, name in zip(actual, expected, (value, dpoint, dpoint, dweight), names):
        assert_close(a, e, t, name)


@pytest.mark.parametrize('normalize', [False, True])
def test_orientation(normalize):
    # component 0 is horizontal, component 1 points up: a point at (0.5, -0.75)
    # on a 9x9 grid (step 0.25) is row 7, column 6
    coord = torch.tensor([[[0.5, -0.75]]])
    kernel = ops.smp_kernel(
        coord, torch.tensor([[0.2]]), torch.ones(1, 1, 1), (9, 9), normalize=normalize
    )
    expected = torch.zeros(1, 1, 9, 9)
    expected[0, 0, 7, 6] = 1
    assert torch.allclose(kernel, expected, atol=2e-6)
    # one dimension: no flip
    kernel = ops.smp_kernel(
        coord[..., :1], torch.tensor([[0.3]]), torch.ones(1, 1, 1), (9,)
    )
    expected = torch.tensor([0, 0, 0, 0, 0, 1 / 6, 1, 1 / 6, 0])
    assert torch.allclose(kernel[0, 0], expected, atol=1e-6)
    # three: component 2 is the depth, which grows with its index
    coord = torch.tensor([[[0.5, -0.75, -0.5]]])
    kernel = ops.smp_kernel(
        coord, torch.tensor([[0.2]]), torch.ones(1, 1, 1), (9, 9, 9)
    )
    assert kernel.flatten().argmax() == (2 * 9 + 7) * 9 + 6


def test_normalize_divides_by_active_points():
    # three points on the centre: heights 1, 1 and 0 (too far), weights 2, 4, 8
    coord = torch.tensor([[[0.0], [0.0], [1.0]]])
    radius = torch.full((1, 3), 0.5)
    weight = torch.tensor([[[2.0, 4.0, 8.0]]])
    plain = ops.smp_kernel(coord, radius, weight, (3,))
    mean = ops.smp_kernel(coord, radius, weight, (3,), normalize=True)
    assert torch.allclose(plain[0, 0], torch.tensor([0.0, 6.0, 8.0]))
    assert torch.allclose(mean[0, 0], torch.tensor([0.0, 3.0, 8.0]), rtol=1e-5)


@pytest.mark.parametrize(
    'coord, radius',
    [(3.0, 0.5), (0.0, 50.0), (0.0, 1e-4), (1.0, 1.0)],
    ids=['outside', 'larger than the grid', 'between places', 'corner'],
)
def test_extreme_points(coord, radius):
    tensors = (
        torch.full((1, 2, 2), coord, dtype=torch.float64),
        torch.full((1, 2), radius, dtype=torch.float64),
        torch.ones(1, 1, 2, dtype=torch.float64),
    )
    for normalize in (False, True):
        expected = ops.reference.smp_kernel(*tensors, (4, 6), normalize=normalize)
        for backend in ops.backends('smp_kernel'):
            actual = ops.smp_kernel(
                *tensors, (4, 6), normalize=normalize, backend=backend
            )
            assert_close(actual, expected, 1e-12)


@pytest.mark.parametrize('backend', ops.backends('smp_kernel'))
@pytest.mark.parametrize('which', ['coord', 'radius', 'weight'])
@pytest.mark.parametrize('value', [float('nan'), float('inf'), -1.0])
def test_broken_parameters_never_crash(backend, which, value):
    """A training that diverged shows as NaN, not as a fault of memory."""
    (coord, radius, weight), size = make(CASES[0], torch.float32)
    tensors = dict(coord=coord, radius=radius, weight=weight)
    tensors[which][...] = value
    kernel = ops.smp_kernel(**tensors, size=size, backend=backend)
    assert kernel.shape == (1, 5, 9, 9)
    if value != value:
        assert kernel.isnan().any()


@pytest.mark.parametrize('normalize', [False, True])
def test_long_kernels_are_made_by_window(normalize):
    """Points of a step or two on 16,000 places, against the dense product."""
    from smpconv_mm.ops import dispatch

    torch.manual_seed(0)
    coord = torch.rand(3, 30, 1) * 2.2 - 1.1
    radius = torch.rand(3, 30) * 4e-4 + 1e-5
    tensors = [coord, radius, torch.randn(3, 4, 30)]
    args = (*tensors, (16000,), normalize)
    assert dispatch.choose('smp_kernel', 'auto', *args).name == 'window'
    kernels, grads = [], []
    probe = torch.randn(3, 4, 16000)
    for backend in ('window', 'dense'):
        leaves = [t.clone().requires_grad_() for t in tensors]
        kernel = ops.smp_kernel(*leaves, (16000,), normalize=normalize, backend=backend)
        kernels.append(kernel)
        grads.append(torch.autograd.grad((kernel * probe).sum(), leaves))
    assert_close(kernels[0], kernels[1], 1e-6)
    for a, b in zip(*grads):
        assert_close(a, b, 1e-5)


@pytest.mark.parametrize(
    'groups, slices, points, size, radius, expected',
    [
        (1, 96, 240, (31, 31), 4 / 31, 'window'),  # SMPNet-T, stage 1, at first
        (1, 96, 240, (31, 31), 0.3, 'dense'),  # and when radii have grown
        (1, 192, 210, (29, 29), 4 / 29, 'window'),  # stage 2
        (1, 384, 182, (27, 27), 4 / 27, 'dense'),  # stage 3, much the same on AVX-512
        (1, 768, 42, (13, 13), 4 / 13, 'dense'),  # stage 4
        (96, 1, 60, (31, 31), 0.3, 'window'),  # points of each channel's own
        (1, 1, 30, (100,), 1.0, 'dense'),
    ],
)
def test_auto_counts_the_work(groups, slices, points, size, radius, expected):
    from smpconv_mm.ops import dispatch

    tensors = (
        torch.zeros(groups, points, len(size)),
        torch.full((groups, points), radius),
        torch.zeros(groups, slices, points),
    )
    assert dispatch.choose('smp_kernel', 'auto', *tensors, size, False).name == expected
    if expected == 'dense':
        said = dispatch.explain('smp_kernel', *tensors, size, False)
        assert f'I = {slices} a dense product is faster' in said


@pytest.mark.parametrize('case', CASES[:4] + CASES[6:7], ids=str)
def test_gradcheck(case):
    tensors, size = make(case)
    tensors = [t.requires_grad_() for t in tensors]
    # the kernel is continuous without the division; with it, it is so in weight
    assert torch.autograd.gradcheck(
        lambda *t: ops.smp_kernel(*t, size), tensors, eps=1e-7, atol=1e-5
    )
    coord, radius, weight = (t.detach() for t in tensors)
    assert torch.autograd.gradcheck(
        lambda w: ops.smp_kernel(coord, radius, w, size, normalize=True),
        weight.requires_grad_(),
    )


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=str)
def test_made_in_float32(dtype):
    tensors, size = make(CASES[0], torch.float32)
    tensors = [t.to(dtype) for t in tensors]
    kernel = ops.smp_kernel(*tensors, size)
    assert kernel.dtype == dtype
    exact = ops.smp_kernel(*(t.float() for t in tensors), size)
    assert torch.equal(kernel, exact.to(dtype))
    with torch.autocast('cpu', dtype):
        assert (
            ops.smp_kernel(*(t.float() for t in tensors), size).dtype == torch.float32
        )


def test_grid_made_in_inference_mode_serves_training():
    tensors, _ = make((1, 2, 3, (6, 10)), torch.float32)
    with torch.inference_mode():
        ops.smp_kernel(*tensors, (6, 10))
    tensors = [t.requires_grad_() for t in tensors]
    ops.smp_kernel(*tensors, (6, 10)).sum().backward()
    assert all(t.grad is not None for t in tensors)


def test_compile_has_no_graph_break():
    tensors, size = make(CASES[0], torch.float32)
    compiled = torch.compile(ops.smp_kernel, fullgraph=True, backend='aot_eager')
    assert_close(compiled(*tensors, size), ops.smp_kernel(*tensors, size), 1e-6)


C, R, W = torch.zeros(1, 4, 2), torch.ones(1, 4), torch.zeros(1, 3, 4)


@pytest.mark.parametrize(
    'args, error, message',
    [
        (
            (torch.zeros(1, 4, 4), R, W, (3, 3)),
            ValueError,
            r'd = 1, 2 or 3.*\(1, 4, 4\)',
        ),
        ((C, R[:, :3], W, (3, 3)), ValueError, r'radius.*\(1, 4\).*\(1, 3\)'),
        ((C, R, W[..., :2], (3, 3)), ValueError, r'weight.*\(1, I, 4\).*\(1, 3, 2\)'),
        ((C, R, W, (3,)), ValueError, r'2 positive numbers, got \(3,\)'),
        ((C, R, W, (3, 0)), ValueError, r'positive numbers, got \(3, 0\)'),
        ((C, R, W.double(), (3, 3)), TypeError, 'share.*float32.*float64'),
        ((C.int(), R.int(), W.int(), (3, 3)), TypeError, 'floating.*int32'),
    ],
)
def test_bad_input(args, error, message):
    with pytest.raises(error, match=message):
        ops.smp_kernel(*args)


def test_without_values():
    """Meta and fake tensors, and transforms: never by way of the radii."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    tensors, size = make(CASES[1], torch.float32)
    expected = ops.smp_kernel(*tensors, size)
    assert ops.smp_kernel(*(t.to('meta') for t in tensors), size).shape == (1, 3, 7, 13)
    with FakeTensorMode(allow_non_fake_inputs=True):
        assert ops.smp_kernel(*tensors, size).shape == (1, 3, 7, 13)
    many = [torch.stack([t, t]) for t in tensors]
    both = torch.func.vmap(lambda *t: ops.smp_kernel(*t, size))(*many)
    grad = torch.func.grad(lambda c: ops.smp_kernel(c, *tensors[1:], size).sum())
    assert grad(tensors[0]).shape == tensors[0].shape
    # what was kept of the grid serves ordinary tensors afterwards
    for kernel in (both[1], ops.smp_kernel(*tensors, size)):
        assert_close(kernel, expected, 1e-6)
    traced = torch.jit.trace(lambda *t: ops.smp_kernel(*t, size), tensors)
    assert_close(traced(*tensors), expected, 1e-6)
