"""A comparison as one file of HTML, pictures included."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment

from smpconv_mm.checkpoint import atomic_path

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{{ title }}</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 70em; margin: 2em auto;
         padding: 0 1em; color: #222 }
  table { border-collapse: collapse }
  th, td { padding: .3em .8em; border-bottom: 1px solid #ddd; text-align: right }
  th:first-child, td:first-child { text-align: left }
  img { max-width: 100% }
  footer { color: #777; font-size: 85% }
</style>
<h1>{{ title }}</h1>
{% for text in words %}<p>{{ text }}</p>
{% endfor %}<table>
<tr>{% for heading in headings %}<th>{{ heading }}</th>{% endfor %}</tr>
{% for row in rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</table>
{% for name, data in pictures.items() %}<h2>{{ name }}</h2>
<img alt="{{ name }}" src="data:image/png;base64,{{ data }}">
{% endfor %}<footer>{{ environment }}</footer>
</html>
"""


def write_report(
    path: str | Path,
    title: str,
    words: Sequence[str],
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    pictures: Mapping[str, str | Path],
    environment: Mapping[str, object],
) -> None:
    """Write a page that needs no other file.

    Args:
        path (str | Path): File to write.
        title (str): Of the page.
        words (Sequence[str]): Paragraphs before the table.
        headings (Sequence[str]): Of the table.
        rows (Sequence[Sequence[str]]): Its cells.
        pictures (Mapping[str, str | Path]): PNG files by their headings.
        environment (Mapping[str, object]): What it was measured with.
    """
    page = (
        Environment(autoescape=True)
        .from_string(_PAGE)
        .render(
            title=title,
            words=words,
            headings=headings,
            rows=rows,
            pictures={
                name: base64.b64encode(Path(file).read_bytes()).decode()
                for name, file in pictures.items()
            },
            environment=', '.join(f'{k} {v}' for k, v in environment.items()),
        )
    )
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding='utf-8')
