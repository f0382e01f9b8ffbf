"""Classifiers through the converter; their names are those of mmcls."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from smpconv_mm.convert import convert_involution
from smpconv_mm.convert.files import convert_file
from smpconv_mm.engine.runner import build_model
from smpconv_mm.errors import CheckpointError

CONFIGS = Path(__file__).parents[2] / 'configs' / 'involution'


@pytest.mark.parametrize('name', ['rednet-26', 'rednet-50', 'cednet-38', 'cednet-50'])
def test_classifiers(name, tmp_path):
    config = CONFIGS / f'{name}_64xb32_in1k.py'
    model = build_model(Config.fromfile(config)).eval()
    state = {f'module.{k}': v for k, v in model.state_dict().items()}
    src, dst = tmp_path / 'original.pth', tmp_path / 'ours.pth'
    torch.save(dict(state_dict=state, meta=dict(epoch=130)), src)
    report = convert_file(src, dst, 'involution', config)
    assert len(report.renamed) == len(state) and not report.dropped
    other = build_model(Config.fromfile(config), dst).eval()
    for key, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[key]), key


@pytest.mark.parametrize(
    'name',
    [
        'mask-rcnn_rednet-50_involution-fpn-head_8xb2-1x_coco',
        'faster-rcnn_rednet-50_fpn_8xb2-1x_coco',
        'retinanet_cednet-50_cvolution-fpn_8xb2-1x_coco',
        'rednet-50_involution-fpn_4xb2-80k_cityscapes-512x1024',
        'rednet-50_upernet_4xb2-80k_cityscapes-512x1024',
    ],
)
def test_detectors_and_segmenters(name, tmp_path):
    config = CONFIGS / f'{name}.py'
    state = build_model(Config.fromfile(config)).state_dict()
    src, dst = tmp_path / 'original.pth', tmp_path / 'ours.pth'
    torch.save(dict(state_dict=state, meta=dict(epoch=12)), src)
    report = convert_file(src, dst, 'involution', config)
    assert len(report.renamed) == len(state) and not report.dropped
    other = build_model(Config.fromfile(config), dst).state_dict()
    assert all(torch.equal(value, other[key]) for key, value in state.items())
    state.popitem()
    torch.save(dict(state_dict=state), src)
    with pytest.raises(CheckpointError, match='1 entries missing'):
        convert_file(src, dst, 'involution', config)


def test_backbone_of_a_classifier(run_tool, tmp_path):
    """What detectors and segmenters start from."""
    cfg = Config.fromfile(CONFIGS / 'rednet-50_64xb32_in1k.py')
    cfg.model.backbone.stem_kernel_size = 7
    state = build_model(cfg).state_dict()
    src, dst = tmp_path / 'original.pth', tmp_path / 'ours.pth'
    torch.save(dict(state_dict=state), src)
    config = CONFIGS / 'faster-rcnn_rednet-50_involution-fpn_8xb2-1x_coco.py'
    tool = 'model_converters/involution_to_mm.py'
    out = run_tool(tool, src, dst, '--config', config).stdout
    assert 'dropped: head.fc.weight, head.fc.bias' in out
    detector = Config.fromfile(config)
    detector.model.backbone.init_cfg.checkpoint = str(dst)
    backbone = build_model(detector, part='backbone')
    backbone.init_weights()
    for key, value in backbone.state_dict().items():
        assert torch.equal(value, state[f'backbone.{key}']), key


def test_stem_of_another_size_is_named(tmp_path):
    config = CONFIGS / 'rednet-26_64xb32_in1k.py'
    cfg = Config.fromfile(config)
    cfg.model.backbone.stem_kernel_size = 7
    src = tmp_path / 'original.pth'
    torch.save(dict(state_dict=build_model(cfg).state_dict()), src)
    with pytest.raises(CheckpointError, match=r'stem\.1\.conv2.*\(98, 8, 1, 1\)'):
        convert_file(src, tmp_path / 'ours.pth', 'involution', config)
    assert not (tmp_path / 'ours.pth').exists()


def test_names_of_detectors_and_segmenters():
    names = [
        'neck.lateral_convs.0.conv.weight',
        'neck.fpn_convs.0.conv1.conv.weight',
        'neck.fpn_convs.3.conv_q.weight',
        'neck.fpn_convs.3.conv.bias',
        'rpn_head.rpn_conv.conv2.conv.bias',
        'rpn_head.rpn_cls.weight',
        'bbox_head.cls_convs.0.conv.weight',
        'bbox_head.retina_reg.bias',
        'roi_head.bbox_head.shared_fcs.1.weight',
        'roi_head.mask_head.convs.2.0.conv1.bn.running_var',
        'roi_head.mask_head.conv_logits.bias',
        'decode_head.scale_heads.1.0.conv.weight',
        'auxiliary_head.conv_seg.bias',
    ]
    converted, _ = convert_involution({name: torch.zeros(1) for name in names})
    assert list(converted) == names


def test_other_networks_are_refused():
    names = ['backbone.layer1.0.conv2.weight', 'head.fc.weight']
    with pytest.raises(CheckpointError, match=r'1 entries.*layer1\.0\.conv2\.weight'):
        convert_involution({name: torch.zeros(1) for name in names})
