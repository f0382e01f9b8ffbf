import argparse
import json
import re
from importlib.util import find_spec

import pytest
import running
import torch
from mmengine.config import Config

from smpconv_mm.apis import comparison, contenders, network_benchmark
from smpconv_mm.apis.ablation import Run, train_all
from smpconv_mm.checkpoint import load
from smpconv_mm.engine.config import load_config
from smpconv_mm.engine.runner import build_model
from smpconv_mm.errors import UsageError
from smpconv_mm.registry import MODELS

DIGITS = 'smpconv_mm::smpconv/smpnet-micro_1xb64_digits.py'
ALL = list(contenders.KERNELS)


def test_every_kernel_goes_into_a_backbone():
    configs = contenders.contenders_of([DIGITS], ALL)
    assert list(configs) == ALL
    for name, cfg in configs.items():
        backbone = MODELS.build(cfg.model.backbone)
        kinds = {type(m).__name__ for m in backbone.modules()}
        assert contenders.KERNELS[name] in kinds
    keys = configs['dcls'].optim_wrapper.paramwise_cfg.custom_keys
    assert keys['.kernel.position'].lr_mult == 5
    assert (
        '.kernel.position' not in configs['smp'].optim_wrapper.paramwise_cfg.custom_keys
    )


def test_whole_configs_and_kernels_of_several():
    oriented = 'smpconv_mm::oriented1d/convnext-1d-micro_1xb64_digits.py'
    found = contenders.contenders_of([DIGITS, oriented])
    assert list(found) == [
        'smpnet-micro_1xb64_digits',
        'convnext-1d-micro_1xb64_digits',
    ]
    found = contenders.contenders_of(
        [DIGITS, DIGITS.replace('.py', '-ablation.py')], ['smp']
    )
    assert len(found) == 2 and all(name.endswith('-smp') for name in found)


@pytest.mark.parametrize(
    'configs, kernels, message',
    [
        ([DIGITS], ['smp', 'magic'], r"kernels \['magic'\] are unknown; there are"),
        ([DIGITS], [], 'needs two contenders or more'),
        ([DIGITS], ['smp'], 'needs two contenders or more'),
        (
            ['smpconv_mm::oriented1d/convnext-1d-micro_1xb64_digits.py'],
            ['smp', 'dense'],
            'OrientedConvNeXt takes no kernels',
        ),
    ],
)
def test_what_cannot_be_compared(configs, kernels, message):
    with pytest.raises(UsageError, match=message):
        contenders.contenders_of(configs, kernels)


def test_networks_of_timm():
    """Backbones in the data and schedule of the first config."""
    pytest.importorskip('timm')
    found = contenders.contenders_of([DIGITS, 'timm::resnet18', 'timm::smpnet_tiny'])
    assert list(found) == ['smpnet-micro_1xb64_digits', 'resnet18', 'smpnet_tiny']
    first, resnet, smpnet = found.values()
    assert resnet.train_dataloader == first.train_dataloader
    assert resnet.model.head.in_channels == 512
    assert smpnet.model.head.in_channels == 768
    scores = build_model(resnet).eval()(torch.zeros(2, 3, 32, 32), mode='tensor')
    assert scores.shape == (2, 10)
    # kernels go into the configs only
    found = contenders.contenders_of([DIGITS, 'timm::resnet18'], ['dense', 'smp'])
    assert list(found) == ['dense', 'smp', 'resnet18']


@pytest.mark.parametrize(
    'configs, message',
    [
        (['timm::resnet18', DIGITS], 'name one before it'),
        ([DIGITS, 'timm::resnet_18'], "no network 'resnet_18'; it has .*resnet"),
        ([DIGITS, 'timm::test_vit3'], r'test_vit3 does not take \(32, 32\)'),
        ([DIGITS, 'timm::test_vit'], 'not a map of 64 channels'),
    ],
)
def test_networks_of_timm_that_cannot_be_compared(configs, message):
    pytest.importorskip('timm')
    with pytest.raises(UsageError, match=message):
        contenders.contenders_of(configs)


def test_without_timm(monkeypatch):
    monkeypatch.setattr(contenders, 'find_spec', lambda name: None)
    with pytest.raises(UsageError, match=r'run pip install "smpconv_mm\[timm\]"'):
        contenders.contenders_of([DIGITS, 'timm::resnet18'])


def test_schedules_are_shortened():
    cfg = load_config(DIGITS)
    comparison._shorten(cfg, 8 / 40)
    warmup, cosine = cfg.param_scheduler
    assert warmup.end == cosine.begin == 1 and cosine.end == 8
    steps = Config(dict(param_scheduler=dict(type='MultiStepLR', milestones=[20, 30])))
    comparison._shorten(steps, 0.1)
    assert steps.param_scheduler[0].milestones == [2, 3]
    cfg = load_config(DIGITS)
    comparison._shorten(cfg, 1 / 40)  # nothing is left after the warm-up
    (warmup,) = cfg.param_scheduler
    assert warmup.type == 'LinearLR' and warmup.end == 1


@pytest.mark.parametrize('text, seconds', [('90s', 90), ('10m', 600), ('1.5h', 5400)])
def test_budget(text, seconds):
    assert running.load('compare.py').budget(text) == seconds


@pytest.mark.parametrize('text', ['10', 'm', '0m', '-3s', '1d'])
def test_wrong_budget(text):
    with pytest.raises(argparse.ArgumentTypeError, match='write it as 90s'):
        running.load('compare.py').budget(text)


@pytest.fixture
def config(tiny_config, tmp_path):
    path = tmp_path / 'tiny.py'
    path.write_text(
        f'_base_ = {str(tiny_config)!r}\n'
        'train_dataloader = dict(dataset=dict(indices=64))\n'
        'train_cfg = dict(max_epochs=2)\n'
    )
    return path


def test_tool(run_tool, config, tmp_path, monkeypatch):
    """All results are there; finished trainings are kept, others go on."""
    # a new process for each contender: another test does that
    monkeypatch.setattr(network_benchmark, '_peak', lambda *args: 1.0)
    work_dir = tmp_path / 'work'
    timm = ['timm::test_convnext'] if find_spec('timm') else []
    args = ('compare.py', config, *timm, '--kernels', 'dense,smp', '--seeds')
    out = run_tool(*args, 1, '--work-dir', work_dir).stdout
    assert 'dense' in out and 'report.html' in out
    table = json.loads((work_dir / 'compare.json').read_text())
    assert table['metric'] == 'accuracy/top1'
    dense, smp, *others = table['contenders']
    assert [c['name'] for c in others] == ['test_convnext' for _ in timm]
    assert dense['difference'] == 0 and [dense['name'], smp['name']] == ['dense', 'smp']
    assert dense['parameters'] != smp['parameters'] and smp['ms'] > 0
    assert len(smp['curve']) == 2
    # after two epochs, nothing may reach the centre of a map
    fields = sum(bool(c['areas']) for c in table['contenders'])
    lines = (work_dir / 'compare.md').read_text().splitlines()
    assert len(lines) == 4 + len(timm) and all(line.count('|') == 10 for line in lines)
    page = (work_dir / 'report.html').read_text()
    assert page.count('data:image/png;base64,') == 3 + bool(fields)
    assert not re.search(r'(?:src|href)="(?!data:)', page)
    # the config of a contender is a whole one
    kernel = load_config(str(work_dir / 'smp' / 'config.py')).model.backbone.kernel_cfg
    assert kernel.type == 'SMPKernel'
    weights = load(work_dir / 'smp' / 'seed_0' / 'epoch_2.pth')['state_dict']
    assert any(key.endswith('.kernel.coord') for key in weights)

    result = work_dir / 'dense' / 'seed_0' / 'result.json'
    written = result.stat().st_mtime_ns
    run_tool(*args, 2, '--work-dir', work_dir)
    assert result.stat().st_mtime_ns == written
    table = json.loads((work_dir / 'compare.json').read_text())
    assert [len(c['values']) for c in table['contenders'][:2]] == [2, 2]


def test_budget_of_trainings(config, tmp_path):
    configs = contenders.contenders_of([str(config)], ['dense', 'smp'])
    epochs = comparison.fit_budget(configs, 1, 3600, tmp_path / 'work')
    assert epochs == 2  # more than the configs have is never taken
    assert not (tmp_path / 'work' / 'trial').exists()
    again = contenders.contenders_of([str(config)], ['dense', 'smp'])
    plan = tmp_path / 'work' / 'plan.json'
    plan.write_text('{"epochs": 1}')
    assert comparison.fit_budget(again, 1, 3600, tmp_path / 'work') == 1
    assert all(cfg.train_cfg.max_epochs == 1 for cfg in again.values())
    seen = []
    (run,) = train_all(
        {'smp': again['smp']}, [0], tmp_path / 'work', lambda *args: seen.append(args)
    )
    assert isinstance(run, Run) and seen == [('smp', 0, 0, 1), ('smp', 0, 1, 1)]
    with pytest.raises(UsageError, match='2 contenders need .* s an epoch'):
        comparison.fit_budget(configs, 1, 0.1, tmp_path / 'other')
