"""Both counters of operations see the convolution, in training, too."""

import pytest
from mmengine.analysis import get_model_complexity_info

from smpconv_mm.apis.complexity import measure
from smpconv_mm.layers import SMPConv1d, SMPConv2d

MACS = 6 * 14 * 14 * 13**2


@pytest.mark.parametrize('training', [True, False])
def test_counter_of_mmengine(training):
    layer = SMPConv2d(6, 6, 13, padding='same', groups=6, n_points=4, bias=False)
    layer.train(training)
    shape = (6, 14, 14)
    counted = get_model_complexity_info(
        layer, shape, show_table=False, show_arch=False
    )['flops']
    making = 6 * 4 * 13**2
    assert MACS <= counted <= MACS + making


def test_long_sequences_are_counted_by_their_taps():
    """By whichever way they are convolved, and wherever the points lie."""
    layer = SMPConv1d(3, 4, 200, causal=True, n_points=4, bias=False)
    assert layer.kernel.first_tap() > 0
    assert measure(layer, (3, 200)).total == 3 * 4 * 200**2
    assert measure(layer, (3, 150)).total == 3 * 4 * 150**2


def test_counter_of_torch():
    layer = SMPConv2d(6, 6, 13, padding='same', groups=6, n_points=4, bias=False)
    assert measure(layer, (6, 14, 14)).total == MACS
