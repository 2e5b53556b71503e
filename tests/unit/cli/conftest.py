"""Commands run in this process, on federations that the tests play by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import typer

from bcfl.cli import main
from bcfl.config import Config
from bcfl.federation.runs import Run
from bcfl.ledger.devnet.embedded import EmbeddedChain
from bcfl.protocol.types import Phase, Verdict
from testkit import harness, ledgers

OK, BAD, LATE, COPY = Verdict.ACCEPTED, Verdict.QUALITY, Verdict.TIME, Verdict.DUPLICATE
VERDICTS = [[OK, BAD, OK, OK], [OK, BAD, OK, LATE], [OK, COPY, OK, OK]]


@dataclass
class Answer:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one object on stdout of a command that succeeded."""
        assert (self.code, self.err) == (0, "")
        return json.loads(self.out)

    @property
    def text(self) -> str:
        """What a command that succeeded printed, each run of blanks as one."""
        assert (self.code, self.err) == (0, "")
        return "\n".join(" ".join(line.split()) for line in self.out.splitlines())

    @property
    def refusal(self) -> str:
        """The one line of a command that was refused."""
        assert (self.code, self.out) == (2, "")
        assert self.err.startswith("error: ")
        assert self.err.count("\n") == 1
        return self.err.removeprefix("error: ").rstrip("\n")


Bcfl = Callable[..., Answer]


def install(monkeypatch: pytest.MonkeyPatch, register: Callable[[typer.Typer], None]) -> None:
    """Have the command line offer one group of commands alone."""
    app = typer.Typer()
    register(app)
    monkeypatch.setattr("bcfl.cli.app.app", app)


@pytest.fixture
def bcfl(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bcfl:
    """Runs a command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments: object) -> Answer:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        output = capsys.readouterr()
        return Answer(code, output.out, output.err)

    return run


Played = Callable[..., harness.Federation]


def play(runs: Path, **options: Any) -> harness.Federation:
    """A federation whose chain is that of a new run; its store is empty."""
    with Run.create(Config(runs=runs)) as run, pytest.MonkeyPatch.context() as patch:

        def on_file(people: list[str]) -> EmbeddedChain:
            return EmbeddedChain(run.chain_path, accounts=people)

        patch.setattr(ledgers, "FlatChain", on_file)
        federation = harness.Federation(**options, kind=ledgers.BYTECODE)
        run.set_contract(federation.contract.address)
        return federation


def play_two_rounds(runs: Path) -> harness.Federation:
    """The first round finished with one update of four rejected, nothing yet done in the second."""
    federation = play(runs).open()
    federation.until(Phase.VOTE).vote_all(VERDICTS)
    return federation.finish()


@pytest.fixture
def play_federation(tmp_path: Path) -> Played:
    """Plays a federation in the folder that the commands are run in."""
    return partial(play, tmp_path / "runs")


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> harness.Federation:
    """Two rounds that tests only ask about."""
    return play_two_rounds(tmp_path_factory.mktemp("recorded") / "runs")


@pytest.fixture
def two_rounds(tmp_path: Path, recorded: harness.Federation) -> harness.Federation:
    """The recorded rounds, where the commands look for them."""
    path = recorded.chain.database.path
    assert path is not None
    (tmp_path / "runs").symlink_to(path.parents[1])
    return recorded


@pytest.fixture
def open_rounds(tmp_path: Path) -> harness.Federation:
    """Two rounds of one's own, to go on with."""
    return play_two_rounds(tmp_path / "runs")
