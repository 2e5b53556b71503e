"""The house: no circle between files, no file over 400 lines, no function over 60, floors of their own."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("bcfl", "contracts", "testkit", "tests", "benchmarks", "examples")
MAX_FILE_LINES, MAX_FUNCTION_LINES = 400, 60


def sources(*folders: str, suffixes: tuple[str, ...] = (".py",)) -> Iterator[Path]:
    """Yield the source files below some folders of the repository."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in suffixes and "node_modules" not in path.parts:
                yield path


def imports(path: Path, modules: dict[str, Path]) -> Iterator[str]:
    """Yield the modules of `modules` that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name in modules else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def graph() -> dict[str, set[str]]:
    """Return which module of bcfl imports which others."""
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in sources("bcfl")}
    modules = {name.removesuffix(".__init__"): path for name, path in modules.items()}
    return {name: set(imports(path, modules)) & set(modules) - {name} for name, path in modules.items()}


def circle(edges: dict[str, set[str]]) -> list[str]:
    """Return modules that import one another in a circle, none if there is no circle."""
    done: set[str] = set()

    def follow(name: str, trail: list[str]) -> list[str]:
        if name in trail:
            return [*trail[trail.index(name) :], name]
        if name in done:
            return []
        for other in sorted(edges[name]):
            if ring := follow(other, [*trail, name]):
                return ring
        done.add(name)
        return []

    return next((ring for name in sorted(edges) if (ring := follow(name, []))), [])


def test_no_files_import_one_another_in_a_circle() -> None:
    assert circle(graph()) == []


def test_a_circle_is_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_no_file_is_long() -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for path in sources(*FOLDERS, suffixes=(".py", ".vy"))
    }
    assert {name: lines for name, lines in lengths.items() if lines > MAX_FILE_LINES} == {}


def test_no_function_is_long() -> None:
    spans = {
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}": (node.end_lineno or 0) - node.lineno + 1
        for path in sources(*FOLDERS)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: lines for name, lines in spans.items() if lines > MAX_FUNCTION_LINES} == {}


def test_tests_do_not_import_benchmarks() -> None:
    names = {name for path in sources("tests", "testkit") for name in imports(path, {})}
    assert not {name for name in names if name.split(".")[0] == "benchmarks"}
    assert "testkit.harness" in names
