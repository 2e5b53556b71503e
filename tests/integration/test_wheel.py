"""The wheel, installed where there is no checkout, brings all it needs and runs a small federation."""

from __future__ import annotations

import json
import os
import site
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*command: str | Path, cwd: Path) -> str:
    """What a command that has to succeed prints, without this checkout in sight."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("BCFL_", "PYTHON", "COV_"))}
    process = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert process.returncode == 0, f"{command}: {process.stderr}"
    return process.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        folder,
        ROOT,
        cwd=folder,
    )
    (path,) = folder.glob("bcfl-*.whl")
    return path


@pytest.fixture(scope="module")
def commands(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the commands of an environment that holds the wheel, and borrows its dependencies alone.

    A .pth file names the folders to borrow from. The .pth files inside those are not read, so the editable
    checkout of the environment that runs this test stays out of sight.
    """
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder), "platbase": str(folder)}))
    dependencies = dict.fromkeys((*site.getsitepackages(), sysconfig.get_path("platlib")))
    (packages / "borrowed.pth").write_text("\n".join(dependencies) + "\n")
    python = folder / "bin" / "python"
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--python", python]
    run(*pip, "install", "-q", "--no-deps", "--no-index", "--ignore-installed", wheel, cwd=folder)
    return python.parent


def test_the_wheel_holds_contracts_artifact_and_types(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {f"bcfl/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "contracts").rglob("*.vy*")}
    assert sources
    assert sources <= names
    assert {"bcfl/ledger/artifacts/Federation.json", "bcfl/py.typed"} <= names
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/", "contracts/", "deploy/"))]


def test_it_is_the_wheel_that_is_imported(commands: Path, tmp_path: Path) -> None:
    path = run(commands / "python", "-c", "import bcfl; print(bcfl.__file__)", cwd=tmp_path)
    assert Path(path.strip()).is_relative_to(commands.parent)


def test_a_small_federation_runs_outside_the_checkout(commands: Path, tmp_path: Path) -> None:
    options = ["--devices", "4", "--miners", "2", "--rounds", "1", "--json"]
    summary = json.loads(run(commands / "bcfl", "run", *options, cwd=tmp_path))
    (round_,) = summary["rounds"]
    assert (tmp_path / summary["run_dir"] / "run.json").is_file()
    assert summary["final_accuracy"] > 0.2
    assert (round_["round"], round_["leader"][:2]) == (1, "0x")

    run(commands / "bcfl", "examples", cwd=tmp_path)
    options = ["--task", "examples.task:wine", "--devices", "4", "--miners", "2", "--rounds", "1", "--json"]
    wine = json.loads(run(commands / "bcfl", "run", *options, "--runs", "wines", cwd=tmp_path))
    assert wine["final_accuracy"] > 0.2

    round_view = json.loads(run(commands / "bcfl", "round", "--json", cwd=tmp_path))
    for field in ("round", "status", "leader", "global_root", "global_cid", "block_hash"):
        assert round_view[field] == round_[field]
