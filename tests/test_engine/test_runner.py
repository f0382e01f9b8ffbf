"""What a config's keys do to the runner and its model."""

import pytest
import torch
from mmengine.config import Config
from tiny_datasets import small_detector, small_segmenter

from smpconv_mm.engine import config as settings
from smpconv_mm.engine import runner
from smpconv_mm.errors import UsageError
from smpconv_mm.layers import SMPConv2d


def build(path, tmp_path, **options):
    cfg = settings.load_config(str(path))
    cfg.merge_from_dict(dict(work_dir=str(tmp_path / 'work'), **options))
    return runner.build_runner(cfg)


@pytest.fixture(params=['classifier', 'detector', 'segmenter'])
def config(request, tiny_config, tmp_path):
    path = tmp_path / 'small.py'
    if request.param == 'classifier':
        return tiny_config
    if request.param == 'segmenter':
        return small_segmenter(path, tmp_path)
    recipe = 'mask-rcnn_smpnet-tiny_fpn_8xb2-amp-1x_coco.py'
    return small_detector(path, recipe, tmp_path)


def test_channels_last(config, tmp_path):
    """All weights of convolutions; maps and gradients stay the same."""
    plain, other = (
        build(config, tmp_path, channels_last=flag).model for flag in (False, True)
    )
    other.load_state_dict(plain.state_dict())
    x = torch.randn(2, 3, 64, 64)
    for model in (plain, other):
        torch.manual_seed(0)
        maps = model.extract_feat(x)
        sum((m * m).mean() for m in maps).backward()
    for one, two in zip(plain.extract_feat(x), other.extract_feat(x)):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)
    wide = 0
    for (name, one), two in zip(plain.named_parameters(), other.parameters()):
        assert one.is_contiguous()
        if two.dim() == 4:
            assert two.is_contiguous(memory_format=torch.channels_last)
            wide += not two.is_contiguous()
        if one.grad is not None:
            scale = float(one.grad.abs().max())
            torch.testing.assert_close(
                one.grad, two.grad, rtol=1e-3, atol=1e-4 * scale + 1e-9, msg=name
            )
    assert wide  # depthwise and 1x1 look the same in both formats


@pytest.mark.parametrize(
    'option, message',
    [
        (dict(custom_hooks=[]), 'start them with "bash tools/dist_train.sh CONFIG'),
        (
            dict(custom_hooks=[dict(type='EMAHook')], launcher='pytorch'),
            'EMAHook copies the whole model',
        ),
    ],
)
def test_sharding_says_what_it_cannot_do(tiny_config, option, message):
    cfg = Config.fromfile(tiny_config)
    cfg.merge_from_dict(dict(option, strategy=dict(type='smpconv_mm.FSDPStrategy')))
    with pytest.raises(UsageError, match=message):
        runner._flexible_runner(Config(dict(launcher='none') | dict(cfg)))


def test_mixed_precision(monkeypatch):
    """Which wrapper a choice of the command line, or of a config, leads to."""
    cfg = Config(dict(optim_wrapper=dict(type='AmpOptimWrapper', loss_scale=8.0)))
    both = [Config(cfg.to_dict()) for _ in range(4)]
    monkeypatch.setattr(settings, 'is_cuda_available', lambda: True)
    settings.set_amp(both[0], 'float16')
    assert both[0].optim_wrapper == dict(cfg.optim_wrapper, dtype='float16')
    monkeypatch.setattr(settings, 'is_cuda_available', lambda: False)
    settings.set_amp(both[1], 'bfloat16')
    with pytest.raises(UsageError, match='--amp needs a GPU.*--amp bfloat16'):
        settings.set_amp(both[1], 'float16')
    both[2].optim_wrapper.dtype = 'bfloat16'
    settings.drop_amp(both[2])
    for cfg in both[1:3]:
        assert cfg.optim_wrapper == dict(type='smpconv_mm.BFloat16OptimWrapper')
    settings.drop_amp(both[3])
    assert both[3].optim_wrapper == dict(type='OptimWrapper')


def test_only_bfloat16_ends_behind_the_heads():
    from smpconv_mm.compat.mmdet import hand_on_float32

    class Part(torch.nn.Module):
        def forward(self, x):
            return x, [x], 'text'

    model = torch.nn.Module()
    model.neck, model.backbone = Part(), Part()
    model.roi_head = torch.nn.Module()
    model.roi_head.bbox_head = torch.nn.ModuleList([Part()])
    model.roi_head.bbox_head[0].norm = SMPConv2d(1, 1, 3)
    hand_on_float32(model)
    for part in (model.neck, model.roi_head.bbox_head[0]):
        for dtype, expected in [
            (torch.bfloat16, torch.float32),
            (torch.float16, torch.float16),
            (torch.float64, torch.float64),
        ]:
            tensor, (inner,), text = part(torch.ones(1, dtype=dtype))
            assert tensor.dtype == inner.dtype == expected and text == 'text'
    assert model.backbone(torch.ones(1).bfloat16())[0].dtype == torch.bfloat16
    assert not model.roi_head.bbox_head[0].norm._forward_hooks


def test_memory_is_not_pinned_without_a_gpu(tiny_config, tmp_path):
    """Torch warns of it in every epoch."""
    cfg = settings.load_config(str(tiny_config))
    cfg.train_dataloader.pin_memory = cfg.val_dataloader.pin_memory = True
    cfg.work_dir = str(tmp_path)
    built = runner.build_runner(cfg)
    loader = built.build_dataloader(cfg.train_dataloader)
    assert loader.pin_memory == torch.cuda.is_available()
