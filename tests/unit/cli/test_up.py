"""`bcfl up` without processes: what it says before it starts any."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from bcfl.cli.node import up
from bcfl.config import Config
from tests.unit.cli.conftest import Bcfl, install


class NoProcesses:
    """Stands in for the processes of a federation."""

    def __init__(self, *_: Any) -> None:
        pass

    def run(self, rounds: int | None) -> None:
        """Start nothing."""


@pytest.fixture(autouse=True)
def command(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def register(app: typer.Typer) -> None:
        up.register(app)
        app.command("other")(lambda: None)  # a single command would have no name

    install(monkeypatch, register)
    monkeypatch.setattr("bcfl.federation.local_processes.LocalProcesses", NoProcesses)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_a_committee_that_is_easily_captured_has_a_warning(bcfl: Bcfl) -> None:
    answer = bcfl("up", "--engine", "committee", "--committee-size", 1, "--devices", 3)
    assert answer.code == 0
    assert "committee_size=1 is a single trusted miner a round, whoever is drawn decides alone" in answer.err
    assert (
        "33% of committees, more than one in a thousand; take committee_size=3, or engine=stake" in answer.err
    )
    assert bcfl("up", "--devices", 3).err == ""


def test_no_challenges_have_a_warning(bcfl: Bcfl) -> None:
    answer = bcfl("up", "--challenge-seconds", 0)
    assert answer.code == 0
    assert "challenges: none: who attests a wrong model risks nothing" in answer.err


def test_a_window_of_ten_seconds_is_enough_for_a_demonstration(bcfl: Bcfl) -> None:
    assert Config.load(defaults=up.FEW).window == 10
    assert "a block waits 10 s for challenges" in " ".join(bcfl("up", "--help").out.split())
