"""Contenders and their rows; the tool prints and writes them."""

import json

import pytest

from smpconv_mm.apis import network_benchmark
from smpconv_mm.apis.network_benchmark import Contender, compare
from smpconv_mm.errors import UsageError

KEYS = ['contender', 'batch', 'ms', 'per_s', 'ratio', 'gmacs', 'ms_per_gmac']


def test_rows(tiny_config, monkeypatch):
    monkeypatch.setattr(network_benchmark, '_peak', lambda *args: 1.0)
    names = [f'{tiny_config}+deploy', str(tiny_config), f'{tiny_config}+channels-last']
    seen = []
    rows = compare(
        [Contender.parse(name) for name in names],
        batches=(1, 2),
        shape=(32,),
        rounds=2,
        seconds=0.01,
        report=seen.append,
    )
    assert seen == rows
    assert [(row['contender'], row['batch']) for row in rows] == [
        (name, batch)
        for batch in (1, 2)
        for name in ('tiny+deploy', 'tiny', 'tiny+channels-last')
    ]
    for row in rows:
        assert list(row)[:7] == KEYS
        assert row['per_s'] == pytest.approx(1e3 * row['batch'] / row['ms'])
        assert row['ratio'] == 1 or row['contender'] != 'tiny+deploy'
        assert 0.5 < sum(row['share'].values()) < 1.01
    # one convolution where the training form has two, no norms but the output's
    assert rows[0]['gmacs'] < rows[1]['gmacs'] == rows[2]['gmacs']
    batch_norm = 'aten::native_batch_norm'
    assert rows[0]['share'].get(batch_norm, 0) < rows[1]['share'][batch_norm]


def test_bad_input(tiny_config):
    with pytest.raises(UsageError, match="unknown form 'fast'; choose of deploy,"):
        Contender.parse(f'{tiny_config}+fast')
    with pytest.raises(UsageError, match='does not exist'):
        compare([Contender.parse('no.py')])


def test_unequal_deploy_form(tiny_config, monkeypatch):
    def spoil(self):
        self.model.head.fc.weight += 1

    monkeypatch.setattr(
        network_benchmark.Network, 'deploy', lambda self: spoil(self) or self
    )
    with pytest.raises(UsageError, match=r'tiny\+deploy: deploy form differs by'):
        Contender.parse(f'{tiny_config}+deploy').build((32,), 'cpu')


def test_tool(run_tool, tiny_config, tmp_path):
    out = run_tool(
        'analysis_tools/benchmark.py',
        tiny_config,
        '--deploy',
        *('--batch', 2, '--shape', 32, '--rounds', 1, '--device', 'cpu'),
        *('--json', tmp_path / 'a.json'),
    ).stdout
    assert 'tiny+deploy, batch 2: ' in out and 'ms_per_gmac' in out
    (row,) = json.loads((tmp_path / 'a.json').read_text())['rows']
    assert row['contender'] == 'tiny+deploy'
    assert row['peak_mib'] is None or 0 < row['peak_mib'] < 500
