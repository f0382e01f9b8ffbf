"""The CUDA kernels of the oriented convolution, run by the emulator."""

import functools
import math

import pytest
import torch
from test_cuda_ops import emulated
from test_cuda_ops.emulated import EmulatorError, guarded, needs_compiler
from test_cuda_ops.planted import PlantedKernels
from tolerances import TOLERANCES, assert_close

from smpconv_mm.ops import reference

pytestmark = needs_compiler

DTYPES = [torch.float32, torch.float16, torch.bfloat16]

# N, C, H, W, taps, stride
SHAPES = [
    (1, 1, 1, 1, 1, 1),
    (2, 8, 7, 7, 7, 1),
    (40, 2, 7, 7, 13, 1),  # several images per block
    (9, 4, 14, 14, 31, 1),  # map smaller than the kernel
    (1, 9, 28, 28, 31, 1),
    (1, 8, 56, 56, 31, 1),
    (2, 3, 13, 29, 15, 1),
    (1, 2, 5, 90, 63, 1),  # tiles of columns
    (1, 2, 70, 9, 63, 1),  # tiles of rows
    (2, 8, 9, 13, 15, 2),
    (1, 8, 40, 37, 31, 2),
    (2, 3, 17, 6, 7, 3),
    (1, 2, 50, 41, 9, 17),
    (3, 2, 4, 6, 5, 8),  # one output
]
DEVICES = [dict(), dict(shared=64 << 10), dict(processors=132)]


def make(shape, dtype, offset=0):
    n, c, h, w, taps, stride = shape
    generator = torch.Generator().manual_seed(0)
    out = -(-h // stride), -(-w // stride)
    sizes = (n, c, h, w), (c, 1, 1, taps), (c,), (n, c, *out)
    values = [torch.randn(s, generator=generator) for s in sizes]
    x, weight, bias, grad = (guarded(v, dtype, offset) for v in values)
    # the directions of the networks, then others, negative and large ones too
    angle = torch.arange(c) * math.pi / 8
    angle[8:] = torch.linspace(-9, 9, max(0, c - 8))
    if c < 8:
        angle = torch.tensor([22.5, 45, -60, 90, 100, 157.5, 180][:c]).deg2rad()
    return x, weight, guarded(angle, torch.float32), bias, grad


class OrientedConv:
    """The three passes, by the kernels of a folder."""

    def __init__(self, compiled):
        self.compiled = compiled

    def run(self, shape, tensors, **options):
        x, weight, angle, bias, grad = tensors
        call = functools.partial(self.compiled.call, **options)
        return (
            call('emulated_conv', shape, (x, weight, angle, bias), grad.shape),
            call('emulated_input', shape, (grad, weight, angle), x.shape),
            call('emulated_weight', shape, (x, grad, angle), weight.shape),
        )


def kernels():
    return OrientedConv(emulated.kernels('oriented_conv'))


def expected(tensors, stride):
    x, weight, angle, bias, grad = tensors
    x, weight = x.double().requires_grad_(), weight.double().requires_grad_()
    out = reference.oriented_conv2d(x, weight, angle, bias.double(), stride=stride)
    return out.detach(), *torch.autograd.grad(out, (x, weight), grad.double())


@pytest.mark.parametrize('dtype', DTYPES, ids=str)
@pytest.mark.parametrize('shape', SHAPES, ids=str)
def test_agrees_with_float64_reference(shape, dtype):
    tensors = make(shape, dtype)
    wanted = expected(tensors, shape[-1])
    limits = TOLERANCES['oriented_conv2d'][dtype]
    for seed, device in enumerate(DEVICES):  # threads run upwards, downwards, mixed
        found = kernels().run(shape, tensors, seed=seed, **device)
        for what, a, e, limit in zip(('out', 'dx', 'dw'), found, wanted, limits):
            assert_close(a, e, limit, what)


@pytest.mark.parametrize('degrees', [0, 90, 180, 270, -90, 30, 60, 120, 33.3, 81])
def test_taps_lie_where_the_definition_says(degrees):
    shape = (1, 1, 41, 41, 31, 1)
    x = torch.zeros(1, 1, 41, 41)
    x[0, 0, 20, 20] = 1
    weight = 2.0 ** torch.arange(-15, 16).view(1, 1, 1, 31)
    angle = torch.tensor([math.radians(degrees)])
    tensors = [guarded(t, torch.float32) for t in (x, weight, angle, torch.zeros(1), x)]
    out, dx, _ = kernels().run(shape, tensors)
    wanted, wanted_dx, _ = expected(tensors, 1)
    assert torch.equal(out.double(), wanted) and torch.equal(dx.double(), wanted_dx)


@pytest.mark.parametrize('offset', [1, 2, 3])
def test_alignment_of_tensors(offset):
    shape = (2, 3, 5, 6, 5, 1)
    tensors = make(shape, torch.bfloat16, offset=offset)
    for a, e in zip(kernels().run(shape, tensors), expected(tensors, 1)):
        assert_close(a, e, 2e-2)


def test_does_not_depend_on_the_order_of_threads():
    shape = (12, 3, 14, 14, 13, 1)
    tensors = make(shape, torch.bfloat16)
    runs = [kernels().run(shape, tensors, seed=s, processors=1) for s in range(4)]
    assert all(torch.equal(a, b) for run in runs for a, b in zip(run, runs[0]))


def test_a_nan_angle_is_not_hidden():
    shape = (1, 3, 9, 9, 5, 1)
    tensors = make(shape, torch.float32)
    tensors[2][1] = math.nan
    out = kernels().run(shape, tensors)[0]
    assert out[:, 1].isnan().all() and out[:, ::2].isfinite().all()


# Mistakes that the tests above must find; see PlantedKernels.
LINE, KERNEL = 'oriented_conv_line.cuh', 'oriented_conv_kernel.cuh'
WINDOWS = 'windows.cuh'
MISTAKES = [
    ('rounded down', LINE, 'static_cast<int>(«-sine * distance»)',
     'floor(-sine * distance)'),
    ('not mirrored', LINE, '(«s.mirrored ? centre - tap : tap - centre»)',
     'tap - centre'),
    ('a tap on the same pixel forgotten', LINE, '«sum += to_float(weight[next])»;', 'sum'),
    ('taps that touch the map dropped', LINE, '«magnitude(x) < width»;',
     'magnitude(x) < width - 1'),
    ('runs do not end', LINE, '«down[e] != row_step» ||', 'false'),
    ('window not turned', LINE, 'window[«(i + turn) % Length»]', 'i'),
    ('window filled at a wrong place', LINE, 'window[«(Length - 1 + turn) % Length»]',
     '(Length + turn) % Length'),
    ('strip from the wrong end', LINE,
     '* Length + «(line.row_step < 0 ? Length - 1 : 0)»;', '0'),
    ('no slanted margin', LINE, 't.columns + «(column_step != 0 ? Strip - 1 : 0)»', '0'),
    ('zeros between rows too narrow', LINE,
     'at.pitch = align * (ceil_div(columns + «column_reach», align) | 1)', '0'),
    ('zeros between maps too few', LINE,
     'next_with_rest((rows + «row_reach») * at.pitch', '0'),
    ('a row beyond the tile counts', LINE, 'row >= 0 && «row < rows»', 'row <= rows'),
    ('vectors from a column that is not aligned', KERNEL,
     'w.first_column = «first(left - line.column_reach) & -t.copies.vector»;',
     'first(left - line.column_reach)'),
    ('a map too many at once', WINDOWS,
     'unit = «slots / rows», outer', 'slots / rows + 1'),
    ('no wait for the copies', KERNEL,
     'source_plane);\n    copy_commit();\n    «copy_wait()»;', 'void()'),
    ('no barrier after loading', KERNEL,
     '«__syncthreads()»;\n    const bool working', 'void()'),
    ('no barrier before the outputs', KERNEL,
     '«__syncthreads()»;\n    if (working) {', 'void()'),
    ('no barrier before storing', KERNEL,
     '«__syncthreads()»;\n    store_windows', 'void()'),
    ('no barrier before the next maps', KERNEL,
     '«__syncthreads()»;\n    if (s.spread > 1) {', 'void()'),
    ('zeros between pixels not restored', KERNEL, 'if («s.spread > 1») {', 'false'),
    ('no zeros around the maps', KERNEL, '«fill_zero(maps, end)»;\n  __syncthreads();',
     'void()'),
    ('no barrier before the gradients are read', KERNEL,
     '«__syncthreads()»;\n    if (strip.image', 'void()'),
    ('no barrier before the next gradients', KERNEL,
     '    }\n    «__syncthreads()»;\n  }\n  // A warp adds', 'void()'),
    ('the sum of the last job lost', KERNEL, 'float even = «mine[pixel * threads]»',
     '0.f'),
    ('a warp forgotten', KERNEL, 'for (int w = «0»; w < warps', '1'),
    ('no barrier before the shares', KERNEL,
     'line.value[pixel] = sum;\n  }\n  «__syncthreads()»;', 'void()'),
    ('dropped taps get a gradient', KERNEL, '«pixel < 0» ? 0.f :', 'false'),
]  # fmt: skip

# Several jobs and images per block, strides, several tiles.
HARD = [
    ((9, 8, 17, 14, 31, 1), torch.bfloat16),
    ((9, 8, 17, 14, 31, 1), torch.float32),
    ((11, 3, 17, 12, 7, 2), torch.float32),
    ((3, 8, 9, 30, 7, 1), torch.bfloat16),
    ((2, 3, 6, 92, 21, 1), torch.float32),
]


@functools.lru_cache
def hard_case(shape, dtype):
    tensors = make(shape, dtype)
    return tensors, expected(tensors, shape[-1])


@functools.lru_cache
def planted():
    return PlantedKernels('oriented_conv', MISTAKES)


def find_mistake(number):
    planted().plant(number)
    for seed in range(3):
        for shape, dtype in HARD:
            tensors, wanted = hard_case(shape, dtype)
            options = dict(processors=0, seed=seed, shared=120 << 10)
            found = OrientedConv(planted()).run(shape, tensors, **options)
            for a, e in zip(found, wanted):
                assert_close(a, e, 2e-2)


def test_finds_nothing_without_mistake():
    find_mistake(0)


@pytest.mark.parametrize('what', [m[0] for m in MISTAKES])
def test_finds_planted_mistake(what):
    with pytest.raises((AssertionError, EmulatorError)):
        find_mistake([m[0] for m in MISTAKES].index(what) + 1)
