"""What `import bcfl` offers: these names, and none before it is used."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import bcfl

ROOT = Path(__file__).parents[2]
NAMES = [
    "BcflError", "BundleError", "ChallengeError", "CidError", "Config", "ConfigError", "Corrupt",
    "DataError", "DiskError", "LedgerError", "NoNodeUrl", "Oversized", "PayloadError", "Progress",
    "Rejection", "RelayError", "Report", "Reverted", "RoundReport", "RunError", "Sealed", "StoreError",
    "Unavailable", "Unreachable",
    "__version__", "resume", "run",
]  # fmt: skip


def test_the_public_names_are_these() -> None:
    assert bcfl.__all__ == NAMES
    assert dir(bcfl) == NAMES


def test_every_error_is_public() -> None:
    from bcfl import errors

    own = {name: value for name, value in vars(errors).items() if isinstance(value, type)}
    tree = {name for name, value in own.items() if value.__module__ == errors.__name__}
    assert tree <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_there(name: str) -> None:
    assert getattr(bcfl, name)
    assert getattr(bcfl, name) is getattr(bcfl, name)


def test_other_names_are_not() -> None:
    with pytest.raises(AttributeError, match="no attribute 'runn'"):
        _ = bcfl.runn


def test_a_name_loads_when_it_is_used() -> None:
    code = "import sys, bcfl; bcfl.Config; assert 'bcfl.config' in sys.modules; print('torch' in sys.modules)"
    command = [sys.executable, "-c", code]
    assert (
        subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
        == "False"
    )


def test_the_version_is_the_project_s() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert bcfl.__version__ == project["version"]


def test_types_are_told() -> None:
    assert (ROOT / "bcfl" / "py.typed").exists()
