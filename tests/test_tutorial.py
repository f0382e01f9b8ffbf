"""The notebook: its form, and in the slow run what it does."""

import ast
import json
import re
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[1] / 'docs/tutorial.ipynb'
CELLS = json.loads(NOTEBOOK.read_text())['cells']
CODE = [''.join(c['source']) for c in CELLS if c['cell_type'] == 'code']


def test_form():
    """Few cells, no outputs in the repository, links that lead somewhere."""
    assert len(CELLS) <= 20
    assert len({cell['id'] for cell in CELLS}) == len(CELLS)
    assert not any(
        c['outputs'] or c['execution_count'] for c in CELLS if 'outputs' in c
    )
    text = '\n'.join(
        ''.join(c['source']) for c in CELLS if c['cell_type'] == 'markdown'
    )
    for link in re.findall(r'\]\(([^)]+)\)', text):
        assert (NOTEBOOK.parent / link).is_file(), link
    for code in CODE:
        ast.parse(code)


@pytest.mark.slow
def test_cells(tmp_path, monkeypatch, capsys):
    """From top to bottom: the table is there, and the best contender sees sevens."""
    monkeypatch.chdir(tmp_path)
    names = {'__name__': '__main__'}
    for i, code in enumerate(CODE):
        exec(compile(code, f'{NOTEBOOK.name}, code cell {i + 1}', 'exec'), names)
    table = json.loads(Path('comparison/compare.json').read_text())
    reached = {c['name']: c['mean'] for c in table['contenders']}
    assert set(reached) == {'dense', 'smp', 'dcls'}
    assert max(reached.values()) > 30, reached
    said = capsys.readouterr().out
    assert said.count('±') >= 6  # the table
    seen, of = map(int, re.findall(r'(\d+) of (\d+) sevens', said)[0])
    assert of == len(list(Path('photos/7').iterdir())) and seen > of / 4
