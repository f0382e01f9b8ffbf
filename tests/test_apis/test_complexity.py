"""Both counters of operations see the convolution, in training, too."""

from pathlib import Path

import pytest
from mmengine.analysis import get_model_complexity_info

from smpconv_mm.apis.complexity import measure
from smpconv_mm.engine.config import load_config
from smpconv_mm.engine.runner import build_model
from smpconv_mm.layers import SMPConv1d, SMPConv2d

ROOT = Path(__file__).parents[2]

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


def test_detectors():
    """One stage and two: each part is counted."""
    for name, parts in (
        ('retinanet_rednet-50_fpn', {'backbone', 'neck', '(other)'}),
        ('mask-rcnn_rednet-50_involution-fpn-head', {'rpn_head', '(other)'}),
    ):
        path = ROOT / f'configs/involution/{name}_8xb2-1x_coco.py'
        found = measure(build_model(load_config(str(path))), (3, 64, 64))
        assert parts <= set(found.macs) and all(found.macs.values())
