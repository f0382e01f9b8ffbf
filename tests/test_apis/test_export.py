"""Files for other programs: what is in them, and what is refused."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from smpconv_mm.apis import export
from smpconv_mm.apis.export import export_file
from smpconv_mm.apis.models import Network
from smpconv_mm.checkpoint import save
from smpconv_mm.convert.files import reparameterize_file
from smpconv_mm.engine.config import load_config
from smpconv_mm.engine.runner import build_model
from smpconv_mm.errors import CheckpointError, UsageError

onnx = pytest.importorskip('onnx')
onnxruntime = pytest.importorskip('onnxruntime')


def lively(model):
    """Norms that do something, as after a training."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.2)
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 1.5)
    return model


@pytest.fixture(scope='module')
def checkpoint(tiny_config, tmp_path_factory):
    path = tmp_path_factory.mktemp('checkpoint') / 'tiny.pth'
    model = lively(build_model(load_config(str(tiny_config))))
    save(dict(state_dict=model.state_dict()), path)
    return path


def network_of(config, checkpoint):
    network = Network(load_config(str(config)))
    network.load(checkpoint)
    return network.requires_grad_(False)


def run(path, x):
    session = onnxruntime.InferenceSession(str(path))
    return session.run(None, {'input': np.asarray(x)})


def dims(values):
    return [
        [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in values
    ]


def test_onnx_of_any_size(tiny_config, checkpoint, tmp_path):
    path = tmp_path / 'tiny.onnx'
    done = export_file(str(tiny_config), checkpoint, path, (32,), dynamic=True)
    assert set(done.inputs) == {(1, 3, 32, 32), (3, 3, 35, 37)}
    assert max(done.inputs.values()) < 1e-5 and done.outputs == ['scores']
    assert done.preprocessing == '(x - [78.0, 78.0, 78.0]) / [96.0, 96.0, 96.0]'
    assert [p.name for p in tmp_path.iterdir()] == ['tiny.onnx']
    graph = onnx.load(path).graph
    assert dims(graph.input) == [['batch', 3, 'height', 'width']]
    assert dims(graph.output) == [['batch', 10]]
    # ordinary operators, and the kernels merged and dense: 7x7 and 5x5
    assert {node.domain for node in graph.node} == {''}
    kinds = [node.op_type for node in graph.node]
    # those before the output and the residual sums; all other norms are folded
    assert kinds.count('BatchNormalization') == 1
    shapes = [tuple(w.dims) for w in graph.initializer]
    assert (8, 1, 7, 7) in shapes and (8, 1, 5, 5) in shapes
    # the file is the training form's equal where nobody has looked yet
    x = torch.randn(2, 3, 41, 19)
    expected = network_of(tiny_config, checkpoint)(x)
    np.testing.assert_allclose(run(path, x)[0], expected, rtol=1e-4, atol=1e-5)


def test_onnx_of_one_size(tiny_config, checkpoint, tmp_path):
    path = tmp_path / 'tiny.onnx'
    # as small as the stride
    export_file(str(tiny_config), checkpoint, path, (8, 16))
    assert dims(onnx.load(path).graph.input) == [[1, 3, 8, 16]]


def test_float16(tiny_config, checkpoint, tmp_path):
    path = tmp_path / 'tiny.onnx'
    done = export_file(str(tiny_config), checkpoint, path, (32,), True, fp16=True)
    assert 0 < max(done.inputs.values()) < 1e-2
    graph = onnx.load(path).graph
    halves = [w for w in graph.initializer if w.data_type == onnx.TensorProto.FLOAT16]
    assert len(halves) > 20
    assert not any(w.data_type == onnx.TensorProto.FLOAT for w in graph.initializer)
    (scores,) = run(path, torch.randn(2, 3, 32, 32))
    assert scores.dtype == np.float32


def test_too_large_for_float16(tiny_config, checkpoint, tmp_path):
    state = network_of(tiny_config, checkpoint).model.state_dict()
    state['head.fc.weight'] *= 1e8
    save(dict(state_dict=state), tmp_path / 'large.pth')
    dst = tmp_path / 'large.onnx'
    dst.write_text('what was there')
    with pytest.raises(UsageError, match='leave --fp16 out'):
        export_file(str(tiny_config), tmp_path / 'large.pth', dst, (32,), fp16=True)
    assert dst.read_text() == 'what was there'


def test_pt2_of_any_size(tiny_config, checkpoint, tmp_path):
    path = tmp_path / 'tiny.pt2'
    done = export_file(str(tiny_config), checkpoint, path, (32,), dynamic=True)
    assert max(done.inputs.values()) < 1e-5
    program = torch.export.load(path)
    names = [str(n.target) for n in program.graph.nodes if n.op == 'call_function']
    assert any('conv2d' in name for name in names)
    assert not any('smpconv_mm' in name for name in names)
    x = torch.randn(2, 3, 41, 19)
    expected = network_of(tiny_config, checkpoint)(x)
    torch.testing.assert_close(program.module()(x), expected, rtol=1e-4, atol=1e-5)


def test_checkpoint_in_deploy_form(tiny_config, checkpoint, tmp_path):
    reparameterize_file(tiny_config, checkpoint, tmp_path / 'deploy.pth')
    path = tmp_path / 'tiny.pt2'
    export_file(str(tiny_config), tmp_path / 'deploy.pth', path, (32,))
    x = torch.randn(1, 3, 32, 32)
    expected = network_of(tiny_config, checkpoint)(x)
    actual = torch.export.load(path).module()(x)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    'name, kinds',
    [
        ('oriented1d/convnext-1d-tiny_32xb128_in1k', {'Conv', 'LayerNormalization'}),
        ('involution/rednet-26_64xb32_in1k', {'Conv', 'BatchNormalization'}),
    ],
)
def test_published_networks(name, kinds, tmp_path):
    """Classifiers of full size in onnxruntime, on a small image."""
    config = Path(__file__).parents[2] / f'configs/{name}.py'
    model = lively(build_model(load_config(str(config))))
    for key, value in model.named_parameters():
        if key.endswith('.gamma'):  # 1e-6 would hide the blocks
            torch.nn.init.uniform_(value, 0.5, 1)
    save(dict(state_dict=model.state_dict()), tmp_path / 'net.pth')
    path = tmp_path / 'net.onnx'
    done = export_file(str(config), tmp_path / 'net.pth', path, (64,))
    assert done.outputs == ['scores'] and max(done.inputs.values()) < 1e-5
    nodes = onnx.load(path, load_external_data=False).graph.node
    assert {node.domain for node in nodes} == {''}
    assert kinds <= {node.op_type for node in nodes}
    # at a different input than the one that it was checked with
    x = torch.randn(1, 3, 64, 64)
    expected = network_of(config, tmp_path / 'net.pth')(x)
    error = np.abs(run(path, x)[0] - expected.numpy()).max()
    assert error < 1e-4 * expected.abs().max()


ARCH = dict(channels=[8, 8], depths=[1, 1], kernel_sizes=[7, 5])
BACKBONES = {
    # a detector: its backbone alone
    'detector': (
        "default_scope = 'mmdet'\n"
        "model = dict(type='RetinaNet', bbox_head=dict(type='RetinaHead'), backbone="
        f"dict(type='smpconv_mm.SMPNet', arch={ARCH}, out_indices=(0, 1)))\n",
        'backbone.',
        (40, 72),
        ['map0', 'map1'],
    ),
    # sequences, a kernel longer than the shortest of them
    'sequences': (
        "model = dict(type='smpconv_mm.SMPTCN', kernel_size=50, channels=[4, 4])\n",
        '',
        (30,),
        ['map0'],
    ),
    'dense maps': (
        "model = dict(type='smpconv_mm.SMPResNet', kernel_size=9, channels=[4, 6], "
        'stem_channels=4)\n',
        '',
        (12,),
        ['map0'],
    ),
}


@pytest.mark.parametrize('name', BACKBONES)
def test_backbones(name, tmp_path):
    text, prefix, shape, outputs = BACKBONES[name]
    if name == 'detector':
        pytest.importorskip('mmdet')
    config = tmp_path / 'config.py'
    config.write_text(text)
    model = lively(Network(load_config(str(config))).model)
    state = {prefix + key: value for key, value in model.state_dict().items()}
    if prefix:
        state['bbox_head.weight'] = torch.zeros(1)
    save(dict(state_dict=state), tmp_path / 'net.pth')
    dst = tmp_path / 'net.onnx'
    done = export_file(str(config), tmp_path / 'net.pth', dst, shape, dynamic=True)
    assert done.outputs == outputs and max(done.inputs.values()) < 1e-5
    assert done.preprocessing == 'none'
    kinds = {node.op_type for node in onnx.load(dst).graph.node}
    assert 'Conv' in kinds and not {'DFT', 'Einsum'} & kinds


@pytest.mark.parametrize(
    'name, shape, dynamic, message',
    [
        ('a.onnx', (32, 7), False, r'--shape 32 7: the stride of the network is 8'),
        ('a.onnx', (8,), True, r'the stride.*is 8; take sides of at least 9'),
        ('a.pt2', (0,), False, r'--shape 0 0: the stride of the network is 8'),
        ('a.onnx', (32, 32, 3), False, r'takes height and width, got \[32, 32, 3\]'),
        ('a.pb', (32,), False, r"\.onnx or \.pt2, got '\.pb'"),
    ],
)
def test_bad_input(tiny_config, checkpoint, tmp_path, name, shape, dynamic, message):
    with pytest.raises(UsageError, match=message):
        export_file(str(tiny_config), checkpoint, tmp_path / name, shape, dynamic)
    assert not list(tmp_path.iterdir())


def test_what_is_missing(tiny_config, checkpoint, tmp_path, monkeypatch):
    args = (str(tiny_config), checkpoint, tmp_path / 'a.onnx', (32,))
    with monkeypatch.context() as patch:
        find = importlib.util.find_spec
        patch.setattr(export, 'find_spec', lambda n: None if n == 'onnx' else find(n))
        with pytest.raises(UsageError, match=r'needs onnx, not.*\[deploy\]'):
            export_file(*args)
    with monkeypatch.context() as patch:
        patch.setattr(torch, '__version__', '2.4.1+cpu')
        with pytest.raises(UsageError, match='this is 2.4.1.*write .pt2'):
            export_file(*args)
    save(dict(state_dict={'head.fc.weight': torch.zeros(10, 8)}), tmp_path / 'b.pth')
    with pytest.raises(CheckpointError, match='entries missing'):
        export_file(str(tiny_config), tmp_path / 'b.pth', *args[2:])
    monkeypatch.setitem(export.TOLERANCE, torch.float32, -1.0)
    with pytest.raises(UsageError, match=r'a.onnx was not written.*\(1, 3, 32, 32\)'):
        export_file(*args)
    assert [p.name for p in tmp_path.iterdir()] == ['b.pth']
