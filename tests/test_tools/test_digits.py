"""The small network of each family on real digits.

In the default run a few iterations; ``pytest -m slow`` trains them to the end.
"""

from pathlib import Path

import pytest
from running import ROOT

from smpconv_mm.visualization import read_scalars

# percent of the held-out digits that a family has to get right
LEAST = {
    'smpconv/smpnet-micro': 99,
    'oriented1d/convnext-1d-micro': 98,
    'involution/rednet-micro': 97,
    'dcls/convnext-micro-dcls': 98,
    'flexconv/flexnet-micro': 98,
    'ccnn/ccnn-micro': 98,
}


@pytest.mark.parametrize('full', [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize('name', LEAST)
def test_digits(run_tool, tmp_path, name, full):
    config = Path(ROOT) / f'configs/{name}_1xb64_digits.py'
    options = ['train_cfg.max_epochs=1', 'train_dataloader.dataset.indices=128']
    options += ['default_hooks.logger.interval=1']
    args = [] if full else ['--cfg-options', *options]
    run_tool('train.py', config, '--work-dir', tmp_path, *args)
    scalars = read_scalars(tmp_path)
    losses = [value for _, value in scalars['loss']]
    assert len(losses) >= 2 and all(0 < loss < 10 for loss in losses)
    *_, (_, accuracy) = scalars['accuracy/top1']
    assert accuracy >= (LEAST[name] if full else 1)
