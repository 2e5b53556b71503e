"""The documentation names what exists: links, sections, files, tests, modules and decisions."""

from __future__ import annotations

import ast
import importlib
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from testkit.gas import LARGEST

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
DECISIONS = DOCS / "decisions"
PROTOCOL, ARCHITECTURE = DOCS / "protocol.md", DOCS / "architecture.md"
PATHS = [
    *(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "CHANGELOG")),
    *sorted(DOCS.rglob("*.md")),
]
PAGES = {str(path.relative_to(ROOT)): path for path in PATHS}
FOLDERS = ("bcfl", "benchmarks", "contracts", "docs", "examples", "testkit", "tests")
ROOMS = sorted(path.stem for path in (ROOT / "bcfl").iterdir() if path.is_dir() or path.suffix == ".py")

FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
CODE = re.compile(r"`([^`\n]+)`")
SECTION = re.compile(r"\bsections? (\d+(?:\.\d+)?)(?:(?:, | and | to )(\d+(?:\.\d+)?))?", re.IGNORECASE)
PAPER = re.compile(r'arXiv|papers?\b|et al|(?<!")"[A-Z][a-z]+ ')
FILE = re.compile(r"[\w.-]+(?:/[\w.-]+)*\.(?:py|vyi?|md|toml|json)")
NAMED_TEST = re.compile(r"(tests/[a-z0-9_/]+\.py)::([A-Za-z0-9_]+)")
RECORD = re.compile(
    r"# (\d{4}) (.+)\n\n"
    r"- Status: ((?:accepted|superseded|proposed|rejected).*)\n"
    r"- Date: (\d{4}-\d\d-\d\d)\n"
)
MAX_README_LINES = 200


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def prose(path: Path) -> str:
    """Return a page without its blocks of code, and without what the changelog says was before."""
    page = FENCE.sub("", text_of(path))
    return re.sub(r"^\| `[^|]*\|", "| |", page, flags=re.MULTILINE) if path.name == "CHANGELOG.md" else page


def slug(heading: str) -> str:
    """Return the anchor that GitHub gives to a heading."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


def anchors(path: Path) -> set[str]:
    return {slug(heading) for heading in HEADING.findall(FENCE.sub("", text_of(path)))}


def dead_links(path: Path, page: str) -> Iterator[str]:
    for link in LINK.findall(page):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        if not target.exists() or (anchor and anchor not in anchors(target)):
            yield link


def sections(path: Path) -> set[str]:
    """Return the numbers of the headings of a page."""
    return {
        match[1]
        for heading in HEADING.findall(text_of(path))
        if (match := re.match(r"([\d.]+)\.? ", heading))
    }


def numbers(page: str) -> Iterator[tuple[str, str, str]]:
    """Yield every number of a section that a text names, 200 characters before it and 40 after it."""
    for match in SECTION.finditer(page):
        for number in filter(None, match.groups()):
            yield number, page[max(0, match.start() - 200) : match.start()], page[match.end() :][:40]


def dead_sections(path: Path) -> Iterator[str]:
    """Yield the sections of a page or of another one that a page names and that do not exist."""
    for number, before, _ in numbers(prose(path)):
        link = re.search(r"\]\(([^)#]+\.md)[^)]*\),? $", before)
        target = (path.parent / link[1]).resolve() if link else path
        if number not in {name.rstrip(".") for name in sections(target)}:
            yield number


def exists(name: str) -> bool:
    """Whether a name is a file of the repository, by its path or, without a folder, by its name."""
    if "/" in name:
        return (ROOT / name).exists()
    return any(True for folder in FOLDERS for _ in (ROOT / folder).rglob(name)) or (ROOT / name).exists()


def missing_files(page: str) -> Iterator[str]:
    for name in CODE.findall(page):
        name = name.split("::")[0]
        ours = name.endswith((".py", ".vy", ".vyi", ".md")) or ("/" in name and name.split("/")[0] in FOLDERS)
        if FILE.fullmatch(name) and ours and not exists(name):
            yield name


def is_defined(path: Path, name: str) -> bool:
    """Whether a file defines a test, as a function or as hypothesis names a machine's."""
    return (
        path.is_file()
        and re.search(rf"^(?:    )?def {name}\(|^{name}\b.* = ", text_of(path), re.MULTILINE) is not None
    )


def defines(path: Path, name: str) -> bool:
    """Whether a file of Python or Vyper defines a class, a function, or a method as `Class.method`."""
    if not path.is_file():
        return False
    if path.suffix != ".py":
        return re.search(rf"^def {name}\(", text_of(path), re.MULTILINE) is not None
    body: list[ast.stmt] = ast.parse(text_of(path)).body
    for part in name.split("."):
        nodes = [
            node for node in body if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == part
        ]
        if not nodes:
            return False
        body = nodes[0].body
    return True


def resolves(name: str) -> bool:
    """Whether a dotted name is a module, or an attribute of one."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            value = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            if not hasattr(value, part):
                return part in getattr(value, "__annotations__", {})
            value = getattr(value, part)
        return True
    return False


def modules(path: Path) -> set[str]:
    """Return the dotted names of modules that a page names; in the glossary also without `bcfl`."""
    names = {name.split("(")[0] for name in CODE.findall(prose(path))}
    dotted = {name for name in names if re.fullmatch(r"(?:bcfl|testkit|benchmarks)(?:\.[A-Za-z_]\w*)+", name)}
    if path.name == "glossary.md":
        rooms = "|".join(ROOMS)
        dotted |= {f"bcfl.{name}" for name in names if re.fullmatch(rf"(?:{rooms})(?:\.[A-Za-z_]\w*)+", name)}
    return dotted - {"bcfl.toml"}


@pytest.mark.parametrize("name", PAGES)
def test_every_link_and_anchor_resolves(name: str) -> None:
    assert list(dead_links(PAGES[name], prose(PAGES[name]))) == []


@pytest.mark.parametrize("name", PAGES)
def test_every_section_that_a_page_names_exists(name: str) -> None:
    assert list(dead_sections(PAGES[name])) == []


def test_code_names_no_section_that_is_not_there() -> None:
    """Papers have sections of their own; any other is one of the protocol, and says so."""
    sources = [path for folder in FOLDERS if folder != "docs" for path in (ROOT / folder).rglob("*.py")]
    contracts = list((ROOT / "contracts").rglob("*.vy*"))
    protocol = {number.rstrip(".") for number in sections(PROTOCOL)}
    dead = {
        f"{path.relative_to(ROOT)}: section {number}"
        for path in [*sources, *contracts]
        if path != Path(__file__) and "node_modules" not in path.parts
        for number, before, after in numbers(text_of(path))
        if not PAPER.search(before)
        and (number not in protocol or (path in sources and not after.startswith(" of the protocol")))
    }
    assert dead == set()


@pytest.mark.parametrize("name", PAGES)
def test_every_file_that_is_named_exists(name: str) -> None:
    assert list(missing_files(prose(PAGES[name]))) == []


@pytest.mark.parametrize("name", PAGES)
def test_every_test_that_is_named_exists(name: str) -> None:
    named = NAMED_TEST.findall(text_of(PAGES[name]))
    assert [test for path, test in named if not is_defined(ROOT / path, test)] == []


def test_every_hop_of_a_journey_exists() -> None:
    hops = re.findall(r"`([\w/]+\.\w+)::([\w.]+)`", text_of(ARCHITECTURE))
    assert len(hops) > 60
    assert [f"{path}::{name}" for path, name in hops if not defines(ROOT / path, name)] == []


def test_every_room_stands_in_the_plan_in_the_order_of_imports() -> None:
    rooms = re.findall(r"^\| \d+ \| `(\w+)` \|", text_of(ARCHITECTURE), re.MULTILINE)
    layers = tomllib.loads(text_of(ROOT / "pyproject.toml"))["tool"]["importlinter"]["contracts"][0]["layers"]
    assert rooms == [room for layer in layers for room in layer.split(" | ") if room != "(__main__)"]


def test_every_module_of_protocol_roles_and_contracts_serves_a_step() -> None:
    rows = re.search(r"^\| step \|.*\n\|[-|]+\n((?:\|.*\n)+)", text_of(ARCHITECTURE), re.MULTILINE)
    assert rows is not None
    cells = [[CODE.findall(cell) for cell in row.split("|")[2:5]] for row in rows[1].splitlines()]
    contracts, protocol, others = ([name for row in cells for name in row[column]] for column in range(3))
    assert sorted(contracts) == sorted(path.stem for path in (ROOT / "contracts" / "modules").glob("*.vy"))
    names = {path.stem for path in (ROOT / "bcfl" / "protocol").glob("*.py")} - {"__init__"}
    assert sorted(protocol) == sorted(names)
    roles = [str(path.relative_to(ROOT)) for path in (ROOT / "bcfl" / "roles").rglob("*.py")]
    served = [path for path in roles if any(path == name or path.startswith(name) for name in others)]
    assert [path for path in roles if path not in served and "__init__" not in path] == []


@pytest.mark.parametrize("name", PAGES)
def test_every_module_that_is_named_exists(name: str) -> None:
    assert {module for module in modules(PAGES[name]) if not resolves(module)} == set()


def test_every_decision_has_a_status_and_a_date_and_stands_in_the_index() -> None:
    index = text_of(DECISIONS / "README.md")
    records = sorted(path for path in DECISIONS.glob("*.md") if path.name != "README.md")
    assert [path.name[:4] for path in records] == [f"{number:04}" for number in range(1, len(records) + 1)]
    for path in records:
        head = RECORD.match(text_of(path))
        assert head is not None, path.name
        number, title, status, date = head.groups()
        assert f"| [{number}]({path.name}) | {title} | {date} | {status} |" in index, path.name


def test_every_page_stands_in_the_index() -> None:
    index = text_of(DOCS / "README.md")
    assert [
        path.name for path in DOCS.glob("*.md") if path.name != "README.md" and f"({path.name})" not in index
    ] == []


def test_the_readme_is_short() -> None:
    assert len(text_of(ROOT / "README.md").splitlines()) <= MAX_README_LINES


def test_the_gas_of_the_figures_is_that_of_the_snapshot() -> None:
    snapshot = json.loads(text_of(ROOT / "benchmarks" / "gas_snapshot.json"))
    page = text_of(DOCS / "figures.md")
    rows = re.findall(
        r"^\| (\d+) / (\d+)(?:, [a-z ]*?(\w+)(?: of \d+)?)? \| ([\d,]+) \| ([\d,]+) \|", page, re.MULTILINE
    )
    assert len(rows) == 5
    for devices, miners, engine, gas, share in rows:
        total = sum(
            snapshot[f"{devices}/{miners} { {'work': 'pow', '': 'stake'}.get(engine, engine) }"].values()
        )
        assert gas == f"{total:,}"
        assert share == f"{total / (int(devices) + int(miners)):,.0f}"


def test_the_largest_calls_of_the_figures_are_those_of_the_snapshot() -> None:
    snapshot = json.loads(text_of(ROOT / "benchmarks" / "gas_snapshot.json"))
    page = text_of(DOCS / "figures.md").partition("\n## The largest calls\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.+) \| ([\d,]+) \|$", page, re.MULTILINE)
    expected = [
        (f"{name}: {call}" if name.startswith("largest") else call, f"{gas:,}")
        for name in LARGEST
        for call, gas in snapshot[name].items()
    ]
    assert rows == expected


def test_the_audit_s_page_counts_the_tamperings() -> None:
    tree = ast.parse(text_of(ROOT / "tests" / "integration" / "test_audit.py"))
    counts = [
        len(node.value.keys)
        for node in ast.walk(tree)
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.value, ast.Dict)
        and ast.unparse(node.target) == "TAMPERINGS"
    ]
    assert re.findall(r"(\d+) single\s+tamperings", text_of(DOCS / "audit.md")) == [
        str(count) for count in counts
    ]


def test_what_is_dead_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "## 1. One\n\n[a](none.md) [b](#none) [c](#1-one), section 1, section 7.2 `tests/none.py` `none.vy`\n"
    )
    assert list(dead_links(page, text_of(page))) == ["none.md", "#none"]
    assert list(dead_sections(page)) == ["7.2"]
    assert list(missing_files(text_of(page))) == ["tests/none.py", "none.vy"]
    assert not is_defined(Path(__file__), "test_nothing_of_the_kind")
    assert not resolves("bcfl.none")
    assert not resolves("bcfl.errors.None_")
    assert resolves("bcfl.errors.BcflError")
