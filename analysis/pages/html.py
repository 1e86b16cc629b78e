"""Markdown -> one self-contained HTML file: figures inside as data, verdict words
coloured, a list of contents that opens on demand.

The HTML is made from the Markdown, so the two cannot differ. The file carries the
hash of the text and of the data of its figures, by which a committed one is checked; its pictures
depend on the fonts and libraries of the machine that drew them.
"""

import base64
import hashlib
import html
import re
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

from analysis.claims import scorecard

WORDS = tuple(scorecard.WORDS)
SCORED = tuple(scorecard.WORDS.values())  # coloured like the verdicts they come from
_WORD = re.compile(rf"\b({'|'.join(WORDS)})\b( \(provisional\))?")
_INTERVAL = re.compile(r"<td>(-?[\d.]+ \[[^\]]*\])</td>")
_TYPES = {".png": "image/png", ".svg": "image/svg+xml"}
_MARK = "content sha256 "
_SCORED = re.compile(rf"<td>((?:{'|'.join(SCORED)})(?: \(provisional\))?)</td>")
_NAV = """<nav>
<details>
<summary>Contents</summary>
{contents}
</details>
</nav>
"""


def page(markdown: str, *, title: str, folder: Path | None = None, digest: str = "") -> str:
    """folder: where the pictures are that the text names.

    Missing pictures keep their name as text.
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(markdown)
    contents = _name_headings(tokens)
    for token in tokens:
        for child in token.children or []:
            if child.type == "image":
                child.attrs["src"] = _data(folder, str(child.attrs["src"]))
    body = _WORD.sub(_verdict, parser.renderer.render(tokens, parser.options, {}))
    body = _SCORED.sub(_coloured, body)
    body = _INTERVAL.sub(r'<td class="interval">\1</td>', body)
    body = body.replace("<table>", '<div class="wide"><table>').replace(
        "</table>", "</table></div>"
    )
    style = files("analysis.pages").joinpath("page.css").read_text(encoding="utf-8")
    mark = f"<!-- {_MARK}{digest} -->\n" if digest else ""
    head = (
        '<meta charset="utf-8">\n<meta name="viewport" content="width=device-width,'
        ' initial-scale=1">\n'
    )
    head += f"<title>{html.escape(title)}</title>\n<style>\n{style}</style>"
    nav = _NAV.format(contents=contents) if contents.count("<li") > 2 else ""
    whole = f"{mark}{nav}<main>\n{body}</main>"
    return (
        "<!doctype html>\n<html"
        f' lang="en">\n<head>\n{head}\n</head>\n<body>\n{whole}\n</body>\n</html>\n'
    )


def _coloured(cell: re.Match[str]) -> str:
    """A cell of the scorecard in the colour of the verdict behind its word."""
    word = cell[1].removesuffix(" (provisional)")
    verdict = next(name for name, shown in scorecard.WORDS.items() if shown == word)
    return f'<td class="scored">{_span(verdict, cell[1])}</td>'


def _verdict(found: re.Match[str]) -> str:
    """The word of a verdict in its colour."""
    return _span(found[1], found[0])


def _span(verdict: str, shown: str) -> str:
    return f'<span class="word {verdict.replace(" ", "_")}">{shown}</span>'


def _name_headings(tokens: list[Any]) -> str:
    """Gives every heading an id; the second level and the claims below it as a list of links."""
    lines, taken = ["<ul>"], set[str]()
    for opening, inline in pairwise(tokens):
        if opening.type != "heading_open":
            continue
        name = re.sub(r"[^a-z0-9]+", "-", inline.content.lower()).strip("-")
        while name in taken:
            name += "-2"
        taken.add(name)
        opening.attrs["id"] = name
        if opening.tag in ("h2", "h3"):
            shown = _WORD.sub(_verdict, html.escape(inline.content))
            lines.append(f'<li class="{opening.tag}"><a href="#{name}">{shown}</a></li>')
    return "\n".join([*lines, "</ul>"])


def _data(folder: Path | None, source: str) -> str:
    path = folder / source if folder else None
    if path is None or path.suffix not in _TYPES or not path.is_file():
        return source
    return f"data:{_TYPES[path.suffix]};base64,{base64.b64encode(path.read_bytes()).decode()}"


def digest_of(markdown: str, data: dict[str, str]) -> str:
    """sha256 over the text and the CSV of every figure, by name."""
    parts = [markdown, *(f"{name}\0{text}" for name, text in sorted(data.items()))]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def made_from(path: Path) -> str | None:
    """Return the hash that a written file carries."""
    head, mark, tail = path.read_text(encoding="utf-8").partition(_MARK)
    return tail[:64] if mark and head else None
