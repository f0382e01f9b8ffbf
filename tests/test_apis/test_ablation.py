import json
from pathlib import Path

import pytest

from smpconv_mm.apis.ablation import (
    Run,
    cells,
    compare,
    train_all,
    variants_of,
    write_table,
)
from smpconv_mm.checkpoint import load
from smpconv_mm.engine.config import load_config
from smpconv_mm.errors import UsageError
from smpconv_mm.visualization import read_scalars

ROOT = Path(__file__).parents[2]


def run(variant, seed, value):
    return Run(variant, seed, {'accuracy/top1': value, 'loss': 1.0}, 3.0, 'x')


def test_table(tmp_path):
    runs = [
        run('base', 1, 91.0),
        run('other', 1, 94.0),
        run('base', 0, 90.0),
        run('other', 0, 91.0),
    ]
    metric, (base, other) = compare(runs)
    assert metric == 'accuracy/top1'
    assert base.values == [90, 91] and other.values == [91, 94]
    assert (base.mean, base.std) == (90.5, pytest.approx(0.5**0.5))
    assert base.difference == base.error == 0
    assert (other.difference, other.error) == (2, pytest.approx(1))
    assert cells(other) == ['other', '92.50 ± 2.12', '+2.00 ± 1.00', '91.00, 94.00']
    write_table(metric, [base, other], tmp_path)
    lines = (tmp_path / 'ablation.md').read_text().splitlines()
    assert lines[0] == '`accuracy/top1`' and len(lines) == 6
    assert all(line.count('|') == 5 for line in lines[2:])
    assert (
        json.loads((tmp_path / 'ablation.json').read_text())['rows'][1]['mean'] == 92.5
    )
    assert compare(runs, 'loss')[1][1].mean == 1
    with pytest.raises(UsageError, match="metric 'f1' was not measured; there are"):
        compare(runs, 'f1')
    _, (single,) = compare(runs[:1])
    assert (single.std, single.error) == (0, 0)


def test_variants():
    path = ROOT / 'configs/smpconv/smpnet-micro_1xb64_digits-ablation.py'
    cfg = load_config(str(path))
    variants = variants_of(cfg)
    assert next(iter(variants)) == 'published' and variants['published'] == {}
    assert list(variants_of(cfg, ['fixed-radii'])) == ['fixed-radii']
    for changes in variants.values():
        changed = load_config(str(path), changes).model.backbone
        for key, value in changes.items():
            assert changed.kernel_cfg[key.rpartition('.')[2]] == value
    with pytest.raises(UsageError, match=r"\['fixed'\] are unknown; there are \['pub"):
        variants_of(cfg, ['fixed'])
    with pytest.raises(UsageError, match='has no variants; add ablation = '):
        variants_of(load_config(str(path.with_name('smpnet-micro_1xb64_digits.py'))))


def test_tool(run_tool, tiny_config, tmp_path):
    """Runs differ as they should; finished ones are kept, others go on."""
    config = tmp_path / 'config.py'
    config.write_text(
        f"""
_base_ = {str(tiny_config)!r}
train_dataloader = dict(dataset=dict(indices=64))
train_cfg = dict(max_epochs=2)
ablation = {{
    'free': {{}},
    'fixed': {{'model.backbone.kernel_cfg.learn_coord': False}},
}}
"""
    )
    work_dir = tmp_path / 'work'
    tool = ('analysis_tools/ablation.py', config, '--work-dir', work_dir, '--seeds')
    out = run_tool(*tool, 0).stdout
    assert 'accuracy/top1' in out and 'fixed' in out
    coord = 'backbone.stages.0.blocks.0.large_kernel.smp.conv.kernel.coord'
    states = {
        name: load(work_dir / name / 'seed_0' / 'epoch_2.pth')['state_dict']
        for name in ('free', 'fixed')
    }
    assert not states['free'][coord].equal(states['fixed'][coord])
    result = work_dir / 'free' / 'seed_0' / 'result.json'
    measured = json.loads(result.read_text())
    scalars = read_scalars(work_dir / 'free' / 'seed_0')
    assert measured['metrics']['accuracy/top1'] == dict(scalars['accuracy/top1'])[2]

    # killed after its last epoch, before the result was written
    result.unlink()
    other = work_dir / 'fixed' / 'seed_0' / 'result.json'
    written = other.stat().st_mtime_ns
    out = run_tool(*tool, 0, 1).stdout
    again = json.loads(result.read_text())
    assert again['metrics'] == measured['metrics']
    assert other.stat().st_mtime_ns == written
    rows = json.loads((work_dir / 'ablation.json').read_text())['rows']
    assert [len(row['values']) for row in rows] == [2, 2]

    with pytest.raises(UsageError, match='is of a run with other settings; remove'):
        changed = load_config(str(config), {'optim_wrapper.optimizer.lr': 0.1})
        next(train_all({'free': changed}, [0], work_dir))
