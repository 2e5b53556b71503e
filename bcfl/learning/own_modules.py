"""Import a module of the user's, from the current directory too, and no other of the same name."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Final

from bcfl.errors import ConfigError, one_line

# What bcfl imports, some of it later than a task: a module of the user's in its place would break it.
NAMES: Final = """
aleph_cid bcfl click coincurve cryptography eth eth_abi eth_account eth_keyfile eth_keys eth_tester eth_typing
eth_utils flwr ipfshttpclient joblib jinja2 markupsafe numpy opacus pydantic pydantic_core pyhpke ray requests
rich rlp safetensors scipy sha3 sklearn starlette tensorboard threadpoolctl torch trie typer uvicorn web3
websockets
"""
NEEDED: Final = frozenset(NAMES.split())


def import_own(name: str) -> ModuleType:
    """Return the module of that name, `package.module`, looked for in the current directory first.

    Raises ConfigError, one line, where importing it fails, and for a file there whose name is that of a
    module that Python or bcfl has: one of the two would be taken for the other.
    """
    folder = Path.cwd()
    file, first = _file(folder, name), name.partition(".")[0]
    if file is not None:
        _require_free(folder, file, first)
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise ConfigError(f"importing {name} failed: {one_line(error)}") from error
    if file is not None and not _is_at(module, folder / name.partition(".")[0]):
        raise ConfigError(
            f"{_shown(file, folder)} is here, but Python finds {_place(module)} first: rename it"
        )
    return module


def _file(folder: Path, name: str) -> Path | None:
    """Return the file that a module of this name has in the folder; None where there is none."""
    stem = folder.joinpath(*name.split("."))
    return next((path for path in (stem.with_suffix(".py"), stem / "__init__.py") if path.is_file()), None)


def _require_free(folder: Path, file: Path, first: str) -> None:
    """Raise ConfigError where the first part of a module's name means another module."""
    loaded = sys.modules.get(first)
    if loaded is not None and _is_at(loaded, folder / first):
        return
    if first in sys.stdlib_module_names:
        owner = "a module of Python's own"
    elif first in NEEDED:
        owner = "a package that bcfl uses"
    elif loaded is not None:
        owner = f"a module that has been imported from {_place(loaded)}"
    else:
        return
    raise ConfigError(f"{_shown(file, folder)} has the name of {owner}: rename it")


def _is_at(module: ModuleType, stem: Path) -> bool:
    """Whether a module is the file, or in the package, that is called `stem`."""
    places = [Path(path).resolve() for path in _paths(module)]
    stem = stem.resolve()
    return any(place == stem.with_suffix(".py") or place.is_relative_to(stem) for place in places)


def _place(module: ModuleType) -> str:
    return next(iter(_paths(module)), f"another {module.__name__}")


def _paths(module: ModuleType) -> list[str]:
    file = getattr(module, "__file__", None)
    return [file] if file else [*getattr(module, "__path__", ())]


def _shown(file: Path, folder: Path) -> str:
    return str(file.relative_to(folder))
