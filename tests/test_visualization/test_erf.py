from pathlib import Path

import pytest
import torch
from original_weights import original_weight, original_weights
from tolerances import assert_close
from torch import nn

from smpconv_mm.convert import convert_oriented1d
from smpconv_mm.errors import UsageError
from smpconv_mm.models import OrientedConvNeXt
from smpconv_mm.visualization.erf import (
    area_ratios,
    contributions,
    draw_fields,
    receptive_field,
)


def linear(kernel, **kwargs):
    conv = nn.Conv2d(1, 1, kernel.shape, padding='same', bias=False, **kwargs)
    conv.weight.data[:] = kernel
    return conv


def test_one_convolution():
    """The field is the kernel around the centre, as it is for correlation."""
    kernel = torch.rand(5, 7) + 0.1
    images = [torch.rand(1, 1, 33, 32) + 0.1 for _ in range(3)]
    field = receptive_field(linear(kernel), images)
    expected = torch.zeros(33, 32, dtype=torch.float64)
    expected[14:19, 13:20] = kernel.double()
    assert torch.allclose(field, expected, atol=1e-6)


def test_negative_influences_do_not_count():
    kernel = torch.ones(3, 3)
    kernel[0] = -0.1
    field = receptive_field(linear(kernel), [torch.ones(1, 1, 9, 9)])
    assert (field > 0).sum() == 6
    with pytest.raises(UsageError, match='reaches the centre'):
        receptive_field(linear(-torch.ones(3, 3)), [torch.ones(1, 1, 9, 9)])


def test_image_that_is_not_a_number_is_left_out():
    net = nn.Sequential(linear(torch.ones(3, 3)), nn.SiLU())  # depends on the image
    images = [torch.ones(1, 1, 9, 9), torch.full((1, 1, 9, 9), torch.nan)]
    field = receptive_field(net, images)
    assert torch.equal(field, receptive_field(net, images[:1]))


def test_layer_and_stride():
    net = nn.Sequential(
        nn.Conv2d(1, 1, 4, stride=4, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    net[0].weight.data[:] = 1
    (image,) = images = [torch.ones(1, 1, 32, 32)]
    field = receptive_field(net, images)  # a map of one pixel is passed over
    assert field.nonzero().min() == 16 and (field > 0).sum() == 16
    assert torch.equal(field, receptive_field(net, images, '0'))
    with pytest.raises(UsageError, match='returns no map'):
        receptive_field(net, images, '2')
    with pytest.raises(UsageError, match='no two-dimensional maps'):
        receptive_field(nn.Flatten(), images)


def test_area_ratios():
    """A constant 9x9 square in 33x33: shares are areas."""
    field = torch.zeros(33, 33, dtype=torch.float64)
    field[12:21, 12:21] = 0.5
    sides = [area.side for area in area_ratios(field)]
    assert sides == [5, 5, 7, 9]  # 25, 25, 49 and 81 of 81
    assert area_ratios(field)[-1].ratio == 81 / 33**2
    point = torch.zeros(33, 33, dtype=torch.float64)
    point[16, 16] = 1
    assert area_ratios(point)[0].side == 3  # the smallest square
    corner = torch.zeros(32, 32, dtype=torch.float64)
    corner[0, 0] = 1
    assert area_ratios(corner)[0].side is None
    assert contributions(torch.tensor([0.0, 9, 99])).tolist() == [0, 0.5, 1]
    assert len(draw_fields(dict(a=field, b=corner)).axes) == 3  # with the colours


def test_labels_of_squares_are_beside_the_picture():
    """All of them, whatever the sizes; none is cut off at the border."""
    field = torch.ones(32, 32, dtype=torch.float64)
    axis, bar = draw_fields(dict(a=field)).axes
    texts = [text.get_text() for text in axis.get_legend().get_texts()]
    assert texts == ['20% within 15x15', '30% within 19x19', '50% within 23x23']
    assert len(axis.patches) == len(texts) and not axis.texts
    assert 'log10(field + 1)' in bar.get_ylabel()


def test_the_original_program():
    """A small ConvNeXt-1D and two images; maps, squares and their areas."""
    path = Path(__file__).parents[1] / 'golden/oriented1d/erf_mini_1d.pt'
    data = torch.load(path, weights_only=True)
    weights, _ = convert_oriented1d(original_weights(data['keys'], data['theta']))
    meta = data['meta']
    arch = dict(depths=meta['depths'], channels=meta['dims'])
    net = OrientedConvNeXt(arch, '1d', stem_channels=meta['stem_dim1']).double()
    prefix = 'backbone.'
    net.load_state_dict(
        {k.removeprefix(prefix): v for k, v in weights.items() if prefix in k}
    )
    images = [original_weight(name, (1, 3, 64, 64)) for name in data['inputs']]
    for image, expected in zip(images, data['maps']):
        assert_close(receptive_field(net, [image], 'stages.3'), expected, 1e-12)
    field = receptive_field(net, images, 'stages.3')
    assert_close(field, data['average'], 1e-12)
    assert_close(contributions(field), data['scaled'], 1e-12)
    for area in area_ratios(field):
        expected = data['rectangles'][area.threshold]
        assert (area.side, area.ratio) == (expected or (None, None))
