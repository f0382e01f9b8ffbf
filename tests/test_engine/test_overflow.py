"""The layer that overflows is named."""

import logging
from types import SimpleNamespace

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from torch import nn

from smpconv_mm.engine.hooks import OverflowHook
from smpconv_mm.engine.hooks.overflow_hook import find_overflow
from smpconv_mm.models import CedNet

SMALL = dict(base_channels=16, stem_channels=32, num_stages=2)
SMALL.update(strides=(1, 2), dilations=(1, 1), out_indices=(0, 1))


def network(gate=1.0):
    torch.manual_seed(0)
    net = CedNet(26, **SMALL)
    layer = net.layer2[0].conv2
    layer.conv_q.weight.data *= gate
    return net.train()


def test_a_gate_that_overflows_in_float16():
    """Its inputs are finite in float16, its output is in bfloat16."""
    x = torch.randn(2, 3, 32, 32)
    net = network(gate=1e6)
    buffers = {name: value.clone() for name, value in net.named_buffers()}
    with torch.autocast('cpu', torch.float16):
        found = find_overflow(net, lambda: net(x))
    assert (found.name, found.kind) == ('layer2.0.conv2', 'CVolution2d')
    assert found.dtype == torch.float16 and 0 < found.largest < 65504
    assert all(torch.equal(v, buffers[n]) for n, v in net.named_buffers())
    assert not any(m._forward_hooks for m in net.modules())
    for gate, dtype in ((1e6, torch.bfloat16), (1.0, torch.float16)):
        net = network(gate)
        with torch.autocast('cpu', dtype):
            assert find_overflow(net, lambda net=net: net(x)) is None


class Model(BaseModel):
    def __init__(self, scale):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 1)
        self.second.weight.data *= scale
        self.calls = 0

    def forward(self, inputs, data_samples=None, mode='loss'):
        self.calls += 1
        return dict(loss=self.second(self.first(inputs)).mean())


@pytest.mark.parametrize('scale', [1.0, float('inf')])
def test_hook(scale, caplog):
    model = Model(scale)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    runner = SimpleNamespace(
        model=model,
        optim_wrapper=OptimWrapper(optimizer),
        iter=6,
        logger=logging.getLogger('overflow'),
    )
    batch = dict(inputs=torch.ones(2, 4))
    hook = OverflowHook()
    with caplog.at_level(logging.WARNING, 'overflow'):
        for _ in range(3):
            outputs = model(**batch)
            hook.after_train_iter(runner, 0, batch, outputs)
    if scale == 1:
        assert not caplog.records and model.calls == 3
    else:  # told once
        (record,) = caplog.records
        assert 'iteration 7' in record.message
        assert 'is second (Linear, torch.float32)' in record.message
        assert '--amp bfloat16' in record.message
        assert model.calls == 4
