"""The CUDA kernel that turns maps from channels-last and back, run by the emulator."""

import functools

import pytest
import torch
from test_cuda_ops import emulated
from test_cuda_ops.emulated import EmulatorError, guarded, needs_compiler
from test_cuda_ops.planted import PlantedKernels

pytestmark = needs_compiler

# batch, rows, columns: even and odd, one tile and several
SHAPES = [(1, 1, 1), (2, 49, 96), (3, 64, 66), (2, 70, 131), (1, 196, 34), (5, 3, 2)]


def make(shape, dtype, offset=0):
    return guarded(
        torch.arange(float(torch.Size(shape).numel())).view(shape), dtype, offset
    )


def transpose(matrices, compiled=None, **options):
    batch, rows, columns = matrices.shape
    compiled = compiled or emulated.kernels('transpose')
    return compiled.call(
        'emulated_transpose',
        (batch, rows, columns),
        (matrices,),
        (batch, columns, rows),
        **options,
    )


@pytest.mark.parametrize(
    'dtype', [torch.float32, torch.float16, torch.bfloat16], ids=str
)
@pytest.mark.parametrize('shape', SHAPES, ids=str)
@pytest.mark.parametrize('offset', [0, 1])  # 1: 16-bit numbers are not in aligned pairs
def test_equals_torch(shape, dtype, offset):
    matrices = make(shape, dtype, offset)
    for seed in range(3):
        assert torch.equal(transpose(matrices, seed=seed), matrices.mT)


KERNEL = 'transpose.cuh'
MISTAKES = [
    ('no barrier', KERNEL, '«__syncthreads()»;', '(void)0'),
    ('halves not exchanged', KERNEL, '«(words[i][0] & 0xffffu) | (words[i][1] << 16)»',
     'words[i][0]'),
    ('a column too many', KERNEL, '«left + column >= columns» ||',
     'left + column > columns'),
    ('a row too many', KERNEL, '|| «top + lane >= rows»)', 'top + lane > rows'),
    ('odd sides as pairs', KERNEL, '«s.rows % 2 == 0» &&', 'true'),
]  # fmt: skip


@functools.lru_cache
def planted():
    return PlantedKernels('transpose', MISTAKES)


@pytest.mark.parametrize('number', range(1, len(MISTAKES) + 1))
def test_planted_mistakes_are_found(number):
    compiled = planted()
    compiled.plant(number)
    found = False
    for shape in [(2, 21, 40), (1, 12, 70), (3, 5, 34)]:
        matrices = make(shape, torch.bfloat16)
        for seed in range(3):
            try:
                found |= not torch.equal(
                    transpose(matrices, compiled, seed=seed), matrices.mT
                )
            except (EmulatorError, AssertionError):
                found = True
    assert found, MISTAKES[number - 1][0]
