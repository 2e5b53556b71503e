"""With --json stdout has one JSON object: what a task's own code prints, in workers too, is on stderr."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bcfl.cli import main
from bcfl.cli.output.terminal import say, stdout_reserved
from bcfl.cli.query import listing

ROOT = Path(__file__).parents[3]
# What a task's code may do in any of its parts, and then answer through `say`.
NOISE = """
import os, subprocess, sys
print("printed")
os.write(1, b"written\\n")
sys.__stdout__.write("of Python's own\\n")
subprocess.run(["echo", "of a process"])
"""
ANSWER = """
from bcfl.cli.output.terminal import say, stdout_reserved
with stdout_reserved():
{}
    say('answer')
"""
SOURCES = ("printed", "written", "of Python's own", "of a process")


def ran(code: str, **options: object) -> subprocess.CompletedProcess[str]:
    """A process that answers after it has run `code` where stdout is reserved."""
    body = "\n".join(f"    {line}" for line in code.strip().splitlines())
    command = [sys.executable, "-c", ANSWER.format(body)]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        command,
        env=env,
        text=True,
        check=False,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
    )


def test_only_the_answer_is_on_stdout() -> None:
    process = ran(NOISE)
    assert (process.returncode, process.stdout) == (0, "answer\n")
    assert sorted(process.stderr.splitlines()) == sorted(SOURCES)


@pytest.mark.parametrize("harm", ["import os; os.close(1)", "import sys; sys.stdout.close()"])
def test_the_answer_arrives_where_code_closes_stdout(harm: str) -> None:
    process = ran(harm)
    assert (process.returncode, process.stdout, process.stderr) == (0, "answer\n", "")


def test_stdout_is_put_back(capfd: pytest.CaptureFixture[str]) -> None:
    with stdout_reserved():
        print("aside")
        say("answer")
    print("later")
    os.write(1, b"")
    assert tuple(capfd.readouterr()) == ("answer\nlater\n", "aside\n")


def test_where_stdout_is_no_file_it_is_reserved_too(capsys: pytest.CaptureFixture[str]) -> None:
    with stdout_reserved():
        print("aside")
        say("answer")
    print("later")
    assert tuple(capsys.readouterr()) == ("answer\nlater\n", "aside\n")


def test_commands_with_json_reserve_stdout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def printing(_: Path) -> list[object]:
        print("aside")
        return []

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(listing, "list_runs", printing)
    assert main(["ls", "--json"]) == 0
    output = capsys.readouterr()
    assert (json.loads(output.out), output.err) == ({"runs": []}, "aside\n")


def test_a_stdout_that_is_closed_from_the_start_is_no_defect() -> None:
    command = f"exec {sys.executable} -m bcfl ls --json --runs {os.devnull}x >&-"
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.run(["sh", "-c", command], env=env, capture_output=True, text=True, check=False)
    assert (process.returncode, process.stderr) == (0, "")
