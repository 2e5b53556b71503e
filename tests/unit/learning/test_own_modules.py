"""A task's module is the one in the user's folder, or one line says which other has its name."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import bcfl
from bcfl.errors import ConfigError
from bcfl.learning.own_modules import NEEDED, import_own

SOURCE = "import random\nplace = 'mine'\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current directory, whose modules are forgotten again."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    modules = dict(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - set(modules):
        del sys.modules[name]


@pytest.mark.parametrize("first", ["queue", "random", "json", "this", "sys"])
def test_a_name_of_the_standard_library_is_told(folder: Path, first: str) -> None:
    (folder / f"{first}.py").write_text(SOURCE)
    with pytest.raises(
        ConfigError, match=rf"^{first}.py has the name of a module of Python's own: rename it$"
    ):
        import_own(first)
    assert str(folder) not in sys.path


@pytest.mark.parametrize("first", ["numpy", "torch", "sklearn", "opacus", "bcfl"])
def test_a_name_of_a_package_that_bcfl_uses_is_told(folder: Path, first: str) -> None:
    (folder / first).mkdir()
    (folder / first / "task.py").write_text(SOURCE)
    with pytest.raises(
        ConfigError, match=rf"^{first}/task.py has the name of a package that bcfl uses: rename"
    ):
        import_own(f"{first}.task")


def test_a_module_that_was_imported_from_elsewhere_is_told(folder: Path) -> None:
    (folder / "_pytest").mkdir()
    (folder / "_pytest" / "__init__.py").write_text(SOURCE)
    with pytest.raises(ConfigError, match=r"imported from .*_pytest.__init__.py: rename"):
        import_own("_pytest")


def test_a_file_behind_another_on_the_path_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "before").mkdir()
    for place in (folder / "own_twice.py", folder / "before" / "own_twice.py"):
        place.write_text(SOURCE)
    monkeypatch.chdir(folder / "before")
    assert import_own("own_twice").__file__ == str(folder / "before" / "own_twice.py")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with pytest.raises(
            ConfigError, match=r"^own_twice.py has the name of a module that has been imported"
        ):
            import_own("own_twice")
        del sys.modules["own_twice"]
        sys.path[:] = [str(folder / "before"), str(folder)]
        with pytest.raises(
            ConfigError, match=r"^own_twice.py is here, but Python finds .*before.*: rename it$"
        ):
            import_own("own_twice")


def test_the_folder_counts_before_what_is_installed(folder: Path) -> None:
    """Some packages install an `examples` or `tests` of theirs; what bcfl does not use may be shadowed."""
    (folder / "site").mkdir()
    sys.path.insert(0, str(folder / "site"))
    for place in (folder / "own_stray.py", folder / "site" / "own_stray.py"):
        place.write_text(f"place = {str(place)!r}")
    assert import_own("own_stray").place == str(folder / "own_stray.py")
    assert import_own("own_stray").place == str(folder / "own_stray.py")


def test_what_is_not_here_comes_from_the_path(folder: Path) -> None:
    (folder / "queue").mkdir()  # of data, say
    assert import_own("queue") is sys.modules["queue"]


def test_the_command_line_says_it_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "queue.py").write_text(SOURCE)
    command = [sys.executable, "-c", "from bcfl.cli import main; raise SystemExit(main())"]
    options = ["run", "--task", "queue:task", "--workers", "2"]
    environment = {"PYTHONPATH": str(Path(bcfl.__file__).parents[1]), "PYTHONSAFEPATH": "1"}
    result = subprocess.run(
        [*command, *options], cwd=tmp_path, capture_output=True, text=True, env=environment
    )
    assert result.returncode == 2
    expected = "error: task 'queue:task': queue.py has the name of a module of Python's own: rename it\n"
    assert result.stderr == expected


def test_all_that_bcfl_imports_is_known() -> None:
    root = Path(bcfl.__file__).parent
    names = set[str]()
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names.add(node.module.partition(".")[0])
    assert names - sys.stdlib_module_names <= NEEDED
