"""What the pages take from the rest of the tree: the models, the READMEs."""

from __future__ import annotations

import os
import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
DOCS = ROOT / 'docs'
GENERATED = DOCS / '_generated'

# READMEs that become pages
READMES = {
    'smpconv': ROOT / 'configs/smpconv/README.md',
    'oriented1d': ROOT / 'configs/oriented1d/README.md',
    'dcls': ROOT / 'configs/dcls/README.md',
    'unireplknet': ROOT / 'configs/unireplknet/README.md',
    'involution': ROOT / 'configs/involution/README.md',
    'flexconv': ROOT / 'configs/flexconv/README.md',
    'ccnn': ROOT / 'configs/ccnn/README.md',
    'detection': ROOT / 'configs/detection/README.md',
    'segmentation': ROOT / 'configs/segmentation/README.md',
    'cuda_ops': ROOT / 'cuda_ops/README.md',
    'function_fitting': ROOT / 'projects/function_fitting/README.md',
}
_LINK = re.compile(r'(\]\()([^)\s]+)(\))')


def lines_of_text(text: str) -> list[tuple[str, bool]]:
    """Lines of Markdown, and whether each stands outside of code blocks."""
    found, fence = [], None
    for line in text.split('\n'):
        mark = re.match(r'\s*(`{3,}|~{3,})', line)
        outside = fence is None and not mark
        if mark and fence is None:
            fence = mark[1]
        elif mark and line.strip().startswith(fence):
            fence = None
        found.append((line, outside))
    return found


def relink(text: str, source: Path, page: Path) -> str:
    """Rewrite the relative links of a Markdown file for the page made of it.

    Args:
        text (str): The Markdown.
        source (Path): File that it stands in.
        page (Path): File in ``docs/`` that is built.
    """
    pages = {path: GENERATED / f'{name}.md' for name, path in READMES.items()}

    def rewrite(match: re.Match) -> str:
        target, _, anchor = match[2].partition('#')
        if '://' in target or not target:
            return match[0]
        path = Path(os.path.normpath(source.parent / target))
        path = pages.get(path if path.suffix else path / 'README.md', path)
        target = os.path.relpath(path, page.parent)
        return f'{match[1]}{target}{"#" * bool(anchor)}{anchor}{match[3]}'

    return '\n'.join(
        _LINK.sub(rewrite, line) if outside else line
        for line, outside in lines_of_text(text)
    )


def models() -> list[dict]:
    """Entries of all metafiles in the order of ``model-index.yml``."""
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    return [
        entry
        for metafile in index['Import']
        for entry in yaml.safe_load((ROOT / metafile).read_text())['Models']
    ]


def whose(entry: dict) -> str:
    """Who trained the model that the results of an entry are of."""
    return 'the authors' if 'Converted From' in entry else 'ours'


def measured(entry: dict) -> str:
    """Top-1 accuracy in percent, or other metrics with their names, and whose."""
    numbers = {
        name: value
        for result in entry['Results']
        for name, value in result['Metrics'].items()
    }
    if 'Top 1 Accuracy' in numbers:
        text = f'{numbers["Top 1 Accuracy"]:.2f}'
    else:
        text = ', '.join(f'{name} {value:.1f}' for name, value in numbers.items())
    return f'{text} ({whose(entry)})'


def flops_of(entry: dict) -> str:
    """Multiply-adds with a unit, or nothing."""
    flops = entry['Metadata'].get('FLOPs', 0)
    unit, scale = ('G', 1e9) if flops > 1e8 else ('M', 1e6)
    return f'{flops / scale:.3g} {unit}' if flops else ''


def model_table() -> str:
    """The models as a Markdown table, for a page in ``docs``."""
    rows = ['| model | data | params | FLOPs | result | config |', '| --- ' * 6 + '|']
    for entry in models():
        metadata = entry['Metadata']
        results = entry.get('Results')
        if results:
            data, accuracy = results[0]['Dataset'], measured(entry)
        else:
            data, accuracy = metadata['Training Data'], 'not trained yet'
        cells = [
            f'`{entry["Name"]}`',
            data,
            f'{metadata["Parameters"] / 1e6:.2f} M',
            flops_of(entry),
            accuracy,
            f'[config](../{entry["Config"]})',
        ]
        rows.append(f'| {" | ".join(cells)} |')
    return '\n'.join(rows) + '\n'


def write_pages() -> None:
    """Write the pages that are made of other files."""
    GENERATED.mkdir(exist_ok=True)
    (GENERATED / 'model_table.md').write_text(model_table())
    for name, source in READMES.items():
        page = GENERATED / f'{name}.md'
        page.write_text(relink(source.read_text(), source, page))
