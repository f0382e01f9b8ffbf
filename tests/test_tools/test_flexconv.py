"""FlexConv and CCNN on tiny data in the real formats: train, resume, test."""

import json
from pathlib import Path

import pytest
import real_formats
from mmengine.config import Config

ROOT = Path(__file__).parents[2]
# one of every set and kind of network
NAMES = [
    'flexconv/flexnet-3_1xb64_cifar10',
    'flexconv/flexnet-7_1xb64_mnist',
    'flexconv/flexnet-7_1xb256_stl10',
    'flexconv/flexnet-5_32xb64_imagenet32',
    'flexconv/flexnet-7_1xb64_cifar10-16',
    'flexconv/flex-tcn-2_1xb64_pmnist',
    'flexconv/flex-tcn-2_1xb64_scifar10-noise-padded',
    'flexconv/flex-tcn-2_1xb64_char-trajectories',
    'flexconv/flex-tcn-2_1xb64_speech-commands-mfcc',
    'flexconv/flex-tcn-2_1xb64_copy-memory',
    'flexconv/flex-tcn-2_1xb64_adding-problem',
    'flexconv/ckcnn-1m_1xb64_scifar10',
    'flexconv/ckcnn-100k_1xb32_char-trajectories',
    'flexconv/ck-tcn-2_1xb64_smnist',
    'ccnn/ccnn-4-140_smnist',
    'ccnn/ccnn-6-380_scifar10',
    'ccnn/ccnn-4-140_cifar10',
    'ccnn/ccnn-4-140_lra-pathfinder-2d',
    'ccnn/ccnn-6-380_lra-listops',
]
# all others, but for the digits, which other tests train
MORE = [
    name
    for family in ('flexconv', 'ccnn')
    for path in sorted((ROOT / 'configs' / family).glob('*.py'))
    if (name := f'{family}/{path.stem}') not in NAMES and 'digits' not in name
]


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data')
    real_formats.write_all(folder)
    return folder


def options_for(cfg, data):
    """A network and a set for seconds."""
    options = ['train_cfg.max_epochs=1', 'load_from=None']
    if 'channels' in cfg.model.backbone:
        options += ['model.backbone.channels=[4]', 'model.head.in_channels=4']
    if 'stem_channels' in cfg.model.backbone:
        options.append('model.backbone.stem_channels=4')
    for phase in ('train', 'val', 'test'):
        loader = cfg[f'{phase}_dataloader']
        prefix = f'{phase}_dataloader'
        options += [f'{prefix}.batch_size=4', f'{prefix}.num_workers=0']
        if 'persistent_workers' in loader:
            options.append(f'{prefix}.persistent_workers=False')
        dataset = loader.dataset
        if 'data_root' in dataset:
            root = dataset.data_root.replace('data', str(data), 1)
            options += [f'{prefix}.dataset.data_root={root}']
            if dataset.type != 'CustomDataset':
                options.append(f'{prefix}.dataset.verify=False')
        else:
            options.append(f'{prefix}.dataset.num_samples=8')
        options.append(f'{prefix}.dataset.indices=8')
    return options


@pytest.mark.parametrize(
    'name', [*NAMES, *(pytest.param(n, marks=pytest.mark.slow) for n in MORE)]
)
def test_trains_resumes_and_tests(run_tool, name, data, tmp_path):
    config = ROOT / f'configs/{name}.py'
    cfg = Config.fromfile(config)
    options = options_for(cfg, data)
    args = config, '--work-dir', tmp_path
    run_tool('train.py', *args, '--cfg-options', *options)
    options[0] = 'train_cfg.max_epochs=2'
    run_tool('train.py', *args, '--resume', '--cfg-options', *options)
    out = tmp_path / 'metrics.json'
    run_tool(
        'test.py',
        config,
        tmp_path / 'epoch_2.pth',
        '--work-dir',
        tmp_path,
        '--out',
        out,
        '--cfg-options',
        *options,
    )
    metrics = json.loads(out.read_text())
    assert ('mse' if 'adding' in name else 'accuracy/top1') in metrics
