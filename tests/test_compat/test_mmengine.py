"""What is changed of MMEngine."""

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.model import BaseModule
from torch import nn

import smpconv_mm  # noqa: F401
from smpconv_mm.checkpoint import save
from smpconv_mm.errors import CheckpointError
from smpconv_mm.layers import SMPConv1d


class Net(BaseModule):
    def __init__(self, width=4, extra=False, **init):
        super().__init__(init_cfg=dict(type='Pretrained', **init) if init else None)
        self.one = nn.Linear(3, width)
        self.two = SMPConv1d(2, 2, 9, n_points=5)
        if extra:
            self.three = nn.Linear(1, 1)


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / 'a.pth'
    net = nn.ModuleDict(dict(backbone=Net(), head=nn.Linear(7, 7)))
    save(dict(state_dict=net.state_dict()), path)
    return str(path), net.backbone


@pytest.mark.parametrize('prefix', ['backbone.', 'backbone'])
def test_weights_to_start_from(checkpoint, prefix, caplog):
    path, source = checkpoint
    net = Net(checkpoint=path, prefix=prefix)
    net.two = SMPConv1d(2, 2, 9, n_points=3)  # takes over the number of points
    net.init_weights()
    for key, value in source.state_dict().items():
        assert torch.equal(net.state_dict()[key], value), key


def test_weights_to_start_from_are_of_another_architecture(checkpoint):
    path, source = checkpoint
    net = Net(width=6, checkpoint=path, prefix='backbone.')
    with pytest.raises(CheckpointError) as info:
        net.init_weights()
    text = str(info.value)
    assert f'{path} is of another architecture: 2 of ' in text
    assert 'one.weight (4, 3) instead of (6, 3)' in text
    assert 'init_cfg.ignore_mismatched_sizes=True' in text and '\n' not in text
    options = dict(checkpoint=path, prefix='backbone.', ignore_mismatched_sizes=True)
    net = Net(width=6, **options)
    net.init_weights()
    assert torch.equal(net.two.kernel.coord, source.two.kernel.coord)


def test_weights_to_start_from_are_not_all_there(checkpoint, caplog):
    path, _ = checkpoint
    net = Net(extra=True, checkpoint=path, prefix='backbone.')
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    try:
        net.init_weights()
    finally:
        logger.removeHandler(caplog.handler)
    assert 'does not have 2 entries of Net, which keep' in caplog.text
    assert 'three.weight, three.bias' in caplog.text


@pytest.mark.parametrize(
    'prefix, message',
    [
        ('bakbone.', r"begins with init_cfg.prefix='bakbone.'; .* \['backbone.one"),
        ('head.', 'no entry in common with the model'),
        (None, 'no entry in common with the model'),
    ],
)
def test_a_wrong_prefix(checkpoint, prefix, message):
    path, _ = checkpoint
    with pytest.raises(CheckpointError, match=message):
        Net(checkpoint=path, prefix=prefix).init_weights()


def test_modules_that_adapt_a_state_dict_are_left_to_do_so(tmp_path):
    class Embedding(BaseModule):
        """As a transformer for images of another size."""

        def __init__(self, size, **kwargs):
            super().__init__(**kwargs)
            self.table = nn.Parameter(torch.zeros(size))
            self._register_load_state_dict_pre_hook(self.resize)

        def resize(self, state_dict, prefix, *args):
            key = f'{prefix}table'
            state_dict[key] = state_dict[key][: len(self.table)]

    save(dict(state_dict=dict(table=torch.ones(8))), tmp_path / 'a.pth')
    init = dict(type='Pretrained', checkpoint=str(tmp_path / 'a.pth'))
    net = Embedding(5, init_cfg=init)
    net.init_weights()
    assert torch.equal(net.table, torch.ones(5))


def test_the_text_of_a_config_follows_the_config():
    cfg = Config(dict(a=1))
    assert cfg.pretty_text == cfg.pretty_text == 'a = 1\n'
    cfg.a = 2
    assert cfg.pretty_text == 'a = 2\n'


@pytest.mark.parametrize(
    'path',
    ['_base_/models/upernet_r50.py', 'fcn/fcn_r50-d8_4xb2-40k_cityscapes-512x1024.py'],
)
def test_configs_of_other_packages_are_found_without_their_metafiles(
    path, monkeypatch, tmp_path
):
    pytest.importorskip('mmseg')
    from mmengine.config import utils

    monkeypatch.setattr(utils, 'load', None)
    found, scope = Config._get_cfg_path(f'mmseg::{path}', 'a.py')
    assert found.endswith(f'mmseg/.mim/configs/{path}') and scope == 'mmseg'
    monkeypatch.undo()
    with pytest.raises(FileNotFoundError):
        Config._get_cfg_path('mmseg::_base_/models/none.py', 'a.py')
