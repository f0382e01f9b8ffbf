"""The CUDA kernels of the involution, run by the emulator."""

import functools

import pytest
import torch
from test_cuda_ops import emulated, involution_cases
from test_cuda_ops.emulated import EmulatorError, guarded, needs_compiler
from test_cuda_ops.involution_cases import SHAPES, expect, out_size
from test_cuda_ops.planted import PlantedKernels
from tolerances import TOLERANCES, assert_close

pytestmark = needs_compiler

DTYPES = [torch.float32, torch.float16, torch.bfloat16]

# tensor cores of a large and of a small GPU; without
DEVICES = [dict(), dict(shared=48 << 10), dict(mma=False)]
CASES = [(t, d) for t in DTYPES for d in DEVICES if t != torch.float32]
# strips, and too little shared memory for them
CASES += [(torch.float32, dict()), (torch.float32, dict(shared=1 << 10))]


def run(shape, what, first, second, compiled=None, **options):
    """One pass: what is 'output', 'input' or 'weight'."""
    n, c, g, h, w, k, stride, padding, dilation, order, border = shape
    places = out_size(shape)
    name = 'emulated_involution' + ('' if what == 'output' else f'_{what}')
    sizes = {
        'output': (n, c, *places),
        'input': (n, c, h, w),
        'weight': (n, g, k, k, *places),
    }
    numbers = [n, c, g, h, w, k, *places, stride, padding, dilation]
    numbers += [order == 'interleaved', border == 'clamp']
    compiled = compiled or emulated.kernels('involution')
    return compiled.call(name, numbers, [first, second], sizes[what], **options)


def make(shape, dtype, offset=0):
    return [guarded(t, dtype, offset) for t in involution_cases.make(shape, dtype)]


def passes(x, weight, grad):
    return ('output', x, weight), ('input', grad, weight), ('weight', x, grad)


@pytest.mark.parametrize('dtype, device', CASES, ids=str)
@pytest.mark.parametrize('shape', SHAPES, ids=str)
def test_agrees_with_float64_reference(shape, dtype, device):
    tensors = make(shape, dtype)
    expected = expect(shape, *tensors)
    for limit, exact, (what, *arrays) in zip(
        TOLERANCES['involution'][dtype], expected, passes(*tensors)
    ):
        for seed in range(3):  # threads run upwards, downwards, mixed
            actual = run(shape, what, *arrays, seed=seed, **device)
            assert_close(actual, exact, limit, what)


@pytest.mark.parametrize('dilation', [1, 2], ids=['strips', 'tensor cores'])
@pytest.mark.parametrize('width', [3, 6, 12, 24])
@pytest.mark.parametrize('offset', [0, 1, 2, 4])
def test_alignment_of_rows_and_tensors(width, offset, dilation):
    shape = (2, 16, 1, 5, width, 5, 1, 2 * dilation, dilation, 'contiguous', 'zeros')
    tensors = make(shape, torch.bfloat16, offset)
    for exact, (what, *arrays) in zip(expect(shape, *tensors), passes(*tensors)):
        assert_close(run(shape, what, *arrays), exact, 2e-2, what)


def test_does_not_depend_on_the_order_of_threads():
    shape = (2, 40, 1, 14, 14, 7, 1, 6, 2, 'contiguous', 'zeros')
    for what, *arrays in passes(*make(shape, torch.bfloat16)):
        found = [run(shape, what, *arrays, seed=s) for s in range(4)]
        assert all(torch.equal(found[0], other) for other in found)


# Mistakes that the tests above must find: (what, file, text in which « and » stand
# around the expression to replace, what is put there, kernels and pass).
DEVICE, MMA = 'involution_device.cuh', 'involution_mma_kernel.cuh'
STRIP, SIMT = 'involution_strip_kernel.cuh', 'involution_simt_kernel.cuh'
NOTHING = '(void)0'
MISTAKES = [
    ('no barrier after loading', MMA,
     '«__syncthreads()»;\n\n  const int eights = ceil_div(b.columns.size(), '
     'kMmaOutputs);\n  const int bands', NOTHING, 'tensor output'),
    ('no wait for the copies', MMA, '  });\n  copy_commit();\n  «copy_wait()»', NOTHING,
     'tensor input'),
    ('last line of sources lost', MMA, 'line < «lines.last»; ++line',
     'lines.last - 1', 'tensor output'),
    ('last product of a row lost', MMA, 'at < «from.last - source_left»;\n'
     '         at += kMmaPlaces) {\n      int offset[4];  //',
     'from.last - source_left - kMmaPlaces', 'tensor input'),
    ('one column too many is written', MMA, '«j < columns.last» && channel',
     'j <= columns.last', 'tensor output'),
    ('a row below the map is read', MMA, 'row >= 0 && «row < height»;',
     'row <= height', 'tensor weight'),
    ('matrix not transposed', MMA,
     '«load_matrices<true>(a, line + member * t.member_pitch)»',
     'load_matrices<false>(a, line + member * t.member_pitch)', 'tensor weight'),
    ('slopes of the first channels only', MMA, 'if («t.members > kMmaChannels»)',
     'false', 'tensor weight'),
    ('no barrier before writing', MMA,
     '  «__syncthreads()»;\n\n  const int64_t outputs', NOTHING, 'tensor weight'),
    ('taps at the wrong rows', MMA, '(row - «first_rows[u]»)', 'b.rows.first',
     'tensor input'),
    ('no barrier after loading (strips)', STRIP,
     'copy_wait();\n  «__syncthreads()»', NOTHING, 'strip output'),
    ('no barrier after the zeros (strips)', STRIP,
     't.pitch);\n    «__syncthreads()»', NOTHING, 'strip weight'),
    ('taps not turned round (strips)', STRIP, 'next = int(«Transposed ? -plane : plane»);',
     'plane', 'strip input'),
    ('windows one column early (strips)', STRIP, 'left = b.left - «strip_lead<K>()»;',
     'strip_lead<K>() + 1', 'strip weight'),
    ('no zeros around the map (strips)', STRIP,
     '«fill_zero(to, to + kStripMembers * rows * t.pitch)»', NOTHING, 'strip output'),
    ('weight of the targets, not the sources (strips)', STRIP,
     '«Transposed ? v - K / 2 : 0»);', '0', 'strip input'),
    ('a column too many is written (strips)', STRIP,
     'if («column + p < width»)\n', 'true', 'strip output'),
    ('window not moved (SIMT)', DEVICE, 'if («over > 0») first -=', 'over > 9',
     'simt output'),
    ('readers of moved windows forgotten (SIMT)', DEVICE,
     'o.last = «outputs»;', 'o.last', 'simt input'),
    ('last channel forgotten (SIMT)', SIMT, 'member < «group_width(s)»; ++member',
     'group_width(s) - 1', 'simt weight'),
]  # fmt: skip

# several tiles of rows and columns, more tasks than warps, 20 channels in a group
HARD = {
    'tensor': (1, 40, 2, 21, 76, 5, 1, 4, 2, 'contiguous', 'zeros'),
    'strip': (1, 16, 1, 9, 11, 7, 1, 3, 1, 'contiguous', 'zeros'),
    'simt': (1, 6, 2, 9, 12, 5, 1, 2, 1, 'interleaved', 'clamp'),
}


@functools.lru_cache
def planted():
    return PlantedKernels('involution', [m[:4] for m in MISTAKES])


@functools.lru_cache
def hard_case(kind):
    dtype = torch.float32 if kind == 'strip' else torch.bfloat16
    tensors = make(HARD[kind], dtype)
    return tensors, dict(
        zip(('output', 'input', 'weight'), expect(HARD[kind], *tensors))
    )


def find_mistake(number, where):
    kind, what = where.split()
    tensors, expected = hard_case(kind)
    arrays = {name: two for name, *two in passes(*tensors)}[what]
    planted().plant(number)
    for seed in range(3):
        options = dict(seed=seed, mma=kind != 'simt', compiled=planted())
        actual = run(HARD[kind], what, *arrays, **options)
        assert_close(actual, expected[what], 1e-5 if kind == 'strip' else 1e-2, what)


@pytest.mark.parametrize('where', sorted({m[-1] for m in MISTAKES}))
def test_finds_nothing_without_mistake(where):
    find_mistake(0, where)


@pytest.mark.parametrize('what', [m[0] for m in MISTAKES])
def test_finds_planted_mistake(what):
    number = [m[0] for m in MISTAKES].index(what)
    with pytest.raises((AssertionError, EmulatorError)):
        find_mistake(number + 1, MISTAKES[number][4])
