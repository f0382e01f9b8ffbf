"""int8 for onnxruntime: what is in the file, and what is refused."""

import numpy as np
import pytest
import torch

from smpconv_mm.apis.quantization import quantise_file
from smpconv_mm.checkpoint import save
from smpconv_mm.engine.config import load_config
from smpconv_mm.engine.runner import build_model
from smpconv_mm.errors import UsageError

onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')
FEW = {'test_dataloader.dataset.indices': 40}


@pytest.fixture(scope='module')
def checkpoint(tiny_config, tmp_path_factory):
    torch.manual_seed(0)
    model = build_model(load_config(str(tiny_config)))
    for name, weight in model.named_parameters():
        if name.endswith('weight') and '.kernel.' not in name:
            torch.nn.init.normal_(weight)
    path = tmp_path_factory.mktemp('checkpoint') / 'tiny.pth'
    save(dict(state_dict=model.state_dict()), path)
    return path


@pytest.mark.parametrize('full_range', [False, True])
def test_file(tiny_config, checkpoint, tmp_path, full_range):
    dst = tmp_path / 'int8.onnx'
    done = quantise_file(
        str(tiny_config), checkpoint, dst, 8, 1.0, full_range, options=FEW
    )
    assert done.images == 40 and 0 <= done.same <= 40
    assert all(0 <= right <= 40 for right in done.right)
    assert done.size[1] == dst.stat().st_size
    assert [path.name for path in tmp_path.iterdir()] == ['int8.onnx']
    graph = onnx.load(dst).graph
    weights = [
        onnx.numpy_helper.to_array(tensor)
        for tensor in graph.initializer
        if tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) == 4
    ]
    assert len(weights) > 8
    # sums of two products of 7 and 8 bits fit into 16 bits, as old processors add them
    largest = max(int(np.abs(weight.astype(int)).max()) for weight in weights)
    assert largest == (127 if full_range else 64)


def test_lost_accuracy(tiny_config, checkpoint, tmp_path):
    args = (str(tiny_config), checkpoint, tmp_path / 'int8.onnx', 8)
    with pytest.raises(UsageError, match='was not written: of 40 test images'):
        quantise_file(*args, max_loss=-1.0, options=FEW)
    assert not list(tmp_path.iterdir())


def test_not_a_classifier(tmp_path):
    config = 'configs/detection/retinanet_smpnet-tiny_fpn_8xb2-1x_coco.py'
    with pytest.raises(UsageError, match='is not a classifier'):
        quantise_file(f'smpconv_mm::{config[8:]}', 'a.pth', tmp_path / 'a.onnx')
    with pytest.raises(UsageError, match='must be .onnx'):
        quantise_file(config, 'a.pth', tmp_path / 'a.pt2')
