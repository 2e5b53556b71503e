"""What stands around the code: the Makefile's commands, CI, cheap imports, nothing of anybody's machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Where a person's or a machine's own files live. In brackets, so that this line is not found by itself.
MACHINE = re.compile(rb"(?<![\w.~:/-])/(?:(?:[h]ome|[U]sers|[r]oot|[w]ork)/\w|[t]mp/\w+/)|\b[A-Z]:\\\\?Users")
HEAVY = ("torch", "web3", "eth_tester", "eth", "sklearn", "scipy", "pydantic", "rich", "typer", "numpy")
PICTURE_BYTES = 200_000


def files() -> list[Path]:
    """All files that are committed or about to be."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    if process.returncode != 0:
        pytest.skip("not a git checkout")
    return [path for name in process.stdout.decode().split("\0") if name and (path := ROOT / name).is_file()]


def test_no_file_names_a_path_of_somebody_s_machine() -> None:
    lines = [
        f"{path.relative_to(ROOT)}:{number}: {match[0].decode()}"
        for path in files()
        for number, line in enumerate(path.read_bytes().split(b"\n"), 1)
        if (match := MACHINE.search(line))
    ]
    assert lines == []


@pytest.mark.parametrize("line", ["cd /" + "home/ada/bcfl", "'/" + "tmp/run/x'", "C:" + "\\Users\\ada"])
def test_a_path_of_somebody_s_machine_is_found(line: str) -> None:
    assert MACHINE.search(line.encode())


@pytest.mark.parametrize(
    "line", ["https://example.org/home/ada", "tests/tmp/x", "~/src/bcfl", "/usr/share/x"]
)
def test_other_paths_are_not(line: str) -> None:
    assert not MACHINE.search(line.encode())


def test_no_file_is_binary() -> None:
    """Wheels and archives do not belong into the repository; text does, and small pictures."""
    binary = [path for path in files() if is_binary(path.read_bytes())]
    pictures = [path for path in binary if path.parent == ROOT / "docs" / "images" and path.suffix == ".png"]
    assert [str(path.relative_to(ROOT)) for path in binary if path not in pictures] == []
    assert [path.name for path in pictures if path.stat().st_size > PICTURE_BYTES] == []


@pytest.mark.parametrize("data", [b"PK\x03\x04\x00", b"\x89PNG\r\n\x1a\n\x00", b"\xff\xfe text"])
def test_a_binary_file_is_found(data: bytes) -> None:
    assert is_binary(data)
    assert not is_binary("text, also in Greek: \u03b1".encode())


def is_binary(data: bytes) -> bool:
    """Return whether bytes are no text in UTF-8."""
    try:
        return "\0" in data.decode()
    except UnicodeDecodeError:
        return True


@pytest.mark.parametrize(
    "path", ["up/keystore/a.json", "up/password", "keys/UTC--0", "journal/vote.json", "bcfl.log", "run.car",
             "x.whl", "devices.txt", "store/Qm", "runs/1/run.json"]
)  # fmt: skip
def test_what_commands_leave_is_ignored(path: str) -> None:
    command = ["git", "check-ignore", "--quiet", "--no-index", path]
    process = subprocess.run(command, cwd=ROOT, check=False)
    if process.returncode == 128:
        pytest.skip("not a git checkout")
    assert process.returncode == 0


def test_every_target_of_the_makefile_is_explained() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert targets is not None
    text = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert {line.split()[1] for line in text.splitlines()} == set(targets[1].split())


@pytest.mark.parametrize("goal", ["run", "test"])
@pytest.mark.parametrize("version", ["3.10.12", None])
def test_a_python_that_is_too_old_or_absent_is_one_line(
    tmp_path: Path, goal: str, version: str | None
) -> None:
    python = tmp_path / "python3"
    if version is not None:
        python.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo "Python {version}"\n')
        python.chmod(0o755)
    command = ["make", goal, f"PYTHON={python}", f"VENV={tmp_path / 'venv'}"]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert process.returncode == 2
    assert len(process.stderr.splitlines()) == 1
    assert "needs Python 3.11 or newer" in process.stderr
    assert (f"Python {version}" if version else "not found") in process.stderr
    assert not (tmp_path / "venv").exists()


def test_ci_runs_the_gate() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert script.read_text().startswith("#!/usr/bin/env bash\n")
    assert "make test" in script.read_text()


def test_importing_bcfl_is_cheap() -> None:
    code = f"import sys, bcfl; print(*(set({HEAVY!r}) & set(sys.modules)))"
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert process.stdout.split() == []


def test_the_change_log_knows_the_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"## [{project['version']}]" in (ROOT / "CHANGELOG.md").read_text()


def test_prereleases_are_pinned_exactly() -> None:
    """An installer takes a pre-release without a flag only where it is named exactly, and directly."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    unpinned_names = [
        name for name in project["dependencies"] if re.search(r"\d(a|b|rc)\d", name) and "==" not in name
    ]
    assert unpinned_names == []
    assert any(name.startswith("py-evm==") for name in project["dependencies"])
