"""One network of a config."""

from pathlib import Path

import pytest
import torch

from smpconv_mm.apis.models import Network, compile_frozen
from smpconv_mm.engine.config import load_config
from smpconv_mm.errors import UsageError

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    'config, stride, ndim, channels',
    [
        ('smpnet-micro_1xb64_digits.py', 8, 2, 3),
        ('smp-resnet_1xb64_cifar10.py', 1, 2, 3),
        ('smp-tcn_1xb64_digits.py', 1, 1, 1),
        ('smpnet-tiny_4xb256_in1k.py', 32, 2, 3),
    ],
)
def test_stride(config, stride, ndim, channels):
    network = Network(load_config(str(ROOT / 'configs/smpconv' / config))).deploy()
    assert (network.stride(), network.ndim) == (stride, ndim)
    assert network.in_channels == channels and network.classifier


def test_compiled_weights_are_constants():
    """Only constant weights are laid out for their convolutions."""
    from torch._dynamo.utils import counters
    from torch._inductor import config

    net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU()).eval()
    x = torch.randn(2, 3, 9, 9)
    torch._dynamo.reset()
    counters.clear()
    found = compile_frozen(net)(x)
    assert not found.requires_grad and torch.allclose(found, net(x), atol=1e-5)
    if torch.backends.mkldnn.is_available():
        assert counters['inductor']['mkldnn_conv_weight_pack_matcher_count'] == 1
    assert not config.freezing  # afterwards


def test_configs_of_packages():
    # its base imports something, which MMEngine takes for another style
    cfg = load_config('mmpretrain::replknet/replknet-31B_32xb64_in1k.py')
    assert cfg.model.backbone.type == 'RepLKNet'
    network = Network(load_config('mmpretrain::resnet/resnet18_8xb16_cifar10.py'))
    assert network.stride() == 8 and network.classifier
    with pytest.raises(UsageError, match="package 'mmnothing' is not installed"):
        load_config('mmnothing::a/b.py')
    with pytest.raises(UsageError, match=r"'mmpretrain::no/b.py' does not exist"):
        load_config('mmpretrain::no/b.py')
