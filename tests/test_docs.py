"""The documentation builds, leads somewhere, and does what it says."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from sphinx.cmd.build import main as build_main

ROOT = Path(__file__).parents[1]
DOCS = ROOT / 'docs'
PAGES = sorted(
    path
    for pattern in (
        '*.md',
        'docs/*.md',
        'configs/*/*.md',
        'cuda_ops/*.md',
        'projects/*/*.md',
    )
    for path in ROOT.glob(pattern)
)
EVERY = pytest.mark.parametrize('path', PAGES, ids=lambda p: str(p.relative_to(ROOT)))

_SPEC = importlib.util.spec_from_file_location('pages', DOCS / 'pages.py')
pages = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(pages)


def code_of(path, language):
    """Code blocks of a page in one language, with the lines that they start at."""
    found, block, start = [], None, 0
    for number, (line, outside) in enumerate(pages.lines_of_text(path.read_text()), 1):
        if outside or (block is None and not line.startswith(f'```{language}')):
            continue
        if block is None:
            block, start = [], number
        elif line.startswith('```'):
            found.append((start, '\n'.join(block)))
            block = None
        else:
            block.append(line)
    return found


def anchors_of(path):
    """Anchors of the headings of a page, as readers of Markdown make them."""
    titles = [
        line.lstrip('#').strip()
        for line, outside in pages.lines_of_text(path.read_text())
        if outside and re.match('#+ ', line)
    ]
    words = [re.sub(r'[^\w\- ]', '', title.lower()) for title in titles]
    return {word.replace(' ', '-') for word in words}


@pytest.mark.filterwarnings('ignore')
def test_builds(tmp_path, capsys, monkeypatch):
    """Every warning is an error: broken references, too."""
    monkeypatch.setattr(sys, 'path', list(sys.path))  # the settings change it
    options = ('-q', '-W', '--keep-going', '-d', tmp_path / 'trees')
    status = build_main([*map(str, options), str(DOCS), str(tmp_path / 'html')])
    assert status == 0, capsys.readouterr().err
    models = (tmp_path / 'html/models.html').read_text()
    assert 'smpnet-tiny_in1k' in models and '82.50 (the authors)' in models
    assert '99.70 (ours)' in models
    api = (tmp_path / 'html/api.html').read_text()
    for name in ('ops.depthwise_conv2d', 'layers.SMPConv2d', 'models.SMPNet'):
        assert f'id="smpconv_mm.{name}"' in api, name
    # READMEs are pages, and links lead to them
    downstream = (tmp_path / 'html/downstream.html').read_text()
    assert 'href="_generated/detection.html"' in downstream


@EVERY
def test_links(path):
    """Relative links lead to files that exist, and to headings in them."""
    broken = []
    for line, outside in pages.lines_of_text(path.read_text()):
        for link in re.findall(r'\]\(([^)\s]+)\)', line) if outside else ():
            target, _, anchor = link.partition('#')
            if '://' in target:
                continue
            page = path.parent / target if target else path
            # of the generated part only its source is in the tree
            if not page.exists() or (anchor and anchor not in anchors_of(page)):
                broken.append(link)
    assert not broken


@EVERY
def test_commands_name_files(path):
    """What is called in a shell is in the tree."""
    missing = []
    for _, block in code_of(path, 'bash'):
        for word in re.findall(r'(?<![\w./:-])[\w./-]+', block):
            folder = word.split('/')[0]
            in_tree = '/' in word and folder in (
                'tools',
                'configs',
                'tests',
                'cuda_ops',
            )
            if in_tree and not (ROOT / word).exists():
                missing.append(word)
    assert not missing


RUN = """
import json, sys
for path, blocks in json.load(sys.stdin):
    names = {'__name__': 'docs'}
    for start, block in blocks:
        exec(compile('\\n' * start + block, path, 'exec'), names)
    print(path)
"""


def test_python_code_runs(tmp_path):
    """The blocks of every page run one after the other."""
    blocks = [(str(path), code_of(path, 'python')) for path in PAGES]
    done = subprocess.run(
        [sys.executable, '-c', RUN],
        input=json.dumps(blocks),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert sum(len(found) for _, found in blocks) > 20
    assert (tmp_path / 'features.png').stat().st_size > 1000


def test_own_images(run_tool, tmp_path, monkeypatch):
    """The page on images of one's own, followed from top to bottom."""
    monkeypatch.chdir(tmp_path)
    _, drawing, config = (
        block for _, block in code_of(DOCS / 'own_images.md', 'python')
    )
    exec(drawing, {})
    Path('small.py').write_text(config)
    done = run_tool('train.py', 'small.py', '--data', 'stripes')
    assert '320 images to train with, 80 to validate' in done.stdout
    accuracies = re.findall(r'accuracy/top1: ([\d.]+)', done.stdout)
    assert len(accuracies) == 30 and float(accuracies[-1]) == 100


def test_messages_are_those_of_the_program():
    """What the page of questions quotes is said somewhere, word by word."""
    quoted = re.findall(r'^### "(.*)"$', (DOCS / 'faq.md').read_text(), re.MULTILINE)
    assert len(quoted) > 12
    files = [*ROOT.glob('smpconv_mm/**/*.py'), *ROOT.glob('tools/**/*.sh')]
    # strings are written over several lines, with values in between
    joined = [re.sub(r"'\s+f?'", '', path.read_text()) for path in files]
    for words in quoted:
        assert any(words in text for text in joined), words


def test_landing_page():
    """A picture, how to install, and something to run, before the list of pages."""
    page = (DOCS / 'index.md').read_text()
    top = page[: page.index('{toctree}')]
    for part in ('](images/', 'tools/install.sh', 'tools/quickstart.sh', '```python'):
        assert part in top


def test_table_of_the_readme():
    """Says of every config that it names what the metafiles say."""
    lines = (ROOT / 'README.md').read_text().splitlines()
    rows = [line for line in lines if line.startswith('| SMP')]
    entries = {entry['Config']: entry for entry in pages.models()}
    named = set()
    for row in rows:
        config = re.search(r'\((configs/[^)]+\.py)\)', row)
        if config is None:
            continue
        entry = entries[config[1]]
        metadata, whose = entry['Metadata'], entry.get('Results')
        named.add(entry['Name'])
        assert f'{metadata["Parameters"] / 1e6:.2f} M' in row
        assert f'| {pages.flops_of(entry)} |'.replace('|  |', '| |') in row
        accuracy = f'{whose[0]["Metrics"]["Top 1 Accuracy"]:.1f}'
        assert f'{accuracy} ({pages.whose(entry)})' in row
    assert {'smpnet-tiny_in1k', 'smpnet-base_in1k', 'smpnet-micro_digits'} <= named
    for folder in ('detection', 'segmentation'):
        index = yaml.safe_load((ROOT / f'configs/{folder}/metafile.yml').read_text())
        assert not any('Results' in entry for entry in index['Models'])
