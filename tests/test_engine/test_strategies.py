"""What FSDPStrategy refuses; test_tools/test_scale.py trains with it."""

import pytest
import torch.distributed as dist
from mmengine.model import BaseModel

from smpconv_mm.engine.strategies import FSDPStrategy
from smpconv_mm.models import SMPNet


class Model(BaseModel):
    def __init__(self):
        super().__init__()
        arch = dict(channels=[4], depths=[1], kernel_sizes=[5])
        self.backbone = SMPNet(arch)

    def forward(self, inputs):
        return self.backbone(inputs)


@pytest.fixture
def strategy(tmp_path, monkeypatch):
    """A function that makes a strategy, for one process."""
    monkeypatch.setenv('LOCAL_RANK', '0')
    dist.init_process_group('gloo', rank=0, world_size=1, store=dist.HashStore())
    env = dict(launcher='none', randomness=dict(seed=0))
    yield lambda **args: FSDPStrategy(work_dir=str(tmp_path), env_kwargs=env, **args)
    dist.destroy_process_group()


def test_classes_that_the_model_does_not_have(strategy):
    message = r"\['Other'\], but Model has no such module; .*'SMPBlock'"
    with pytest.raises(ValueError, match=message):
        strategy(wrap=['SMPBlock', 'Other']).prepare(Model())


def test_clipping(strategy):
    optimizer = dict(type='SGD', lr=0.1)
    with pytest.raises(ValueError, match='clip_grad cannot be used.*own shard'):
        strategy().prepare(
            Model(), optim_wrapper=dict(optimizer=optimizer, clip_grad=dict(max_norm=1))
        )
