"""Find the code that a task's own functions reach, so that a resumed run notices what has changed of it."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import pkgutil
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final

from bcfl.learning.own_modules import NEEDED

Place = tuple[str, str]  # a module, and a name at its top level
LIBRARIES: Final = ("purelib", "platlib", "stdlib", "platstdlib")  # not the prefix: a project may be in it
INSTALLED: Final = frozenset(Path(sysconfig.get_path(name)).resolve() for name in LIBRARIES)
SITES: Final = frozenset({"site-packages", "dist-packages"})  # those of other Pythons and of the user too
BCFL: Final = Path(__file__).resolve().parents[1]


class Module:
    """What each name at the top level of a module of the user's is bound by."""

    def __init__(self, name: str, file: Path) -> None:
        self.name = name
        self.package = name if file.name == "__init__.py" else name.rpartition(".")[0]
        self.tree = ast.parse(file.read_bytes())
        self.statements: dict[str, list[ast.stmt]] = {}
        for statement in self.tree.body:
            for bound in () if _is_script(statement) else _bound(statement):
                self.statements.setdefault(bound, []).append(statement)

    def targets(self, statement: ast.AST, name: str) -> Iterator[Place]:
        """Yield what an import binds a name to: a name of another module, or all of them."""
        for node in ast.walk(statement):
            if not isinstance(node, ast.Import | ast.ImportFrom):
                continue
            for alias in node.names:
                if alias.name != "*" and name != _binding(alias):
                    continue
                if isinstance(node, ast.Import):
                    yield alias.name, "*"
                    continue
                origin = "." * node.level + (node.module or "")
                try:
                    origin = importlib.util.resolve_name(origin, self.package) if node.level else origin
                except ImportError:  # above the first package: it fails where it is run, too
                    continue
                yield origin, name if alias.name == "*" else alias.name
                if alias.name != "*":  # which may be a module itself
                    yield f"{origin}.{alias.name}", "*"


def reached(functions: Iterable[object]) -> dict[str, str]:
    """Return a digest of each name, as module.name, that the code of functions and classes comes to.

    Only modules of the user's are read: no package that is installed, nor Python's own or bcfl. Comments,
    docstrings and the layout of the source do not count, nor what is not reached.
    """
    digests: dict[str, str] = {}
    places = [place for function in functions for place in _roots(function)]
    seen = set[Place]()
    while places:
        place = places.pop()
        module = None if place in seen else _module(place[0])
        seen.add(place)
        if module is None:
            continue
        name = place[1]
        if name == "*":
            places += [(module.name, each) for each in module.statements]
            continue
        if name in module.statements:
            digests[f"{module.name}.{name}"] = digest(module.statements[name])
        for statement in module.statements.get(name) or module.statements.get("*", []):
            places += module.targets(statement, name)
            places += _mentioned(module, statement)
    return digests


def digest(nodes: Iterable[ast.AST]) -> str:
    """Return what stands for code, whatever its comments, docstrings and layout are."""
    text = "\n".join(ast.unparse(_without_docstrings(node)) for node in nodes)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _roots(function: Any) -> Iterator[Place]:
    """Yield where a function or class, or the class of another object, begins to be followed."""
    while isinstance(function, partial):
        function = function.func
    if not isinstance(function, type) and not hasattr(function, "__qualname__"):
        function = type(function)
    function = inspect.unwrap(function) if callable(function) else function
    module = _module(getattr(function, "__module__", None) or "")
    name = getattr(function, "__qualname__", "").partition(".")[0]
    if module is not None and name == "<lambda>":
        for node in _lambdas(module.tree, function.__code__.co_firstlineno):
            yield from _mentioned(module, node)
    elif module is not None:
        yield module.name, name


def _mentioned(module: Module, node: ast.AST) -> Iterator[Place]:
    """Yield the names of the module's top level that are read in a node, and what it imports itself."""
    for each in ast.walk(node):
        if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Load):
            yield module.name, each.id
        elif isinstance(each, ast.Import | ast.ImportFrom):
            for alias in each.names:
                yield from module.targets(each, _binding(alias))


def _bound(statement: ast.stmt) -> set[str]:
    """Return the names that a statement of the top level binds, or calls something of."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    names = set[str]()
    is_call = isinstance(statement, ast.Expr)
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and (is_call or isinstance(node.ctx, ast.Store)):
            names.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {_binding(alias) for alias in node.names}
        elif isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store):
            names |= {each.id for each in ast.walk(node.value) if isinstance(each, ast.Name)}
    return names


def _binding(alias: ast.alias) -> str:
    """Return the name that an import binds."""
    return alias.asname or alias.name.partition(".")[0]


def _lambdas(tree: ast.AST, line: int) -> list[ast.AST]:
    """Return the lambdas that begin on a line."""
    return [node for node in ast.walk(tree) if isinstance(node, ast.Lambda) and node.lineno == line]


def _is_script(statement: ast.stmt) -> bool:
    """Whether a statement is what a module does when it is run by itself."""
    return isinstance(statement, ast.If) and "__name__" in ast.unparse(statement.test)


def _without_docstrings(node: ast.AST) -> ast.AST:
    tree = ast.parse(ast.unparse(node))
    for each in ast.walk(tree):
        body: Any = getattr(each, "body", None)
        if isinstance(body, list) and not isinstance(each, ast.Module):
            is_text = [isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant) for item in body]
            body[:] = [item for item, skip in zip(body, is_text, strict=True) if not skip] or [ast.Pass()]
    return tree


def _module(name: str) -> Module | None:
    """Return a module of the user's; None for another, and where there is no source that can be read."""
    first = name.partition(".")[0]
    if not name or first in sys.stdlib_module_names or first in NEEDED:
        return None
    file = _file(first)
    if file is not None and not _is_own(file):
        return None
    file = _file(name)
    try:
        return _read(name, file, file.stat().st_mtime_ns) if file is not None and _is_own(file) else None
    except (OSError, SyntaxError, ValueError):
        return None


@lru_cache(64)
def _read(name: str, file: Path, _nanoseconds: int) -> Module:
    return Module(name, file)


def _file(name: str) -> Path | None:
    """Return the file of a module, and run none: find_spec of importlib would run the packages around it."""
    file: str | None = None
    folders: list[str] | None = None
    try:
        ends = [place for place, sign in enumerate(name + ".") if sign == "."]
        for end in ends[-1:] if name in sys.modules else ends:
            file, folders = _found(name[:end], folders)
            if folders is None and end < len(name):
                return None
    except (Exception, SystemExit):
        return None
    return None if file is None else Path(file).resolve()


def _found(name: str, folders: list[str] | None) -> tuple[str | None, list[str] | None]:
    """Return the file of a module, and the folders of what is in it; `folders` are those of its package."""
    if name in sys.modules:
        try:  # past a module that is loaded when somebody first asks it for something
            names = object.__getattribute__(sys.modules[name], "__dict__")
        except AttributeError:
            return None, None
        path = names.get("__path__")
        return names.get("__file__"), None if path is None else list(path)
    if folders is None:
        spec = importlib.util.find_spec(name)
        path = None if spec is None else spec.submodule_search_locations
        return None if spec is None else spec.origin, None if path is None else list(path)
    portions = list[str]()  # of a package without a file
    for folder in folders:
        finder = pkgutil.get_importer(folder)
        spec = None if finder is None else finder.find_spec(name)
        if spec is not None and spec.loader is not None:
            return spec.origin, spec.submodule_search_locations
        portions += [] if spec is None else spec.submodule_search_locations or []
    return None, portions or None


def _is_own(file: Path) -> bool:
    if file.suffix != ".py" or not SITES.isdisjoint(file.parts):
        return False
    return not any(file.is_relative_to(place) for place in (*INSTALLED, BCFL))


def source_of(function: Callable[..., object]) -> str | None:
    """Return what stands for the source of a function or class; None where it has none."""
    try:
        source = inspect.getsource(function)
        if getattr(function, "__name__", "") == "<lambda>":  # whose source is that of all its lines
            line = function.__code__.co_firstlineno
            tree = ast.parse(inspect.getsource(inspect.getmodule(function)))  # type: ignore[arg-type]
            return digest(_lambdas(tree, line))
        return digest(ast.parse(inspect.cleandoc("\n" + source)).body)
    except (OSError, TypeError):
        return None
    except SyntaxError:
        return hashlib.sha256(source.encode()).hexdigest()[:32]
