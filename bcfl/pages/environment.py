"""Render templates: everything that is not markup of our own is escaped, and hidden characters are shown.

render(Path(__file__).with_name("templates"), "overview.html", summary=summary)
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, Final

import jinja2
from markupsafe import Markup

from bcfl.pages import charts, texts

HERE: Final = Path(__file__).parent
STATIC: Final = HERE / "static"
STYLES: Final = ("uplot/uPlot.min.css", "bcfl.css")
SCRIPTS: Final = ("uplot/uPlot.iife.min.js", "theme.js", "charts.js")
# What would end a script, or mean something in an attribute, as JSON may write it too.
ESCAPES: Final = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026", ord("'"): "\\u0027"}


@cache
def environment(folder: Path) -> jinja2.Environment:
    """Return the environment of the templates in a folder, and of those that all pages share."""
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, HERE / "templates"]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters |= {
        "ether": texts.ether,
        "brief": texts.brief,
        "value_text": texts.value_text,
        "utc": texts.format_time,
        "duration": texts.duration,
        "metric": lambda value, name: texts.metric_text(name, value),
        "words": texts.words,
        "hex": texts.hex_text,
        "short": texts.short,
        "plural": texts.plural,
        "data": script_json,
    }
    env.globals |= {"code": charts.code, "CODES": charts.CODES, "script": script, "style": style}
    env.globals |= {"clock": texts.clock_name, "clock_words": texts.clock_words}
    return env


def render(folder: Path, name: str, /, **values: Any) -> str:
    """Return a page from the template `name` of a folder."""
    return environment(folder).get_template(name).render(**values)


def script_json(content: object) -> Markup:
    """Return content as JSON that may stand in a script or an attribute, without hidden characters."""
    return Markup(json.dumps(_plain(texts.finite(content)), default=texts.hex_text).translate(ESCAPES))


def style() -> Markup:
    """Return all style sheets as one, for a page that is a file."""
    return Markup("\n".join((STATIC / name).read_text(encoding="utf-8") for name in STYLES))


def script() -> Markup:
    """Return all scripts as one, for a page that is a file."""
    return Markup("\n".join((STATIC / name).read_text(encoding="utf-8") for name in SCRIPTS))


def _plain(content: object) -> object:
    if isinstance(content, str):
        return texts.plain(content)
    if isinstance(content, dict):
        return {_plain(name): _plain(value) for name, value in content.items()}
    return [_plain(value) for value in content] if isinstance(content, list) else content


def _shown(value: object) -> object:
    """Return a value as it stands on a page: a dash for None, text without hidden characters."""
    if value is None:
        return texts.DASH
    if isinstance(value, Markup):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, bytes):
        return texts.hex_text(value)
    return texts.plain(value) if isinstance(value, str) else value
