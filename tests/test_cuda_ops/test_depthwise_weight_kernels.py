"""The CUDA kernels of the gradient of a depthwise kernel, run by the emulator."""

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
    (64, 2, 7, 7, 13, 13),  # as in SMPNet
    (48, 2, 14, 14, 27, 27),
    (16, 1, 28, 28, 29, 29),
    (1, 1, 56, 56, 31, 31),
    (1, 2, 40, 44, 9, 17),
    (17, 2, 5, 3, 7, 7),
    (5, 2, 13, 29, 7, 31),
    (3, 2, 9, 17, 5, 31),
    (4, 1, 7, 5, 13, 31),  # map smaller than the kernel
    (2, 1, 20, 70, 13, 33),  # wide maps are cut into segments of columns
    (2, 1, 9, 64, 5, 7),
    (1, 1, 6, 130, 3, 63),
    (1, 2, 8, 112, 7, 51),
    (1, 1, 40, 16, 63, 15),  # tall kernels are shared by blocks
    (33, 1, 30, 8, 1, 9),
    (2, 2, 16, 15, 5, 17),
    (40, 3, 8, 8, 15, 9),
]
# tensor cores of a large and of a small GPU; without
DEVICES = [dict(), dict(shared=64 << 10), dict(mma=False, shared=64 << 10)]


def make(shape, dtype, offset=0):
    generator = torch.Generator().manual_seed(0)
    make = functools.partial(torch.randn, generator=generator)
    return [guarded(make(shape[:4]), dtype, offset) for _ in range(2)]


def weight_gradient(compiled, x, grad, kh, kw, **options):
    shape, out = (*x.shape, kh, kw), (x.shape[1], 1, kh, kw)
    return compiled.call('emulated_weight', shape, (x, grad), out, **options)


def run(x, grad, kh, kw, **options):
    compiled = emulated.kernels('depthwise_conv')
    return weight_gradient(compiled, x, grad, kh, kw, **options)


def reference(x, grad, kh, kw):
    weight = torch.zeros(x.shape[1], 1, kh, kw, dtype=torch.float64, requires_grad=True)
    out = F.conv2d(x.double(), weight, padding=(kh // 2, kw // 2), groups=x.shape[1])
    return torch.autograd.grad(out, weight, grad.double())[0]


def check(compiled, shape, dtype, **options):
    x, grad = make(shape, dtype)
    actual = weight_gradient(compiled, x, grad, *shape[4:], **options)
    limit = TOLERANCES['depthwise_conv2d'][dtype][2]
    assert_close(actual, reference(x, grad, *shape[4:]), limit)


@pytest.mark.parametrize('device', DEVICES, ids=str)
@pytest.mark.parametrize('dtype', DTYPES, ids=str)
@pytest.mark.parametrize('shape', SHAPES, ids=str)
def test_agrees_with_float64_reference(shape, dtype, device):
    seed = SHAPES.index(shape) % 3  # threads run upwards, downwards, mixed
    check(emulated.kernels('depthwise_conv'), shape, dtype, seed=seed, **device)


@pytest.mark.parametrize('dtype', DTYPES, ids=str)
@pytest.mark.parametrize('width', [3, 6, 12, 24])
@pytest.mark.parametrize('offset', [0, 1, 2, 4])
def test_alignment_of_rows_and_tensors(width, offset, dtype):
    x, grad = make((2, 2, 5, width), dtype, offset)
    limit = TOLERANCES['depthwise_conv2d'][dtype][2]
    assert_close(run(x, grad, 5, 5), reference(x, grad, 5, 5), limit)


@pytest.mark.parametrize('dtype', DTYPES, ids=str)
def test_does_not_depend_on_the_order_of_threads(dtype):
    x, grad = make((40, 1, 14, 14), dtype)
    found = [run(x, grad, 13, 13, seed=s, processors=1) for s in range(4)]
    assert all(torch.equal(found[0], f) for f in found)


@pytest.mark.parametrize('dtype', DTYPES, ids=str)
@pytest.mark.parametrize('value', [float('inf'), float('nan')])
def test_numbers_that_are_not_finite_are_seen(value, dtype):
    x, grad = make((1, 1, 4, 4), dtype)
    x[0, 0, 1, 1] = value
    assert not run(x, grad, 3, 3).isfinite().any()


@pytest.mark.parametrize('size', [1e37, 1e-37])
def test_large_and_small_numbers(size):
    x, grad = make((1, 1, 4, 4), torch.float32)
    x[0, 0, 1, 1] = size
    assert_close(run(x, grad, 3, 3), reference(x, grad, 3, 3), 1e-5)


# Shapes and plans that meet what the mistakes are in.
RINGS = (18, 1, 41, 20, 33, 11), 'weight:segment=41,chunk=8,splits=1'
WHOLE = (80, 1, 10, 12, 5, 5), 'weight:segment=10,images=16,stages=2,splits=1'
SPLITS = (80, 1, 10, 12, 5, 5), 'weight:segment=10,images=16,splits=3'
SEGMENTS = (1, 2, 19, 20, 9, 9), 'weight:segment=2'
PAIRS = (18, 2, 7, 7, 13, 13), ''
SMALL = (80, 1, 13, 14, 9, 9), ''
COLUMNS = (2, 1, 20, 70, 13, 33), ''

KERNEL = 'depthwise_conv_weight_mma_kernel.cuh'
MAPS, PLAN = 'depthwise_conv_weight_maps.cuh', 'depthwise_conv_weight_plan.cuh'
SIMT = 'depthwise_conv_weight_simt_kernel.cuh'
SMALL_KERNEL = 'depthwise_conv_weight_small_kernel.cuh'
MISTAKES = [
    ('no barrier between stages', KERNEL,
     't.ahead - 1);\n      «__syncthreads()»', 'void()', RINGS),
    ('copies not waited for', KERNEL, 'copy_wait_but(«t.ahead - 1»)', 't.ahead', WHOLE),
    ('ring a row too short', PLAN,
     't->rows = larger(t->rows, «(end / a_job - stage / a_job) * all + last - first»)',
     '(end / a_job - stage / a_job) * all + last - first - 1', RINGS),
    ('ring overrun', MAPS, '«slot >= ring»', 'slot > ring', RINGS),
    ('row below the map', KERNEL,
     '< «unsigned(until - lowest)»', 'unsigned(until - lowest) + 1', RINGS),
    ('rows of the next stage', KERNEL, '«y + lane_step < bottom»', 'true', WHOLE),
    ('barrier before the taps', KERNEL,
     'copy_wait();\n  «__syncthreads()»', 'void()', SEGMENTS),
    ('barrier before the sum', KERNEL,
     '  «__syncthreads()»;\n  const WeightBlock own', 'void()', RINGS),
    ('lanes of a warp run apart', MAPS,
     '++m) {\n    «__syncwarp()»', 'void()', RINGS),
    ('a diagonal forgotten', MAPS,
     '«k < 2 * kLine»; k += kWarpSize', 'k < 40', RINGS),
    ('matrix not transposed', KERNEL,
     '«load_matrices<true>(a[half], map_row + half * kLow + 8 * e)»',
     'load_matrices<false>(a[half], map_row + half * kLow + 8 * e)', RINGS),
    ('a warp forgotten', KERNEL, '«p < phases»', 'p + 1 < phases', RINGS),
    ('columns beside the map', KERNEL,
     'kPitch, «columns», kLow)', 'columns + 1', RINGS),
    ('columns before the map', KERNEL, 'zero_grads(0, «lead»)', '0', COLUMNS),
    ('shares in one place', KERNEL, 'int64_t(«own.split»)', '0', SPLITS),
    ('row outside of an image', MAPS, '«row >= 0» &&', 'true', SEGMENTS),
    ('image that is not there', MAPS,
     'if («m < valid»)\n#pragma', 'm < members', PAIRS),
    ('no barrier between jobs of small maps', SMALL_KERNEL,
     't.ahead - 1);\n      «__syncthreads()»', 'void()', SMALL),
    ('memory not cleared', SMALL_KERNEL, '«i < words»', 'false', SMALL),
    ('all jobs in one buffer', SMALL_KERNEL,
     'load_buffer = «load_buffer + 1 == t.buffers»', 'true', SMALL),
    ('lower halves forgotten', SMALL_KERNEL,
     '«half < 2»; ++half) {\n                       const int own', 'half < 1', SMALL),
    ('barrier before the taps of small maps', SMALL_KERNEL,
     'copy_wait();\n  «__syncthreads()»', 'void()', SMALL),
    ('no barrier between jobs', SIMT, '«__syncthreads()»;  // the job', 'void()',
     ((18, 1, 21, 20, 13, 11), None)),
    ('window shifted', SIMT, '«left - s.kernel_width / 2»',
     'left - s.kernel_width / 2 + 1', ((2, 1, 9, 10, 5, 5), None)),
]  # fmt: skip


@functools.lru_cache
def planted():
    return PlantedKernels('depthwise_conv', [m[:4] for m in MISTAKES])


def find_mistake(number, case):
    shape, plan = case
    options = dict(mma=plan is not None, plan=plan or '', shared=90 << 10, processors=0)
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
