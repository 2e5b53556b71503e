"""Whatever goes wrong is one line on stderr and an exit code, whatever went wrong."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from web3 import Web3

import bcfl as package
from bcfl.cli.app import app
from bcfl.cli.examples import EXAMPLES
from bcfl.cli.query import listing
from bcfl.config import Config
from bcfl.federation.runs import Run
from tests.unit.cli.conftest import Bcfl

ROOT = Path(__file__).parents[3]
COMMANDS = (
    "run", "ls", "round", "model", "leader", "device", "miner", "votes", "events", "call", "fetch", "export",
    "version",
)  # fmt: skip
HEAVY = ("torch", "web3", "eth_tester", "eth", "sklearn", "numpy")


def started(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    """A process of its own."""
    command = [sys.executable, "-m", "bcfl", *arguments]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=env, text=True, check=False, stderr=subprocess.PIPE, **options)  # type: ignore[call-overload,no-any-return]


def raising(error: Exception) -> object:
    def raise_(*_: object, **__: object) -> None:
        raise error

    return raise_


def test_help_lists_every_command(bcfl: Bcfl) -> None:
    answer = bcfl("--help")
    assert answer.code == 0
    assert [word for word in COMMANDS if f"│ {word} " not in answer.out] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(bcfl: Bcfl, command: str) -> None:
    answer = bcfl(command, "--help")
    assert answer.code == 0
    assert f"bcfl {command}" in answer.out


@pytest.mark.parametrize(
    ("words", "meaning"),
    [
        ("votes", "The number of a round, or latest."),
        ("fetch", "The CID to fetch."),
        ("run", "With --resume: the run's folder or name."),
        ("help", "Of this command; else of all."),
    ],
)
def test_help_says_what_an_argument_is(bcfl: Bcfl, words: str, meaning: str) -> None:
    assert meaning in bcfl(words, "--help").out
    assert meaning in bcfl("help", words).out


def test_every_query_but_fetch_answers_in_json(bcfl: Bcfl) -> None:
    for command in set(COMMANDS) - {"fetch"}:
        assert "--json" in bcfl(command, "--help").out


def test_version(bcfl: Bcfl) -> None:
    assert bcfl("version").out == bcfl("--version").out == f"bcfl {package.__version__}\n"
    assert bcfl("version", "--json").json["bcfl"] == package.__version__


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("rond",), "round"),
        (("--colour",), "--colour"),
        (("ls", "--jsno"), "--json"),
        (("ls", "extra"), "extra"),
        (("run", "--devces", "3"), "--devices"),
        (("run", "--rounds"), "requires an argument"),
        (("run", "extra"), "--run-dir"),
    ],
)
def test_usage_errors(bcfl: Bcfl, arguments: tuple[str, ...], words: str) -> None:
    assert words in bcfl(*arguments).refusal


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("--check-split", "--check-clusters"),
        ("--no-check-split", "--no-check-clusters"),
        ("--check-effort", "--check-min-norm"),
        ("--no-check-effort", "--no-check-min-norm"),
    ],
)
@pytest.mark.parametrize("command", ["run", "deploy", "up"])
def test_a_flag_that_was_renamed_names_the_new_one(bcfl: Bcfl, command: str, old: str, new: str) -> None:
    refusal = bcfl(command, old).refusal
    assert refusal.startswith(f"No such option: {old}, it is now {new} (`bcfl {command} --help`")


def test_a_defect_says_so(bcfl: Bcfl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "list_runs", raising(KeyError("a\nb")))
    answer = bcfl("ls")
    assert answer.code == 70
    assert answer.err.count("\n") == 1
    assert "KeyError" in answer.err
    assert "please report" in answer.err
    traced = bcfl("ls", "--debug")
    assert traced.code == 70
    assert "Traceback" in traced.err
    assert bcfl("--debug", "version").code == 0


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "free some space"),
        (PermissionError(errno.EACCES, "Permission denied", "there"), "there: Permission denied"),
    ],
)
def test_what_the_system_refuses(
    bcfl: Bcfl, monkeypatch: pytest.MonkeyPatch, error: OSError, words: str
) -> None:
    monkeypatch.setattr(listing, "list_runs", raising(error))
    assert words in bcfl("ls").refusal


def test_an_interrupt(bcfl: Bcfl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "list_runs", raising(KeyboardInterrupt()))  # type: ignore[arg-type]
    assert bcfl("ls").code == 130


def test_no_run_yet(bcfl: Bcfl) -> None:
    assert bcfl("ls").out == "no runs in runs yet: start one with `bcfl run`\n"
    assert bcfl("ls", "--json").json == {"runs": []}
    assert "there is no run in runs yet" in bcfl("round").refusal
    assert "there is no run in else yet" in bcfl("round", "--runs", "else").refusal
    assert "nowhere is not the directory of a run" in bcfl("round", "--run", "nowhere").refusal


def test_a_run_without_a_contract(bcfl: Bcfl) -> None:
    Run.create(Config(run_dir=Path("runs/x"))).close()
    assert "go on with `bcfl run --resume runs/x`" in bcfl("round").refusal


def test_run_directories_that_cannot_be_read(bcfl: Bcfl, two_rounds: object, tmp_path: Path) -> None:
    assert two_rounds
    (path,) = (tmp_path / "runs").iterdir()
    whole = json.loads((path / "run.json").read_text())
    for name, content in {"old": whole | {"format": 0}, "torn": None, "chainless": whole}.items():
        (tmp_path / name).mkdir()
        text = json.dumps(content) if content else '{"format": 1, "cre'
        (tmp_path / name / "run.json").write_text(text)
    (tmp_path / "scrambled").mkdir()
    (tmp_path / "scrambled" / "run.json").write_text(json.dumps(whole))
    (tmp_path / "scrambled" / "chain.sqlite").write_bytes(os.urandom(8192))
    assert "format 0" in bcfl("round", "--run", "old").refusal
    assert "damaged" in bcfl("round", "--run", "torn").refusal
    assert "no chain there" in bcfl("round", "--run", "chainless").refusal
    assert "scrambled/chain.sqlite" in bcfl("round", "--run", "scrambled").refusal


def test_runs_are_listed_whatever_state_they_are_in(bcfl: Bcfl, two_rounds: object, tmp_path: Path) -> None:
    assert two_rounds
    (path,) = (tmp_path / "runs").iterdir()
    runs = tmp_path / "mine"
    runs.mkdir()
    (runs / "whole").symlink_to(path)
    (runs / "torn").mkdir()
    (runs / "torn" / "run.json").write_text("{")
    Run.create(Config(run_dir=runs / "fresh", devices=7)).close()
    with Run.create(Config(run_dir=runs / "busy")):
        views = {
            Path(view["run_dir"]).name: view for view in bcfl("ls", "--runs", runs, "--json").json["runs"]
        }
        assert {name: view["state"] for name, view in views.items()} == {
            "whole": "stopped", "torn": "damaged", "fresh": "stopped", "busy": "running",
        }  # fmt: skip
    assert (views["whole"]["rounds"], views["whole"]["rounds_wanted"]) == (1, 10)
    assert views["fresh"]["devices"] == 7
    text = bcfl("ls", "--runs", runs).text
    assert "damaged: " in text
    assert "1/10 stopped" in text


def test_a_run_by_its_name_alone(bcfl: Bcfl, two_rounds: object, tmp_path: Path) -> None:
    assert two_rounds
    (path,) = (tmp_path / "runs").iterdir()
    assert bcfl("round", "--run", path.name, "--json").json == bcfl("round", "--run", path, "--json").json


def test_the_environment_names_the_runs(
    bcfl: Bcfl, two_rounds: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert two_rounds
    monkeypatch.setenv("BCFL_RUNS", "elsewhere")
    assert "there is no run in elsewhere" in bcfl("round").refusal
    (tmp_path / "runs").rename(tmp_path / "elsewhere")
    assert bcfl("round", "--json").json["round"] == 1


def test_a_reader_that_goes_away(two_rounds: object, tmp_path: Path) -> None:
    assert two_rounds
    reader, writer = os.pipe()
    os.close(reader)
    process = started("events", cwd=tmp_path, stdout=writer)
    os.close(writer)
    assert process.returncode == 1
    assert process.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_under_stdout(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        process = started("version", cwd=tmp_path, stdout=full)
    assert process.returncode == 2
    assert process.stderr == "error: No space left on device: free some space and try again\n"


def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    probe = f"print(*({set(HEAVY)!r} & set(sys.modules)))"
    code = f"import sys; from bcfl.cli import main; main(['--help']); {probe}"
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert process.stdout.splitlines()[-1] == ""


def test_queries_need_no_torch_and_no_audit(two_rounds: object, tmp_path: Path) -> None:
    assert two_rounds
    code = (
        "import sys; from bcfl.cli import main; main(['round', '--json']); main(['round']); main(['model'])"
    )
    probe = "; sys.exit(len({'torch', 'bcfl.roles.auditor.audit'} & set(sys.modules)))"
    command = [sys.executable, "-c", code + probe]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, check=True)


def test_help_has_examples_that_are_commands(bcfl: Bcfl) -> None:
    known = {" ".join(path) for path in _paths(typer.main.get_command(app))}
    for name, lines in EXAMPLES.items():
        assert name in known
        answer = bcfl("help", *name.split())
        assert answer.code == 0
        shown = " ".join(answer.out.split())
        for line in lines:
            assert line.startswith(f"bcfl {name}")
            assert line in shown


def test_help_of_a_command_that_there_is_not(bcfl: Bcfl) -> None:
    assert "there is no command 'rnu': there is run, sweep, ls" in bcfl("help", "rnu").err
    assert "there is no command 'x'" in bcfl("help", "chain", "x").err
    assert "there is no command 'x'" in bcfl("help", "run", "x").err


def test_the_abi_is_what_web3_takes(bcfl: Bcfl) -> None:
    assert bcfl("abi", "-o", "federation.json").code == 0
    entries = json.loads(Path("federation.json").read_text())
    assert json.loads(bcfl("abi").out) == entries
    contract = Web3().eth.contract(abi=entries)
    assert {"commit", "finalize", "round_clock"} <= {entry.fn_name for entry in contract.all_functions()}


def test_tasks_are_listed_with_their_models(bcfl: Bcfl) -> None:
    lines = bcfl("tasks").out.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["digits", "breast-cancer", "fashion-mnist"]
    assert lines[1].endswith("mlp, cnn")
    assert lines[2].endswith("  mlp")
    assert bcfl("tasks", "--json").json["models"] == ["mlp", "cnn"]


def test_examples_are_written_once(bcfl: Bcfl) -> None:
    files = bcfl("examples", "--json").json["files"]
    assert "examples/task.py" in files
    assert Path("examples/task.py").read_text() == (ROOT / "examples" / "task.py").read_text()
    assert "exists: name another folder" in bcfl("examples").refusal


def _paths(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    for name, child in getattr(command, "commands", {}).items():
        yield from _paths(child, (*path, name))
