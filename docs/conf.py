"""Settings of Sphinx: ``sphinx-build -W docs docs/_build/html``."""

import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS), str(DOCS.parent)]

import pages  # noqa: E402

from smpconv_mm import __version__ as release  # noqa: E402, F401

pages.write_pages()

project = author = 'smpconv_mm'
extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon']
exclude_patterns = ['_build', '_generated/model_table.md']
html_theme = 'furo'
html_title = project

myst_heading_anchors = 3

autodoc_typehints = 'none'  # the docstrings have them
autodoc_member_order = 'bysource'
autodoc_default_options = {'members': True}
napoleon_use_ivar = True
# Every reference to a name of ours must be found; those of other packages are
# words only, since a build needs no network.
nitpicky = True
nitpick_ignore_regex = [('py:.*', r'(?!smpconv_mm\.).*')]


def relink(app, docname: str, source: list) -> None:
    """Links of our own pages out of docs/ lead to pages where there are some."""
    page = DOCS / f'{docname}.md'
    if page.is_file() and page.parent != pages.GENERATED:
        source[0] = pages.relink(source[0], page, page)


def setup(app) -> None:
    """Sphinx calls this."""
    app.connect('source-read', relink)
