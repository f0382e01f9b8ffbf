"""Training and testing across resolutions, and sizes that are followed."""

import json
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from smpconv_mm.checkpoint import load
from smpconv_mm.engine.hooks import KernelSizeHook
from smpconv_mm.engine.loops import ResolutionTestLoop

ROOT = Path(__file__).parents[2]
SOURCE = f"""
_base_ = {str(ROOT / 'configs/flexconv/flexnet-micro_1xb64_digits.py')!r}
model = dict(
    type='smpconv_mm.KernelRegularizedClassifier',
    backbone=dict(kernel_size=9, channels=[6], stem_channels=6),
    head=dict(in_channels=6),
    kernel_losses=[dict(type='smpconv_mm.AliasingLoss')],
)
train_dataloader = dict(dataset=dict(indices=128))
val_dataloader = dict(dataset=dict(indices=64))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=2)
param_scheduler = [dict(type='ConstantLR', factor=1.0)]
custom_hooks = [dict(type='smpconv_mm.KernelSizeHook')]
small = [dict(type='Resize', scale=8), dict(type='PackInputs')]
for part in (train_dataloader, val_dataloader):
    part['dataset']['pipeline'] = small
"""


@pytest.fixture(scope='module')
def source(run_tool, tmp_path_factory):
    """A training at 8x8: its config and work dir."""
    config = tmp_path_factory.mktemp('config') / 'source.py'
    config.write_text(SOURCE)
    folder = tmp_path_factory.mktemp('source')
    run_tool('train.py', config, '--work-dir', folder)
    return config, folder


def test_growth_of_sizes(run_tool, source):
    config, source = source
    written = load(source / 'kernel_sizes/sizes.pth')
    assert written['epochs'] == [0, 1, 2]
    assert len(written['sizes']) == 3
    name, sizes = next(iter(written['sizes'].items()))
    assert len(sizes) == 3 and all(1 <= n <= 9 for size in sizes for n in size)
    assert (source / 'kernel_sizes/sizes.png').stat().st_size > 1000
    scalars = next(source.rglob('scalars.json')).read_text()
    assert scalars.count('kernel_size/stem.0/1') == 3
    # a run that is resumed goes on
    run_tool(
        'train.py',
        config,
        '--work-dir',
        source,
        '--resume',
        '--cfg-options',
        'train_cfg.max_epochs=3',
    )
    again = load(source / 'kernel_sizes/sizes.pth')
    assert again['epochs'] == [0, 1, 2, 3]
    assert again['sizes'][name][:3] == sizes


def test_finetuned_at_twice_the_resolution(run_tool, source, tmp_path):
    config, source = source
    path = tmp_path / 'target.py'
    path.write_text(f"""
_base_ = {str(config)!r}
model = dict(backbone=dict(kernel_size=17))
small = [dict(type='Resize', scale=16), dict(type='PackInputs')]
train_dataloader = dict(dataset=dict(pipeline=small))
val_dataloader = dict(dataset=dict(pipeline=small))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=1)
load_from = {str(source / 'epoch_2.pth')!r}
custom_hooks = [dict(type='smpconv_mm.ValidateFirstHook')]
""")
    run_tool('train.py', path, '--work-dir', tmp_path / 'run')
    scalars = next(tmp_path.rglob('scalars.json')).read_text()
    assert scalars.count('accuracy/top1') == 2  # before it, and after its epoch
    state = load(tmp_path / 'run' / 'epoch_1.pth')['state_dict']
    sizes = [v.tolist() for k, v in state.items() if k.endswith('_trained_size')]
    assert sizes == [[9, 9]] * 3


def test_tested_at_several_resolutions(run_tool, source, tmp_path):
    config, source = source
    out = tmp_path / 'metrics.json'
    args = config, source / 'epoch_2.pth', '--work-dir', tmp_path
    options = (
        'test_cfg.type=smpconv_mm.ResolutionTestLoop',
        'test_cfg.sizes=[8,12,16]',
        'test_cfg.trained_size=8',
    )
    run_tool('test.py', *args, '--out', out, '--cfg-options', *options)
    found = json.loads(out.read_text())
    assert {f'{n}/accuracy/top1' for n in (8, 12, 16)} <= set(found)
    run_tool('test.py', *args, '--out', out)
    plain = json.loads(out.read_text())
    assert found['8/accuracy/top1'] == pytest.approx(plain['accuracy/top1'], abs=1e-3)


def test_resized_images_and_kernels():
    """Batches of tensors and lists; images of their own size stay as they are."""
    loop = ResolutionTestLoop.__new__(ResolutionTestLoop)
    loop._size = 4
    images = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    assert loop._resized(images).shape == (2, 3, 4, 4)
    loop._size = 8
    assert torch.equal(loop._resized(images), images.float())


def test_bad_arguments():
    with pytest.raises(ValueError, match='interval must be at least 1'):
        KernelSizeHook(0)


def test_shipped_configs_fit_together():
    folder = ROOT / 'configs/flexconv'
    one, two = (
        Config.fromfile(folder / f'flexnet-7_1xb64_cifar10-{size}.py')
        for size in ('16', '16to32')
    )
    assert one.model.backbone.kernel_size == 17
    assert two.model.backbone.kernel_size == 33
    assert two.load_from == 'work_dirs/flexnet-7_1xb64_cifar10-16/epoch_100.pth'
    assert one.train_cfg.max_epochs == two.train_cfg.max_epochs == 100
    assert [t.type for t in one.val_dataloader.dataset.pipeline] == [
        'Resize',
        'PackInputs',
    ]
    assert 'Resize' not in str(two.train_dataloader)
