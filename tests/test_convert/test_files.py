import hashlib

import pytest
import torch
from mmengine.config import Config

from smpconv_mm.checkpoint import load, load_into
from smpconv_mm.convert.files import publish_file, reparameterize_file
from smpconv_mm.errors import CheckpointError
from smpconv_mm.registry import MODELS

MODEL = dict(
    type='mmpretrain.ImageClassifier',
    backbone=dict(
        type='smpconv_mm.SMPNet',
        arch=dict(channels=[8, 16], depths=[1, 1], kernel_sizes=[9, 7]),
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=16),
)


def test_reparameterize(tmp_path):
    config = tmp_path / 'config.py'
    Config(dict(model=MODEL)).dump(config)
    model = MODELS.build(MODEL).eval()
    for norm in model.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(norm.running_mean, std=0.3)
            torch.nn.init.uniform_(norm.running_var, 0.5, 2)
    torch.save(
        dict(state_dict=model.state_dict(), meta=dict(epoch=3)), tmp_path / 'src.pth'
    )
    assert (
        reparameterize_file(config, tmp_path / 'src.pth', tmp_path / 'dst.pth') < 1e-9
    )
    cfg = Config.fromfile(config)
    cfg.merge_from_dict({'model.backbone.deploy': True})
    deployed = MODELS.build(cfg.model).eval()
    checkpoint = load_into(deployed, tmp_path / 'dst.pth')
    assert checkpoint['meta'] == dict(epoch=3, deploy=True)
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(
        deployed(x, mode='tensor'), model(x, mode='tensor'), rtol=1e-4, atol=1e-5
    )
    with pytest.raises(CheckpointError, match='does not fit'):
        reparameterize_file(config, tmp_path / 'dst.pth', tmp_path / 'again.pth')
    assert not (tmp_path / 'again.pth').exists()


def test_publish(tmp_path):
    weights = dict(weight=torch.arange(3.0))
    torch.save(
        dict(
            state_dict=weights,
            meta=dict(epoch=1),
            optimizer=dict(state=torch.zeros(100)),
            message_hub={},
            ema_state_dict=weights,
        ),
        tmp_path / 'epoch_1.pth',
    )
    path = publish_file(tmp_path / 'epoch_1.pth', tmp_path / 'net.pth')
    digits = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    assert path.name == f'net-{digits}.pth'
    assert set(load(path)) == {'state_dict', 'meta'}
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        ['epoch_1.pth', path.name]
    )
    torch.save(dict(model=weights), tmp_path / 'other.pth')
    with pytest.raises(CheckpointError, match=r"no state_dict, only \['model'\]"):
        publish_file(tmp_path / 'other.pth', tmp_path / 'x.pth')
    assert load(tmp_path / 'other.pth')
    torch.save([1], tmp_path / 'list.pth')
    torch.save(dict(state_dict=[1]), tmp_path / 'list_inside.pth')
    torch.save(dict(state_dict=dict(w=torch.tensor(torch.nan))), tmp_path / 'nan.pth')
    before = sorted(tmp_path.iterdir())
    for name, message in {
        'list': 'holds a list',
        'list_inside': 'state dict is a list',
        'nan': 'w is not finite',
    }.items():
        with pytest.raises(CheckpointError, match=f'{name}.pth.*{message}'):
            publish_file(tmp_path / f'{name}.pth', tmp_path / 'x.pth')
    assert sorted(tmp_path.iterdir()) == before


def test_publish_safetensors(run_tool, tmp_path):
    pytest.importorskip('safetensors')
    meta = dict(dataset_meta=dict(classes=('a', 'b')), epoch=1)
    checkpoint = dict(state_dict=dict(w=torch.ones(2)), meta=meta, optimizer={})
    torch.save(checkpoint, tmp_path / 'epoch_1.pth')
    tool = 'model_converters/publish_model.py'
    args = (tmp_path / 'epoch_1.pth', tmp_path / 'net.pth', '--safetensors')
    out = run_tool(tool, *args).stdout
    (path,) = tmp_path.glob('net-*.safetensors')
    assert str(path) in out
    assert path.stem == f'net-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}'
    read = load(path)
    assert torch.equal(read['state_dict']['w'], torch.ones(2))
    assert read['meta'] == dict(dataset_meta=dict(classes=['a', 'b']), epoch=1)


def test_publish_keeps_its_source(tmp_path):
    """Even if it is asked to write under the same name."""
    path = tmp_path / 'a.pth'
    torch.save(dict(state_dict=dict(w=torch.ones(1)), optimizer={}, meta=None), path)
    before = path.read_bytes()
    assert set(load(publish_file(path, path))) == {'state_dict', 'meta'}
    assert path.read_bytes() == before
