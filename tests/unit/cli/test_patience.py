"""`bcfl start` and `bcfl watch` where the node is away or the disk is full at their start."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import typer

from bcfl.cli.node import start, watch
from bcfl.errors import (
    BcflError,
    ConfigError,
    DiskError,
    LedgerError,
    NoNodeUrl,
    RunError,
    StoreError,
    Unreachable,
)
from tests.unit.cli.conftest import Bcfl

COMMANDS = [["start", "device"], ["start", "miner"], ["watch"]]
AWAY = "http://127.0.0.1:1: ConnectionError; is the node running and the URL right?"
WORDS = f"not begun: {AWAY}; the next try is in 1 s, Ctrl-C ends it"


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses, which take no time; the ninth is ended by Ctrl-C."""
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 9:
            raise KeyboardInterrupt

    monkeypatch.setattr("bcfl.cli.node.patience.time", SimpleNamespace(sleep=sleep))
    return pauses


@pytest.fixture
def tries(bcfl: Bcfl, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs a command, whose tries to connect end with some errors, the last one again and again."""
    app = typer.Typer()
    start.register(app)
    watch.register(app)
    monkeypatch.setattr("bcfl.cli.app.app", app)

    def run(command: list[str], *errors: BcflError) -> Any:
        left = list(errors)

        def connect(*_: object) -> None:
            raise left.pop(0) if left[1:] else left[0]

        monkeypatch.setattr("bcfl.federation.client.connect", connect)
        monkeypatch.setattr("bcfl.ledger.deployment.networks.resolve", lambda _: None)
        return bcfl(*command)

    return run


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_node_that_is_away_is_asked_again(
    command: list[str], tries: Callable[..., Any], pauses: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "bcfl"):
        answer = tries(command, Unreachable(AWAY), Unreachable(AWAY), ConfigError("here it goes on"))
    assert (answer.code, pauses) == (2, [1, 2])
    assert WORDS in caplog.text + answer.err
    assert answer.err.endswith("error: here it goes on\n")


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_ctrl_c_ends_the_waiting(command: list[str], tries: Callable[..., Any], pauses: list[float]) -> None:
    assert tries(command, DiskError("the journal cannot be written: No space left on device")).code == 130
    assert pauses == [1, 2, 4, 8, 15, 15, 15, 15, 15]


@pytest.mark.parametrize("kind", [ConfigError, RunError, LedgerError, StoreError, NoNodeUrl])
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_what_no_waiting_mends_is_an_error_at_once(
    command: list[str], kind: type[BcflError], tries: Callable[..., Any], pauses: list[float]
) -> None:
    assert tries(command, kind("no")).refusal == "no"
    assert pauses == []
