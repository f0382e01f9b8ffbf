import copy
from pathlib import Path

import pytest
import torch
from original_weights import hashed
from tolerances import assert_close
from torch import nn

from smpconv_mm.convert.flexconv import convert_layer
from smpconv_mm.layers import (
    CKConv1d,
    CKConv2d,
    CKKernel,
    DenseKernel,
    FlexConv1d,
    FlexConv2d,
    FlexConv3d,
    FlexKernel,
    resample,
)
from smpconv_mm.ops.dispatch import choose

GOLDEN = Path(__file__).parents[1] / 'golden/flexconv'
SMALL = dict(hidden_channels=16)
ORIGINALS = {
    'ckconv2d_siren_h17_spatial': lambda: CKConv2d(
        2, 3, 17, padding=8, kernel_net=dict(SMALL, type='SIREN', omega_0=1.0)
    ),
    'flexconv1d_init_crop_L200': lambda: FlexConv1d(
        2, 3, 200, causal=True, kernel_net=SMALL
    ),
    'flexconv2d_aniso_crop_h33': lambda: FlexConv2d(
        2, 3, 33, padding='same', kernel_net=SMALL
    ),
}


@pytest.mark.parametrize('name', ORIGINALS)
@pytest.mark.parametrize('fft_above', [None, 5, 50])
@pytest.mark.parametrize(
    'dtype, end, tolerance',
    [(torch.float32, '', 5e-6), (torch.float64, '64', 1e-12)],
    ids=str,
)
def test_original_layers(name, fft_above, dtype, end, tolerance):
    """Kernel, output and every gradient of the original program."""
    golden = torch.load(GOLDEN / f'{name}.pt', weights_only=True)
    layer = ORIGINALS[name]()
    layer.fft_above = fft_above
    layer.load_state_dict(convert_layer(golden['state_dict']))
    layer.to(dtype).eval()
    x = golden['input'].to(dtype).requires_grad_()
    out = layer(x)
    assert_close(layer.kernel(), golden[f'conv_kernel{end}'], tolerance)
    assert_close(out, golden[f'output{end}'], tolerance)
    (out * hashed(f'R:{name}', out.shape).to(dtype)).sum().backward()
    assert_close(x.grad, golden[f'grad_input{end}'], tolerance)
    grads = convert_layer(golden[f'grads{end}'])
    own = {n: p.grad for n, p in layer.named_parameters()}
    assert set(grads) == set(own)
    for key, value in grads.items():
        assert_close(own[key], value, tolerance, key)


def flex(taps, ndim=2, mean=0.0, sigma=0.075, **kwargs):
    kernel = FlexKernel(
        1, 2, taps, ndim, kernel_net=dict(hidden_channels=4), **kwargs
    ).double()
    with torch.no_grad():
        kernel.mask_params[:, 0] = mean
        kernel.mask_params[:, 1] = sigma
    return kernel


def test_sizes_of_the_original():
    """All but where it stops cropping as the mean has left the kernel."""
    table = torch.load(GOLDEN / 'crop_table.pt', weights_only=True)
    left = 0
    for ndim, taps, threshold, mean, sigma, root, kept in table['rows']:
        if sigma == 0 or (ndim == 1 and root > 1):
            left += 1
            continue
        kernel = flex(
            taps, ndim, mean, sigma, causal=ndim == 1, crop_threshold=threshold
        )
        first, end = kernel.kept_taps()[0]
        assert end - first == kept, (ndim, taps, threshold, mean, sigma)
        assert end == (taps if ndim == 1 else taps - first)
    assert left < 0.1 * len(table['rows'])


CASES = [
    (taps, ndim, causal, mean, sigma)
    for taps in (1, 2, 7, 8)
    for ndim, causal in ((1, False), (1, True), (2, False))
    for mean in (0.0, 0.3, -1.0, 1.0, 1.3, -4.0)
    for sigma in (0.0, 1e-9, -0.1, 0.3, 5.0)
]


def test_any_mean_and_width():
    """Finite, cropped to where the Gaussian is large, gradients included."""
    for case in CASES:
        check_crop(*case)


def check_crop(taps, ndim, causal, mean, sigma):
    kernel = flex(taps, ndim, mean, sigma, causal=causal)
    out = kernel()
    assert out.isfinite().all()
    out.sum().backward()
    assert all(p.grad.isfinite().all() for p in kernel.parameters())
    assert all(1 <= k <= taps for k in out.shape[2:])
    whole = copy.deepcopy(kernel)
    whole.crop = False
    places = torch.linspace(-1, 1, taps) if taps > 1 else torch.tensor([float(causal)])
    reach = abs(sigma) * 2.1459660
    if causal:
        kept = places > mean - reach
        kept[-1] = True
    else:
        kept = places.abs() < abs(mean) + reach
        kept[(taps - 1) // 2 : taps // 2 + 1] = True
    expected = whole().detach()
    for axis in range(2, 2 + ndim):
        expected = expected.index_select(axis, kept.nonzero().flatten())
    assert_close(out, expected, 1e-12)


def test_gradcheck():
    for ndim, causal in ((1, True), (2, False), (3, False)):
        kernel = flex((5, 7, 3)[:ndim], ndim, 1.0 * causal, 0.31, causal=causal)
        names, values = zip(*kernel.named_parameters())

        def make(*values, kernel=kernel, names=names):
            return torch.func.functional_call(kernel, dict(zip(names, values)), ())

        assert torch.autograd.gradcheck(make, values)


@pytest.mark.parametrize('causal', [False, True])
def test_traced_crops_by_zeros(causal):
    """Under a transform, where values must not decide on shapes."""
    kernel = flex(16, 1, 0.9 * causal, 0.2, causal=causal)
    x = torch.randn(2, 1, 20, dtype=torch.float64)
    conv = FlexConv1d(1, 2, 16, causal=causal, padding='same', kernel_net=SMALL)
    conv.kernel = kernel
    conv.double()
    expected = conv(x)
    names = dict(conv.named_parameters())

    def call(params, x):
        return torch.func.functional_call(conv, params, (x,))

    several = {k: torch.stack([v, v]) for k, v in names.items()}
    out = torch.vmap(call, in_dims=(0, None))(several, x)
    assert kernel().shape[2] < 16
    assert_close(out[1], expected, 1e-12)


def test_published_start():
    """At the published width, one tap less than twice 2.146 sigma of the field."""
    for taps, sigma, kept in [(33, 0.075, 5), (33, 0.125, 9), (97, 0.075, 15)]:
        kernel = FlexKernel(3, 4, taps, mask_init=sigma)
        assert kernel().shape == (4, 3, kept, kept)
        assert kernel.net.filters[0].mu.abs().max() <= 1.667 * sigma
    kernel = FlexKernel(3, 4, 784, 1, causal=True)
    assert kernel().shape == (4, 3, 64)
    assert kernel.mask_params.tolist() == [[1.0, pytest.approx(0.075)]]
    exact = torch.exp(-((torch.linspace(-1, 1, 33) / 0.075) ** 2) / 2)
    assert (FlexKernel(1, 1, 33, 1).window([torch.linspace(-1, 1, 33)]) - exact).abs(
    ).max() < 1e-6  # fmt: skip


def test_resolution_change():
    """Twice the resolution: the same function at twice as many places, halved."""
    kernel = flex(17, 2, 0.0, 0.2)
    before = kernel().detach()
    kernel.kernel_size = 33
    after = kernel()
    assert before.shape[2:] == (7, 7) and after.shape[2:] == (13, 13)
    assert_close(after[..., ::2, ::2], before / 4, 1e-12)
    conv = FlexConv2d(1, 2, 17, padding='same', kernel_net=SMALL)
    conv.kernel = flex(17, 2, 0.0, 0.2)
    assert resample(conv, 2).kernel_size == (33, 33)
    sequence = CKKernel(1, 1, 100, 1, causal=True)
    before = sequence().detach()
    sequence.kernel_size = 199
    assert_close(sequence()[..., ::2], before / 2, 1e-5)
    sequence.kernel_size = 1
    assert sequence().shape == (1, 1, 1)


def test_even_images_and_batches_of_one():
    for shape, size in [((1, 3, 32, 32), 33), ((1, 3, 5, 8), 33), ((0, 3, 7, 7), 8)]:
        conv = FlexConv2d(3, 4, size, padding='same', mask_init=0.5)
        assert conv(torch.randn(shape)).shape == (shape[0], 4, *shape[2:])
    for length in (1, 7, 40):
        conv = FlexConv1d(3, 4, 20, causal=True, mask_init=0.5)
        assert conv(torch.randn(1, 3, length)).shape == (1, 4, length)
    assert FlexConv3d(1, 2, 5, padding=2, mask_init=0.5)(
        torch.randn(1, 1, 4, 5, 6)
    ).shape == (1, 2, 4, 5, 6)


@pytest.mark.parametrize('kind', ['MLP', 'SIREN', 'NSIREN', 'FourierNet', 'GaborNet'])
def test_every_net(kind):
    net = dict(type=kind)
    conv = FlexConv2d(4, 6, 9, padding=4, groups=2, kernel_net=net, mask_init=0.3)
    x = torch.randn(2, 4, 9, 9)
    out = conv(x)
    dense = copy.deepcopy(conv)
    taps = conv.kernel().shape[2:]
    dense.kernel = DenseKernel(2, 6, taps)
    dense.kernel.weight.data = conv.kernel().detach()
    dense.padding = tuple(k // 2 for k in taps)
    dense._size = taps
    assert_close(out, dense(x).detach(), 1e-5)
    out.square().sum().backward()
    assert conv.kernel.mask_params.grad.isfinite().all()


def test_batch_norm_of_one_position():
    """A mask that has shrunk to one tap does not stop a training."""
    torch.manual_seed(0)
    layer = FlexConv2d(
        2,
        3,
        9,
        padding=4,
        mask_init=0.01,
        kernel_net=dict(type='MLP', hidden_channels=4, num_layers=3),
    )
    nn.init.normal_(layer.kernel.net.norms[0].running_mean)
    x = torch.randn(2, 2, 5, 6)
    out = layer(x)
    out.square().sum().backward()
    assert layer.kernel().shape == (3, 2, 1, 1)
    assert all(p.grad.isfinite().all() for p in layer.parameters())
    assert layer.kernel.net.layers[0].bias.grad.abs().sum() > 0
    assert_close(out, layer.eval()(x), 1e-6)


def test_factor_and_dropout():
    for kind in (CKKernel, FlexKernel):
        torch.manual_seed(0)
        one = kind(3, 4, 9)
        torch.manual_seed(0)
        half = kind(3, 4, 9, kernel_scale=0.5, dropout=0.4)
        assert_close(half.eval()(), one() / 2, 1e-6)
        dropped = half.train()()
        zeros = (dropped == 0).float().mean()
        assert 0.2 < zeros < 0.6
        kept = dropped[dropped != 0]
        assert_close(kept * 0.6, half.eval()()[dropped != 0], 1e-5)


def test_rule_of_the_originals_for_transforms(monkeypatch):
    """A transform where all sides are above 50, and only there."""
    chosen = []
    from smpconv_mm.ops import long_conv

    def spy(op, backend, *args):
        found = choose(op, backend, *args)
        chosen.append(found.name)
        return found

    monkeypatch.setattr(long_conv, 'choose', spy)
    for size, expected in [(51, 'fft'), (49, 'direct'), ((51, 49), 'direct')]:
        conv = CKConv2d(1, 2, size, padding='same', fft_above=50)
        conv(torch.randn(1, 1, 60, 60))
        assert chosen.pop() == expected
    for size, expected in [(51, 'fft'), (50, 'direct')]:
        CKConv1d(1, 2, size, causal=True, fft_above=50)(torch.randn(1, 1, 60))
        assert chosen.pop() == expected


def test_bad_arguments():
    for kwargs, match in [
        (dict(mask_init=0.0), 'mask_init must be positive'),
        (dict(crop_threshold=1.0), r'crop_threshold must lie in \(0, 1\)'),
        (dict(dropout=1.0), r'dropout must lie in \[0, 1\)'),
    ]:
        with pytest.raises(ValueError, match=match):
            FlexConv2d(3, 4, 5, **kwargs)
    with pytest.raises(TypeError, match='FlexKernel is not a network of positions'):
        CKKernel(3, 4, 5, kernel_net=dict(type='FlexKernel', kernel_size=3))
    with pytest.raises(KeyError, match='NoNet'):
        CKKernel(3, 4, 5, kernel_net=dict(type='NoNet'))
