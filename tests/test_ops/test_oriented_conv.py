import math
from functools import partial
from pathlib import Path

import pytest
import torch
from tolerances import TOLERANCES, assert_close

from smpconv_mm import ops
from smpconv_mm.ops import dispatch
from smpconv_mm.ops.extension import why_not
from smpconv_mm.ops.oriented_conv import dense_kernel

DATA = Path(__file__).parents[1] / 'golden' / 'oriented1d'

# N, C, H, W, taps, stride
SHAPES = [
    (1, 1, 1, 1, 1, 1),
    (2, 8, 7, 7, 7, 1),
    (2, 19, 13, 29, 15, 1),
    (1, 20, 7, 5, 31, 1),  # map smaller than the kernel
    (3, 16, 14, 14, 63, 1),
    (2, 24, 40, 37, 31, 1),
    (2, 9, 9, 13, 15, 2),
    (1, 16, 12, 20, 31, 3),
    (2, 5, 6, 9, 7, 11),  # one output
    (1, 8, 130, 33, 7, 2),  # several shares of the weight's gradient
]


def directions(channels):
    """Groups of the eight directions, then a channel with one of its own."""
    group = (8 * torch.arange(1, channels + 1) - 1) // channels
    angle = group * (math.pi / 8)
    angle[-1:] = -7.7
    return angle


def make(shape, dtype):
    n, c, h, w, taps, stride = shape
    generator = torch.Generator().manual_seed(0)
    tensors = [
        torch.randn(n, c, h, w, generator=generator),
        torch.randn(c, 1, 1, taps, generator=generator) / taps**0.5,
        torch.randn(c, generator=generator),
    ]
    probe = torch.randn(n, c, -(-h // stride), -(-w // stride), generator=generator)
    return [t.to(dtype) for t in tensors], directions(c), probe.to(dtype)


def run(function, tensors, angle, probe, stride):
    x, weight, bias = leaves = [t.detach().requires_grad_() for t in tensors]
    out = function(x, weight, angle, bias, stride=stride)
    return out.detach(), *torch.autograd.grad(out, leaves, probe.to(out.dtype))


def usable(dtype):
    """Backends that run on the CPU here."""
    args = dispatch.example('oriented_conv2d', (1, 2, 5, 5), 3, dtype=dtype)
    return [
        name
        for name in ops.backends('oriented_conv2d')
        if dispatch.find('oriented_conv2d', name).unsupported(*args) is None
    ]


USABLE = usable(torch.float32)
BACKENDS = [
    (backend, dtype)
    for dtype in TOLERANCES['oriented_conv2d']
    for backend in usable(dtype)
]
needs_cpp = pytest.mark.skipif('cpp' not in USABLE, reason='not compiled')


@pytest.mark.parametrize('shape', SHAPES, ids=str)
@pytest.mark.parametrize('backend, dtype', BACKENDS, ids=str)
def test_agrees_with_float64_reference(backend, dtype, shape):
    tensors, angle, probe = make(shape, dtype)
    function = partial(ops.oriented_conv2d, backend=backend)
    actual = run(function, tensors, angle, probe, shape[-1])
    double = [t.double() for t in tensors], angle, probe.double()
    expected = run(ops.reference.oriented_conv2d, *double, shape[-1])
    out, dx, dw = TOLERANCES['oriented_conv2d'][dtype]
    names = ('output', 'grad input', 'grad weight', 'grad bias')
    for a, e, t, name in zip(actual, expected, (out, dx, dw, dw), names):
        assert a.dtype == dtype
        assert_close(a, e, t, name)


@pytest.mark.parametrize('backend', USABLE)
@pytest.mark.parametrize('name', ['op_fragile60deg_k9', 'op_safe_k15_s2_9x13'])
def test_agrees_with_the_original_program(name, backend):
    data = torch.load(DATA / f'{name}.pt', weights_only=True)
    state, meta = data['state_dict'], data['meta']
    offsets = ops.reference.line_offsets(state['theta'], meta['K'])
    assert torch.equal(offsets[..., 0], data['offsets_h'])
    assert torch.equal(offsets[..., 1], data['offsets_w'])
    found = run(
        partial(ops.oriented_conv2d, backend=backend),
        (data['input'], state['weight'], state['bias']),
        state['theta'],
        data['cotangent'],
        meta['stride'],
    )
    wanted = data['output'], data['grad_input'], *data['grads'].values()
    for actual, expected in zip(found, wanted):
        assert_close(actual, expected, 1e-12)


@pytest.mark.parametrize('degrees', [0, 30, 60, 90, 180, 270, -90, 33.3])
@pytest.mark.parametrize('backend', USABLE)
def test_taps_lie_where_the_definition_says(backend, degrees):
    x = torch.zeros(1, 1, 41, 41)
    x[0, 0, 20, 20] = 1
    weight = torch.arange(1.0, 32).view(1, 1, 1, 31)
    angle = torch.tensor([math.radians(degrees)])
    out = ops.oriented_conv2d(x, weight, angle, backend=backend)
    assert_close(out, ops.reference.oriented_conv2d(x, weight, angle), 1e-5)


def test_directions_by_hand():
    """Angle 0 runs to the right, 90 degrees up; fractions are dropped toward zero."""
    angle = torch.tensor([0, 90, 45.0]).deg2rad()
    offsets = ops.reference.line_offsets(angle, 5)
    assert offsets[0].tolist() == [[0, -2], [0, -1], [0, 0], [0, 1], [0, 2]]
    assert offsets[1].tolist() == [[2, 0], [1, 0], [0, 0], [-1, 0], [-2, 0]]
    assert offsets[2].tolist() == [[1, -1], [0, 0], [0, 0], [0, 0], [-1, 1]]


@pytest.mark.parametrize(
    'layout',
    [
        lambda x: x.contiguous(memory_format=torch.channels_last),
        lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
        lambda x: torch.cat([x, x], 1)[:, ::2][:, : x.shape[1]],
        lambda x: x[:1].expand_as(x),
        lambda x: x[:, :, ::2],
    ],
    ids=['channels_last', 'transposed', 'strided channels', 'expanded', 'strided rows'],
)
@pytest.mark.parametrize('channels', [3, 24, 33])
@pytest.mark.parametrize('backend', USABLE)
def test_any_memory_layout(backend, channels, layout):
    (x, weight, bias), angle, _ = make((2, channels, 13, 9, 7, 1), torch.float32)
    x = layout(x)
    out = ops.oriented_conv2d(x, weight, angle, bias, backend=backend)
    assert_close(out, ops.reference.oriented_conv2d(x, weight, angle, bias), 1e-5)


@pytest.mark.parametrize('backend', USABLE)
def test_empty_batch(backend):
    (x, weight, _), angle, _ = make((1, 3, 5, 5, 3, 2), torch.float32)
    x, weight = x[:0].requires_grad_(), weight.requires_grad_()
    out = ops.oriented_conv2d(x, weight, angle, stride=2, backend=backend)
    assert out.shape == (0, 3, 3, 3)
    out.sum().backward()
    assert x.grad.shape == x.shape
    assert torch.equal(weight.grad, torch.zeros_like(weight))


@pytest.mark.parametrize('backend', usable(torch.float64))
@pytest.mark.parametrize('shape', [(2, 2, 5, 4, 5, 1), (1, 3, 7, 6, 9, 2)], ids=str)
def test_gradcheck(shape, backend):
    tensors, angle, _ = make(shape, torch.float64)
    tensors = [t.requires_grad_() for t in tensors]

    def function(x, weight, bias):
        options = dict(stride=shape[-1], backend=backend)
        return ops.oriented_conv2d(x, weight, angle, bias, **options)

    assert torch.autograd.gradcheck(function, tensors)
    assert torch.autograd.gradgradcheck(function, tensors)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16], ids=str)
def test_autocast(dtype):
    (x, weight, bias), angle, _ = make((2, 8, 9, 9, 5, 1), torch.float32)
    with torch.autocast('cpu', dtype):
        out = ops.oriented_conv2d(x.to(dtype), weight, angle, bias)
    assert out.dtype == dtype
    assert_close(out, ops.reference.oriented_conv2d(x, weight, angle, bias), 2e-2)


@pytest.mark.parametrize('angle_dtype', [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize('backend', USABLE)
def test_compile(backend, angle_dtype):
    (x, weight, bias), angle, _ = make((2, 9, 8, 9, 7, 2), torch.float32)
    angle = angle.to(angle_dtype)
    function = partial(ops.oriented_conv2d, stride=2, backend=backend)
    leaves = [t.clone().requires_grad_() for t in (x, weight, bias)]
    compiled = torch.compile(function, fullgraph=True, backend='aot_eager')
    out = compiled(leaves[0], leaves[1], angle, leaves[2])
    assert_close(out, function(x, weight, angle, bias), 1e-6)
    out.square().sum().backward()
    again = [t.clone().requires_grad_() for t in (x, weight, bias)]
    function(again[0], again[1], angle, again[2]).square().sum().backward()
    for a, e in zip(leaves, again):
        assert_close(a.grad, e.grad, 1e-5)


@needs_cpp
@pytest.mark.parametrize('stride', [1, 2])
def test_opcheck(stride):
    (x, weight, bias), angle, probe = make((2, 5, 6, 7, 5, stride), torch.float32)
    found = torch.ops.smpconv_mm
    for op, args in (
        (found.oriented_conv2d, (x, weight, angle, bias, stride)),
        (found.oriented_conv2d_input, (probe, weight, angle, stride, 6, 7)),
        (found.oriented_conv2d_weight, (x, probe, angle, 5, stride)),
    ):
        leaves = [
            t.clone().requires_grad_()
            if isinstance(t, torch.Tensor) and t is not angle
            else t
            for t in args
        ]
        torch.library.opcheck(op, (*leaves, 'cpp'))


@needs_cpp
def test_flops():
    from torch.utils.flop_counter import FlopCounterMode

    (x, weight, bias), angle, _ = make((2, 8, 9, 7, 15, 2), torch.float32)
    x, weight = x.requires_grad_(), weight.requires_grad_()
    with FlopCounterMode(display=False) as counter:
        out = ops.oriented_conv2d(x, weight, angle, bias, stride=2, backend='cpp')
        forward = counter.get_total_flops()
        out.sum().backward()
    assert forward == 2 * 15 * out.numel()
    assert counter.get_total_flops() == 3 * forward


@needs_cpp
@pytest.mark.parametrize('shape', [SHAPES[2], SHAPES[7], SHAPES[9]], ids=str)
def test_same_result_for_any_number_of_threads(shape):
    tensors, angle, probe = make(shape, torch.float32)
    function = partial(ops.oriented_conv2d, backend='cpp')
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = run(function, tensors, angle, probe, shape[-1])
        for threads in (2, 5):
            torch.set_num_threads(threads)
            found = run(function, tensors, angle, probe, shape[-1])
            assert all(torch.equal(a, b) for a, b in zip(found[:3], alone))
    finally:
        torch.set_num_threads(before)


@needs_cpp
def test_channels_do_not_meet():
    """Infinity in one channel leaves the others of its vector alone."""
    (x, weight, _), angle, _ = make((2, 24, 9, 9, 7, 1), torch.float32)
    for layout in (torch.contiguous_format, torch.channels_last):
        x = x.contiguous(memory_format=layout)
        clean = ops.oriented_conv2d(x, weight, angle, backend='cpp')
        bad = x.clone()
        bad[0, 3, 4, 4] = math.inf
        out = ops.oriented_conv2d(bad, weight, angle, backend='cpp')
        assert not out[0, 3].isfinite().all()
        out[0, 3] = clean[0, 3]
        assert torch.equal(out, clean)


@pytest.mark.parametrize('backend', USABLE)
def test_new_angles_count_at_once(backend):
    """Nothing is kept of the values that a tensor of angles had before."""
    (x, weight, _), angle, _ = make((1, 4, 9, 9, 7, 1), torch.float32)
    for _ in range(2):
        out = ops.oriented_conv2d(x, weight, angle, backend=backend)
        assert_close(out, ops.reference.oriented_conv2d(x, weight, angle), 1e-5)
        angle.data.add_(0.7)


def test_dense_kernel():
    (x, weight, _), angle, _ = make((1, 5, 9, 8, 7, 1), torch.float64)
    kernel = dense_kernel(weight, angle)
    assert kernel.shape == (5, 1, 7, 7)
    assert torch.allclose(kernel.sum((1, 2, 3)), weight.sum((1, 2, 3)))
    out = ops.reference.depthwise_conv2d(x, kernel)
    assert_close(out, ops.reference.oriented_conv2d(x, weight, angle), 1e-12)


@pytest.mark.parametrize('stride', [1, 2])
def test_an_exporter_sees_plain_convolutions(stride):
    (x, weight, bias), angle, _ = make((1, 4, 9, 8, 7, stride), torch.float32)

    class Net(torch.nn.Module):
        def forward(self, x):
            return ops.oriented_conv2d(x, weight, angle, bias, stride=stride)

    with torch.no_grad():
        exported = torch.export.export(Net(), (x,), strict=True)
    targets = {str(n.target) for n in exported.graph.nodes if n.op == 'call_function'}
    assert any('conv2d' in t for t in targets)
    assert not any('smpconv_mm' in t for t in targets), targets
    wanted = ops.reference.oriented_conv2d(x, weight, angle, bias, stride=stride)
    assert_close(exported.module()(x), wanted, 1e-5)


@pytest.mark.parametrize(
    'changes, error, message',
    [
        (dict(input=(2, 3, 4)), ValueError, r'input must have 4 dim.*\(2, 3, 4\)'),
        (dict(input=(2, 3, 0, 4)), ValueError, 'no area.*0 x 4'),
        (dict(weight=(3, 1, 1, 4)), ValueError, 'must be odd.*got 4'),
        (dict(weight=(3, 1, 5, 5)), ValueError, r'\(3, 1, 1, K\).*\(3, 1, 5, 5\)'),
        (dict(weight=(4, 1, 1, 5)), ValueError, r'\(3, 1, 1, K\).*3 channels'),
        (dict(angle=(4,)), ValueError, r'angle must have shape \(3,\).*\(4,\)'),
        (dict(angle=(3, 1)), ValueError, r'angle must have shape \(3,\)'),
        (dict(angle=math.nan), ValueError, 'finite, got nan for channel 1'),
        (dict(angle=math.inf), ValueError, 'finite, got inf for channel 1'),
        (dict(bias=(4,)), ValueError, r'bias must have shape \(3,\)'),
        (dict(stride=0), ValueError, 'stride must be at least 1, got 0'),
        (dict(dtype=torch.float64), TypeError, 'share a dtype.*float64'),
        (dict(dtype=torch.int64), TypeError, 'floating point.*int64'),
        (dict(backend='cudnn'), ValueError, "no backend 'cudnn'"),
        (dict(backend='cuda'), RuntimeError, 'runs on GPUs'),
    ],
)
def test_bad_input(changes, error, message):
    args = dict(input=(2, 3, 4, 4), weight=(3, 1, 1, 5), angle=(3,), bias=(3,))
    tensors = {
        key: torch.zeros(changes[key] if isinstance(changes.get(key), tuple) else size)
        for key, size in args.items()
    }
    if isinstance(changes.get('angle'), float):
        tensors['angle'][1] = changes['angle']
    if 'dtype' in changes:
        tensors['weight'] = tensors['weight'].to(changes['dtype'])
    options = {k: changes[k] for k in ('stride', 'backend') if k in changes}
    with pytest.raises(error, match=message):
        ops.oriented_conv2d(**tensors, **options)


@needs_cpp
@pytest.mark.skipif(why_not('oriented_conv2d', 'cpu') is not None, reason='not built')
@pytest.mark.parametrize(
    'args, message',
    [
        (((2, 3, 4), (3, 1, 1, 3), (3,), 1), 'maps must be'),
        (((2, 3, 4, 4), (3, 1, 1, 2), (3,), 1), 'odd'),
        (((2, 3, 4, 4), (3, 1, 3, 3), (3,), 1), 'weight must have shape'),
        (((2, 3, 4, 4), (3, 1, 1, 3), (4,), 1), 'angle must be'),
        (((2, 3, 4, 4), (3, 1, 1, 3), (3,), 0), 'stride positive'),
    ],
)
def test_operators_check_by_themselves(args, message):
    x, weight, angle = (torch.zeros(size) for size in args[:3])
    with pytest.raises(RuntimeError, match=message):
        torch.ops.smpconv_mm_ext.oriented_conv2d(x, weight, angle, None, args[3])
