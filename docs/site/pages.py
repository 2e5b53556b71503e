"""Take the pages beside docs/ into the site, and mend their links."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
# By file beside docs/: the page of the site.
OUTER = {
    "README.md": "start.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changes.md",
    "LICENSE": "license.md",
}
LINK = re.compile(r"\]\(([^)#\s]+)")
HEADING = re.compile(r"^\| page \| (.*) \|$")
ROW = re.compile(r"^\| \[[^]]*\]\(([^)]+)\) \|")


def on_config(config: Any) -> Any:
    """Order the pages as docs/README.md does: a part for each of its tables."""
    parts: dict[str, list[str]] = {"start": ["start.md", "README.md"]}
    pages = parts["start"]
    for line in (ROOT / "docs" / "README.md").read_text().splitlines():
        if heading := HEADING.match(line):
            pages = parts.setdefault(heading[1], [])
        elif row := ROW.match(line):
            pages.append(OUTER.get(row[1].removeprefix("../"), row[1]))
    records = sorted(path.name for path in (ROOT / "docs" / "decisions").glob("[0-9]*.md"))
    config.nav = [{part.capitalize(): pages} for part, pages in parts.items()]
    config.nav.append({"Records": [f"decisions/{name}" for name in records]})
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the outer pages."""
    for name, page in OUTER.items():
        text = (ROOT / name).read_text()
        text = f"```text\n{text}\n```\n" if name == "LICENSE" else text
        files.append(File.generated(config, page, content=LINK.sub(_from_root, text)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let links that lead out of docs/ lead to the outer pages."""
    depth = page.file.src_uri.count("/")

    def mended(match: re.Match[str]) -> str:
        up = "../" * (depth + 1)
        name = match[1].removeprefix(up)
        return f"]({'../' * depth}{OUTER[name]}" if match[1].startswith(up) and name in OUTER else match[0]

    return LINK.sub(mended, markdown)


def _from_root(match: re.Match[str]) -> str:
    """Return a link of an outer page as the site has it."""
    target = match[1]
    return f"]({OUTER[target]}" if target in OUTER else f"]({target.removeprefix('docs/')}"
