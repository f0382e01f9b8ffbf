"""Plans that the caller sets, by the emulator."""

import pytest
import torch
from test_cuda_ops import emulated
from test_cuda_ops.emulated import EmulatorError, needs_compiler
from tolerances import assert_close

pytestmark = needs_compiler

SHAPE = (18, 2, 14, 14, 13, 13)


def tensors():
    generator = torch.Generator().manual_seed(0)
    n, c, h, w, kh, kw = SHAPE
    x, grad = torch.randn(2, n, c, h, w, generator=generator).bfloat16()
    weight = torch.randn(c, 1, kh, kw, generator=generator).bfloat16()
    return x, weight, grad


def gradient(plan=''):
    x, weight, grad = tensors()
    call = emulated.kernels('depthwise_conv').call
    return call('emulated_weight', SHAPE, (x, grad), weight.shape, plan=plan)


def launches(plan=''):
    driver = emulated.kernels('depthwise_conv')
    device = emulated.machine(processors=132, plan=plan)
    found = driver.planned('emulated_weight', device, SHAPE, 'bfloat16', 3)
    return [(launch.blocks, launch.threads, launch.shared) for _, launch in found]


@pytest.mark.parametrize(
    'plan', ['weight:splits=1', 'weight:images=16', 'conv:warps=2']
)
def test_same_result(plan):
    assert_close(gradient(plan), gradient().double(), 1e-2)


def test_is_taken_as_it_is():
    one = launches('weight:splits=1')
    assert len(one) == 1  # nothing to be summed
    two = launches('weight:splits=2,images=16')
    assert len(two) == 2 and two[0][0] == 2 * one[0][0]
    assert launches('conv:warps=2') == launches()
    assert launches('weight:splits=2,images=16;conv:warps=2') == two


@pytest.mark.parametrize(
    'plan, message',
    [
        ('weight:split=2', '"split" is no setting of weight, which has'),
        ('weight:tiles=1', '"tiles" is no setting of weight'),
        ('wait:splits=2', '"wait:splits=2" must begin with a pass and a colon'),
        ('splits=2', 'must begin with a pass'),
        ('weight:splits=0', 'splits must be a positive whole number, got "0"'),
        ('weight:splits=-1', 'positive whole number'),
        ('weight:splits=1e3', 'positive whole number'),
        ('weight:splits', 'positive whole number, got ""'),
        ('weight:', 'is no setting of weight'),
        ('weight:splits=2,', 'is no setting of weight'),
        ('weight:splits=999999999', 'positive whole number'),
        ('conv:wraps=2', '"wraps" is no setting of conv'),  # of another pass
    ],
)
def test_wrong_plans_are_refused(plan, message):
    with pytest.raises(EmulatorError) as error:
        gradient(plan)
    assert message in str(error.value) and f'SMPCONV_MM_PLAN="{plan}"' in str(
        error.value
    )


def test_a_plan_that_does_not_fit():
    with pytest.raises(ValueError, match='no plan fits'):
        gradient('weight:shared=64')
