"""The CUDA kernels of the depthwise convolution, run by the emulator."""

import functools

import pytest
import torch
import torch.nn.functional as F
from test_cuda_ops import emulated
from test_cuda_ops.emulated import EmulatorError, guarded, needs_compiler
from test_cuda_ops.planted import PlantedKernels
from tolerances import TOLERANCES, assert_close

pytestmark = needs_compiler

DTYPES = [torch.float32, torch.float16, torch.bfloat16]

# N, C, H, W, Kh, Kw
SHAPES = [
    (1, 1, 1, 1, 1, 1),
    (2, 3, 7, 7, 7, 7),
    (64, 1, 7, 7, 13, 13),  # as in SMPNet
    (48, 2, 14, 14, 27, 27),
    (16, 1, 28, 28, 29, 29),
    (1, 1, 56, 56, 31, 31),
    (17, 2, 5, 3, 7, 7),
    (5, 2, 13, 29, 7, 31),
    (2, 1, 11, 40, 9, 49),
    (3, 2, 9, 17, 5, 31),
    (4, 1, 7, 5, 13, 31),  # map smaller than the kernel
    (2, 1, 20, 70, 13, 33),  # wide maps are cut into segments of columns
    (1, 1, 6, 130, 3, 63),
    (2, 1, 9, 64, 5, 7),
    (1, 2, 8, 112, 7, 51),
    (1, 1, 40, 16, 63, 15),
    (33, 1, 30, 8, 1, 9),
]
# tensor cores of a large and of a small GPU; without
DEVICES = [dict(), dict(shared=64 << 10), dict(mma=False, shared=64 << 10)]


def make(shape, dtype, offset=0):
    """A map, a kernel and a bias."""
    n, c, h, w, kh, kw = shape
    generator = torch.Generator().manual_seed(0)
    sizes = (n, c, h, w), (c, 1, kh, kw), (c,)
    return [guarded(torch.randn(s, generator=generator), dtype, offset) for s in sizes]


def conv(compiled, x, weight, bias=None, flip=False, **options):
    shape = (*x.shape, *weight.shape[2:], flip)
    return compiled.call('emulated_conv', shape, (x, weight, bias), x.shape, **options)


def reference(x, weight, bias=None, flip=False):
    weight = weight.flip(2, 3) if flip else weight
    padding = (weight.shape[2] // 2, weight.shape[3] // 2)
    bias = None if bias is None else bias.double()
    return F.conv2d(
        x.double(), weight.double(), bias, padding=padding, groups=x.shape[1]
    )


def check(compiled, shape, dtype, offset=0, **options):
    """With a bias, and, turned, without: as the gradient of the input is computed."""
    x, weight, bias = make(shape, dtype, offset)
    limits = TOLERANCES['depthwise_conv2d'][dtype]
    actual = conv(compiled, x, weight, bias, **options)
    assert_close(actual, reference(x, weight, bias), limits[0])
    actual = conv(compiled, x, weight, flip=True, **options)
    assert_close(actual, reference(x, weight, flip=True), limits[1])


@pytest.mark.parametrize('device', DEVICES, ids=str)
@pytest.mark.parametrize('dtype', DTYPES, ids=str)
@pytest.mark.parametrize('shape', SHAPES, ids=str)
def test_agrees_with_float64_reference(shape, dtype, device):
    seed = SHAPES.index(shape) % 3  # threads run upwards, downwards, mixed
    check(emulated.kernels('depthwise_conv'), shape, dtype, seed=seed, **device)


@pytest.mark.parametrize('dtype', DTYPES, ids=str)
@pytest.mark.parametrize('width', [3, 6, 12, 20, 24, 28])
@pytest.mark.parametrize('offset', [0, 1, 2, 4])
def test_alignment_of_rows_and_tensors(width, offset, dtype):
    check(emulated.kernels('depthwise_conv'), (2, 2, 5, width, 5, 5), dtype, offset)


PLANS = [
    'images=1',
    'images=4,stack=16',
    'images=32,stack=1,warps=3',
    'segment=6,images=2',
    'tiles=1,segment=10,warps=1',
]


@pytest.mark.parametrize('plan', PLANS)
def test_agrees_with_any_plan(plan):
    check(
        emulated.kernels('depthwise_conv'),
        (33, 1, 13, 30, 9, 11),
        torch.bfloat16,
        plan=f'conv:{plan}',
    )


def test_does_not_depend_on_the_order_of_threads():
    tensors = make((40, 1, 14, 14, 13, 13), torch.bfloat16)
    compiled = emulated.kernels('depthwise_conv')
    outs = [conv(compiled, *tensors, seed=s) for s in range(4)]
    assert all(torch.equal(outs[0], o) for o in outs)


# Shapes and plans that meet what the mistakes are in: rows cut into segments, written at
# once or by exchange of words; rows of odd and of even width that pass through shared
# memory.
SEGMENTS = (18, 1, 21, 20, 17, 11), 'conv:segment=8,images=16,warps=2'
EXCHANGE = (3, 1, 9, 28, 5, 11), 'conv:images=4'
EVEN = (40, 1, 6, 14, 5, 9), 'conv:images=64,warps=4'
ODD = (40, 1, 5, 7, 5, 5), 'conv:images=64,warps=4'

KERNEL, MAPS = 'depthwise_conv_mma_kernel.cuh', 'depthwise_conv_maps.cuh'
SIMT = 'depthwise_conv_simt_kernel.cuh'
MISTAKES = [
    ('no barrier after loading', KERNEL, 'copy_wait();\n  «__syncthreads()»', 'void()', EVEN),
    ('no wait for the copies', KERNEL, '  «copy_wait()»;\n', 'void()', EVEN),
    ('one tap too few', KERNEL, 'v >= 0 && «v < s.kernel_width»', 'v < s.kernel_width - 1',
     SEGMENTS),
    ('last row of taps lost', KERNEL, '«u <= last»; u', 'u < last', SEGMENTS),
    ('same taps for both rows', KERNEL, '4 * k - «i» * kLine', '0', SEGMENTS),
    ('taps turned in one direction', KERNEL, 'first + «step» *', '1', ODD),
    ('rows beyond the map are read', KERNEL, '«there ? line[tile] : no_row»', 'line[tile]',
     SEGMENTS),
    ('rows of the next segment are written', KERNEL, 'slot < images ? «height - y»',
     'height - y + 1', SEGMENTS),
    ('words of neighbours not exchanged', KERNEL, 'odd ? word : next, «1»', '0', EXCHANGE),
    ('no barrier before the outputs leave', KERNEL, 'if (kStaged) {\n    «__syncthreads()»',
     'void()', ODD),
    ('first task lost', KERNEL, '*queue = «0»', '1', SEGMENTS),
    ('a task taken by each lane', KERNEL, 'if («lane == 0») task', 'true', SEGMENTS),
    ('a task of its own for each lane', KERNEL, '«__shfl_sync(~0u, task, 0)»', 'task', SEGMENTS),
    ('no zeros beside the map', MAPS, 'inside = «column < w.columns»', 'true', EVEN),
    ('images skipped in copies', MAPS, 'step = «teams» * stride', '1', EVEN),
    ('images skipped in short copies', MAPS, 'step = teams * «w.image_pitch»', '0', ODD),
    ('rows skipped in copies', MAPS, 'row += «lines»)', 'lines + 1', SEGMENTS),
    ('outputs not copied', MAPS, 'x < «across»; x += threads) {\n    T* target', 'across - 1', ODD),
    ('no barrier after loading (SIMT)', SIMT, '«__syncthreads()»;\n  const int row = top',
     'void()', (SEGMENTS[0], None)),
    ('strip one too early (SIMT)', SIMT, 'line + v + «kStrip»)', '0', (SEGMENTS[0], None)),
    ('taps not turned (SIMT)', SIMT, '«flip ? taps - 1 - at : at»', 'at', (SEGMENTS[0], None)),
]  # fmt: skip


@functools.lru_cache
def planted():
    return PlantedKernels('depthwise_conv', [m[:4] for m in MISTAKES])


def find_mistake(number, case):
    shape, plan = case
    options = dict(mma=plan is not None, plan=plan or '', shared=90 << 10)
    planted().plant(number)
    for seed in range(3):
        check(planted(), shape, torch.bfloat16, seed=seed, **options)


@pytest.mark.parametrize('case', sorted({m[4] for m in MISTAKES}, key=str), ids=str)
def test_finds_nothing_without_mistake(case):
    find_mistake(0, case)


@pytest.mark.parametrize('what', [m[0] for m in MISTAKES])
def test_finds_planted_mistake(what):
    number = [m[0] for m in MISTAKES].index(what)
    with pytest.raises((AssertionError, EmulatorError)):
        find_mistake(number + 1, MISTAKES[number][4])
