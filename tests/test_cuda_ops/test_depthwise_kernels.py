"""The CUDA kernels of the depthwise convolution, run by the emulator."""

import functools

import pytest
import torch
import torch.nn.functional as F
from test_cuda_ops import emulated
from test_cuda_ops.emulated import CSRC, EmulatorError, guarded, needs_compiler
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
    (3, 2, 9, 17, 5, 31),
    (4, 1, 7, 5, 13, 31),  # map smaller than the kernel
    (2, 1, 20, 70, 13, 33),  # wide maps are cut into segments of columns
    (1, 1, 6, 130, 3, 63),
    (1, 2, 8, 112, 7, 51),
    (1, 1, 40, 16, 63, 15),
    (33, 1, 30, 8, 1, 9),
]
# tensor cores of a large and of a small GPU; without, as for float32 everywhere
DEVICES = [dict(), dict(shared=64 << 10), dict(mma=False, shared=64 << 10)]
CASES = [(t, d) for t in DTYPES for d in DEVICES if t != torch.float32]
CASES.append((torch.float32, DEVICES[-1]))


def make(shape, dtype, offset=0):
    n, c, h, w, kh, kw = shape
    generator = torch.Generator().manual_seed(0)
    sizes = (n, c, h, w), (c, 1, kh, kw), (c,), (n, c, h, w)
    return [guarded(torch.randn(s, generator=generator), dtype, offset) for s in sizes]


class DepthwiseConv:
    """The two passes, by the kernels of a folder."""

    def __init__(self, compiled):
        self.compiled = compiled

    def conv(self, x, weight, bias=None, **options):
        shape = (*x.shape, *weight.shape[2:])
        inputs = (x, weight, bias)
        return self.compiled.call('emulated_conv', shape, inputs, x.shape, **options)

    def weight(self, x, grad, kh, kw, **options):
        shape, out = (*x.shape, kh, kw), (x.shape[1], 1, kh, kw)
        return self.compiled.call('emulated_weight', shape, (x, grad), out, **options)


def kernels():
    return DepthwiseConv(emulated.kernels('depthwise_conv'))


def reference(x, weight, bias, grad):
    x, weight = x.double().requires_grad_(), weight.double().requires_grad_()
    padding = (weight.shape[2] // 2, weight.shape[3] // 2)
    out = F.conv2d(x, weight, bias.double(), padding=padding, groups=x.shape[1])
    return out.detach(), *torch.autograd.grad(out, (x, weight), grad.double())


@pytest.mark.parametrize('dtype, device', CASES, ids=str)
@pytest.mark.parametrize('shape', SHAPES, ids=str)
def test_agrees_with_float64_reference(shape, dtype, device):
    x, weight, bias, grad = make(shape, dtype)
    out, dx, dw = reference(x, weight, bias, grad)
    limits = TOLERANCES['depthwise_conv2d'][dtype]
    for seed in range(3):  # threads run upwards, downwards, mixed
        options = dict(device, seed=seed)
        assert_close(kernels().conv(x, weight, bias, **options), out, limits[0])
        flipped = weight.flip(2, 3)
        assert_close(kernels().conv(grad, flipped, **options), dx, limits[1])
        actual = kernels().weight(x, grad, *shape[4:], **options)
        assert_close(actual, dw, limits[2])


@pytest.mark.parametrize('width', [3, 6, 12, 24])
@pytest.mark.parametrize('offset', [0, 1, 2, 4])
def test_alignment_of_rows_and_tensors(width, offset):
    shape = (2, 2, 5, width, 5, 5)
    x, weight, bias, grad = make(shape, torch.bfloat16, offset)
    out, _, dw = reference(x, weight, bias, grad)
    assert_close(kernels().conv(x, weight, bias), out, 1e-2)
    assert_close(kernels().weight(x, grad, 5, 5), dw, 2e-2)


def test_does_not_depend_on_the_order_of_threads():
    x, weight, bias, grad = make((40, 1, 14, 14, 13, 13), torch.bfloat16)
    outs = [kernels().conv(x, weight, bias, seed=s) for s in range(4)]
    grads = [kernels().weight(x, grad, 13, 13, seed=s, processors=1) for s in range(4)]
    assert all(torch.equal(outs[0], o) for o in outs)
    assert all(torch.equal(grads[0], g) for g in grads)


# Mistakes that the tests above must find: (what, file, old, new, which pass).
MAPS, MMA = 'depthwise_conv_maps.cuh', 'depthwise_conv_mma_kernel.cuh'
WEIGHT, SIMT = 'depthwise_conv_weight_mma_kernel.cuh', 'depthwise_conv_simt_kernel.cuh'
MUTANTS = [
    ('no barrier after loading', MMA, '  copy_wait();\n  __syncthreads();\n\n',
     '  copy_wait();\n\n', 'conv'),
    ('no wait for the copies', MMA, '  copy_wait();\n  __syncthreads();\n\n',
     '  __syncthreads();\n\n', 'conv'),
    ('one tap too few', MMA, 'v + e < s.kernel_width)', 'v + e < s.kernel_width - 1)',
     'conv'),
    ('last row lost', MMA, 'step < last;', 'step < last - 1;', 'conv'),
    ('band not moved', MMA, 'band[i][k] = band[i - 1][k];', 'band[i][k] = band[i][k];',
     'conv'),
    ('one row too many is written', MMA, 'top + i >= s.height', 'top + i > s.height',
     'conv'),
    ('ring overrun', MAPS, 'at = at >= ring ?', 'at = at > ring ?', 'weight'),
    ('no barrier between chunks', WEIGHT,
     '      copy_wait();\n      __syncthreads();\n      if (bottom',
     '      copy_wait();\n      if (bottom', 'weight'),
    ('no barrier between jobs', WEIGHT, '__syncthreads();  // the job before is done with',
     '// the job before is done with', 'weight'),
    ('no barrier before the diagonals', WEIGHT,
     '  __syncthreads();\n  constexpr int kLine', '  constexpr int kLine', 'weight'),
    ('lanes of a warp run apart', WEIGHT,
     '      __syncwarp();\n#pragma unroll\n      for (int r = 0; r < 4; ++r)\n'
     '        square',
     '#pragma unroll\n      for (int r = 0; r < 4; ++r)\n        square', 'weight'),
    ('a diagonal forgotten', WEIGHT, 'lane < 23', 'lane < 22', 'weight'),
    ('matrix not transposed', WEIGHT, 'load_matrices<true>(b,', 'load_matrices<false>(b,',
     'weight'),
    ('some threads leave before a barrier', WEIGHT, 'if (u > last_u) continue;',
     'if (u > last_u) return;', 'weight'),
    ('no barrier after loading (SIMT)', SIMT,
     '  __syncthreads();\n  const int row = top', '  const int row = top', 'simt conv'),
    ('strip one too early (SIMT)', SIMT, 'line + v + kStrip)', 'line + v)',
     'simt conv'),
    ('no barrier between jobs (SIMT)', SIMT, '__syncthreads();  // the job',
     '// the job', 'simt weight'),
    ('window shifted (SIMT)', SIMT, 'left - s.kernel_width / 2, s, threadIdx',
     'left - s.kernel_width / 2 + 1, s, threadIdx', 'simt weight'),
]  # fmt: skip


# A ring of rows that turns, several jobs a block, more warps than work.
HARD = (18, 1, 41, 20, 33, 11)


@functools.lru_cache
def hard_case():
    tensors = make(HARD, torch.bfloat16)
    return tensors, reference(*tensors)


def find_mistake(mutant, what, seed):
    (x, weight, bias, grad), (out, _, dw) = hard_case()
    options = dict(
        mma=not what.startswith('simt'), shared=90 << 10, processors=0, seed=seed
    )
    if what.endswith('conv'):
        assert_close(mutant.conv(x, weight, bias, **options), out, 1e-2)
    else:
        assert_close(mutant.weight(x, grad, *HARD[4:], **options), dw, 2e-2)


@pytest.mark.parametrize('what', ['conv', 'weight', 'simt conv', 'simt weight'])
def test_finds_nothing_without_mistake(what):
    for seed in range(3):
        find_mistake(kernels(), what, seed)


@pytest.mark.parametrize('mutant', MUTANTS, ids=[m[0] for m in MUTANTS])
def test_finds_planted_mistake(mutant, tmp_path):
    _, name, old, new, what = mutant
    for source in CSRC.glob('*.cuh'):
        text = source.read_text()
        if source.name == name:
            assert old in text, 'the mistake no longer fits the code'
            text = text.replace(old, new)
        (tmp_path / source.name).write_text(text)
    compiled = DepthwiseConv(
        emulated.Kernels('depthwise_conv', tmp_path, '-DSMPCONV_MM_ONLY_BFLOAT16')
    )
    with pytest.raises((AssertionError, EmulatorError)):
        for seed in range(3):
            find_mistake(compiled, what, seed)
