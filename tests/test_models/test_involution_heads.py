"""Necks and heads with involutions, against the original programs."""

from pathlib import Path

import pytest
import torch
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS as ROOT
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from original_weights import original_weight, original_weights
from tolerances import assert_close
from torch import nn

from smpconv_mm.engine.config import load_config
from smpconv_mm.engine.runner import build_model
from smpconv_mm.models import InvolutionFPN, involution_mask_head, involution_rpn_head

GOLDEN = Path(__file__).parents[1] / 'golden' / 'cvolution'
CONFIG = (
    Path(__file__).parents[2]
    / 'configs/involution/rednet-50_involution-fpn_4xb2-80k_cityscapes-512x1024.py'
)
ANCHORS = dict(
    type='mmdet.AnchorGenerator', scales=[8], ratios=[0.5, 1.0, 2.0], strides=[4]
)
# parameters for 256 channels and 80 classes
PARAMETERS = {
    'neck': 1_253_952,
    'neck with C-volution': 1_401_664,
    'RPN head': 71_327,
    'mask head': 552_848,
}


def numbers(module):
    return sum(p.numel() for p in module.parameters())


def rpn_head(channels, **kwargs):
    init_default_scope('mmdet')
    cfg = dict(type='smpconv_mm.InvolutionRPNHead', anchor_generator=ANCHORS, **kwargs)
    return ROOT.build(dict(cfg, in_channels=channels, feat_channels=channels))


def pyramid(**kwargs):
    kind = dict(type='smpconv_mm.CVolution2d', kernel_size=7)
    args = dict(in_channels=[16, 32, 48, 64], out_channels=32, num_outs=5)
    return InvolutionFPN(**{**args, 'involution_cfg': kind, **kwargs})


def test_neck_agrees_with_the_original():
    data = torch.load(GOLDEN / 'fpn_c.pt', weights_only=True)
    neck = pyramid().double().eval()
    neck.load_state_dict(original_weights(data['shapes']))
    inputs = [
        original_weight(f'input{i}', shape) for i, shape in enumerate(data['input'])
    ]
    outs = neck(inputs)
    probes = []
    for i, (out, expected) in enumerate(zip(outs, data['output'], strict=True)):
        assert_close(out, expected, 1e-12)
        probes.append(original_weight(f'cotangent{i}', expected.shape))
    parameters = dict(neck.named_parameters())
    assert parameters.keys() == data['grads'].keys()
    grads = torch.autograd.grad(outs, list(parameters.values()), probes)
    for name, grad in zip(parameters, grads):
        assert_close(grad, data['grads'][name], 1e-10, name)


def test_rpn_head_agrees_with_the_original():
    data = torch.load(GOLDEN / 'rpn_involution.pt', weights_only=True)
    head = rpn_head(32).double().eval()
    shapes = {name: value.shape for name, value in data['state_dict'].items()}
    head.load_state_dict(original_weights(shapes))
    x = data['input'].requires_grad_()
    outs = head.forward_single(x)
    for out, expected in zip(outs, data['output'], strict=True):
        assert_close(out, expected, 1e-12)
    parameters = dict(head.named_parameters())
    assert parameters.keys() == data['grads'].keys()
    grads = torch.autograd.grad(outs, [x, *parameters.values()], data['cotangent'])
    assert_close(grads[0], data['grad_input'], 1e-10)
    for name, grad in zip(parameters, grads[1:]):
        assert_close(grad, data['grads'][name], 1e-10, name)


def test_published_numbers_of_parameters():
    channels = dict(in_channels=[256, 512, 1024, 2048], out_channels=256)
    found = {
        'neck': InvolutionFPN(**channels, num_outs=5),
        'neck with C-volution': pyramid(**channels),
        'RPN head': rpn_head(256),
        'mask head': involution_mask_head(),
    }
    assert {name: numbers(module) for name, module in found.items()} == PARAMETERS


@pytest.mark.parametrize('scope', ['mmdet', 'mmseg'])
def test_found_by_the_name_alone(scope):
    init_default_scope(scope)
    cfg = dict(in_channels=[8, 16], out_channels=16, num_outs=2)
    neck = ROOT.build(dict(type='smpconv_mm.InvolutionFPN', **cfg))
    assert type(neck) is InvolutionFPN


@pytest.mark.parametrize('source', [False, True, 'on_input', 'on_lateral', 'on_output'])
@pytest.mark.parametrize('relu', [False, True])
def test_further_levels(source, relu):
    """As mmdet makes them, given the same output layers."""
    from mmdet.models.necks import FPN

    shared = dict(in_channels=[8, 16, 32], out_channels=16, num_outs=5, start_level=1)
    shared.update(add_extra_convs=source, relu_before_extra_convs=relu)
    shared.update(act_cfg=dict(type='ReLU'))  # which works in place elsewhere
    torch.manual_seed(0)
    plain, neck = FPN(**shared), InvolutionFPN(**shared)
    for i in range(len(neck.lateral_convs)):
        neck.fpn_convs[i] = plain.fpn_convs[i]
    neck.load_state_dict(plain.state_dict())
    inputs = [
        torch.randn(2, c, *size, requires_grad=True)
        for c, size in ((8, (13, 9)), (16, (7, 5)), (32, (4, 3)))
    ]
    outs = neck(inputs)
    for out, expected in zip(outs, plain(inputs), strict=True):
        assert torch.equal(out, expected)
    sum(out.square().sum() for out in outs).backward()
    assert all(p.grad is not None for p in neck.parameters())


def test_weights_start_as_in_the_original():
    torch.manual_seed(0)
    neck, head = InvolutionFPN([16, 32], 64, 2), rpn_head(64)
    for module in (neck, head):
        module.init_weights()
    for conv in neck.modules():
        if isinstance(conv, nn.Conv2d):
            fan_out, fan_in = conv.weight.shape[:2]
            bound = (6 / (fan_in + fan_out)) ** 0.5
            assert 0.7 * bound < conv.weight.abs().max() <= bound
    for conv in (head.rpn_cls, head.rpn_reg):
        assert 0.005 < conv.weight.std() < 0.015
    # not those inside of the involution
    assert head.rpn_conv.conv1.conv.weight.std() > 0.05


def test_a_batch_without_regions():
    head = involution_mask_head(2, 32, conv_out_channels=32, num_classes=3).train()
    before = head.state_dict()['convs.0.0.conv1.bn.running_mean'].clone()
    out = head(torch.zeros(0, 32, 14, 14))
    assert out.shape == (0, 3, 28, 28)
    out.sum().backward()  # what distributed training needs
    assert all(p.grad is not None for p in head.parameters())
    after = head.state_dict()['convs.0.0.conv1.bn.running_mean']
    assert torch.equal(after, before)
    assert all(m.training for m in head.modules())
    head(torch.randn(3, 32, 14, 14))
    assert not torch.equal(after, before)


@pytest.mark.parametrize(
    'call, message',
    [
        (lambda: pyramid(num_outs=3), 'num_outs must be at least.*4.*got 3'),
        (lambda: pyramid(start_level=4), 'start_level=4'),
        (lambda: pyramid(add_extra_convs='on_top'), "on_output, got 'on_top'"),
        (lambda: pyramid(out_channels=24), '24 channels'),
        (lambda: pyramid()([torch.zeros(1, 16, 4, 4)]), 'takes 4 maps, got 1'),
        (lambda: involution_mask_head(conv_out_channels=64), 'must be 256, got 64'),
        (
            lambda: involution_rpn_head(16, feat_channels=32, anchor_generator=ANCHORS),
            'feat_channels must be 16.*got 32 and 1',
        ),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_segmenter():
    """The recipe of mmseg on small maps: every weight of the neck learns."""
    from mmseg.structures import SegDataSample

    cfg = load_config(str(CONFIG))
    cfg.model.backbone.update(depth=26, base_channels=16, stem_channels=32)
    cfg.model.neck.update(in_channels=[64, 128, 256, 512], out_channels=32)
    cfg.model.decode_head.update(in_channels=[32] * 4, channels=16, num_classes=4)
    cfg.model.data_preprocessor.size = (64, 64)
    torch.manual_seed(0)
    model = revert_sync_batchnorm(build_model(cfg)).train()
    for norm in model.backbone.modules():
        if isinstance(norm, nn.BatchNorm2d):  # also those that start with zeros
            nn.init.ones_(norm.weight)
    sample = SegDataSample(metainfo=dict(img_shape=(64, 64), ori_shape=(64, 64)))
    sample.gt_sem_seg = PixelData(data=torch.randint(0, 4, (1, 64, 64)))
    image = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)
    data = dict(inputs=[image] * 2, data_samples=[sample] * 2)
    optim = build_optim_wrapper(model, cfg.optim_wrapper)
    before = {name: p.detach().clone() for name, p in model.neck.named_parameters()}
    losses = [float(model.train_step(data, optim)['decode.loss_ce']) for _ in range(5)]
    assert losses[-1] < losses[0]
    for name, parameter in model.neck.named_parameters():
        assert not torch.equal(parameter, before[name]), name
