"""How `bcfl up` waits for its processes: patiently, not for ever, and it says who is missing and why."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bcfl.cli.node import up
from bcfl.cli.output.upview import View
from bcfl.errors import ConfigError, RunError, Unreachable
from bcfl.federation.stall_timeout import MOMENT, StallTimeout
from bcfl.federation.supervisor import Child, Supervisor

LOST = "an address"
HANGS = """
import faulthandler, signal, time
faulthandler.register(signal.SIGUSR1)
print("begins", flush=True)
def waits_for_ever():
    while True:
        time.sleep(60)
waits_for_ever()
"""


class Clock:
    """Time that passes as a test says."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Told(View):
    """Keeps what is shown."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def event(self, kind: str, text: str, **fields: Any) -> None:
        del fields
        self.events.append(f"{kind}: {text}")


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    with Supervisor(dict(os.environ)) as made:
        yield made


def child(supervisor: Supervisor, folder: Path, name: str, program: str) -> Child:
    """A process that runs a few lines of Python in place of a party."""
    made = Child(name, [sys.executable, "-c", program], folder / f"{name}.log")
    supervisor.children.append(made)
    supervisor._start(made)
    return made


def until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + 300
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def client(endpoints: dict[str, str]) -> Any:
    """A federation in which these have joined."""
    return SimpleNamespace(ledger=SimpleNamespace(history=lambda: SimpleNamespace(endpoints=endpoints)))


def test_patience_runs_out_without_progress() -> None:
    clock = Clock()
    patience = StallTimeout(60, clock)
    for _ in range(61):
        assert not patience.over
        clock.now += 1
        patience.look(0)
    assert patience.over


def test_progress_begins_it_anew_and_going_back_does_not() -> None:
    clock = Clock()
    patience = StallTimeout(60, clock)
    for reached in (0, 1, 2, 1, 2, 0):
        clock.now += 4
        patience.look(reached)
    assert patience.waited == 12
    assert not patience.half


def test_a_machine_that_stood_still_for_minutes_is_no_reason_to_give_up() -> None:
    clock = Clock()
    patience = StallTimeout(60, clock)
    clock.now += 7200
    patience.look(0)
    assert patience.waited == MOMENT
    assert not patience.half


def test_who_has_not_joined_is_named_with_what_it_said_last(
    tmp_path: Path, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process is alive and gets nowhere: it is started again once, and then given up."""
    monkeypatch.setattr(up, "PATIENCE", 1.5)
    monkeypatch.setattr(up, "TICK", 0.05)
    shown, hangs = Told(), child(supervisor, tmp_path, "device 2", HANGS)
    until(lambda: hangs.last_line() == "begins")
    with pytest.raises(RunError) as caught:
        up._await_miners(client({"joined": "http://..."}), supervisor, {"joined": hangs, LOST: hangs}, shown)
    assert "1 of 2 miners do not join: device 2 (" in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert "stuck: device 2 does not join: it is started again" in shown.events
    assert "waits_for_ever" in (tmp_path / "device 2.log").read_text()


def test_a_party_that_keeps_dying_does_not_keep_the_waiting_alive(
    tmp_path: Path, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(up, "PATIENCE", 1.5)
    monkeypatch.setattr(up, "TICK", 0.05)
    shown = Told()
    dies = child(supervisor, tmp_path, "miner 1", "import sys; sys.exit('error: port 9 is taken')")
    with pytest.raises(RunError, match=r"1 of 1 miners do not join: miner 1 \(.*\): error: port 9 is taken"):
        up._await_miners(client({}), supervisor, {LOST: dies}, shown)
    assert any("died: miner 1 ended with code 1: error: port 9 is taken" in text for text in shown.events)


def test_all_have_joined(supervisor: Supervisor) -> None:
    shown = Told()
    up._await_miners(client({LOST: "http://..."}), supervisor, {LOST: Child("x", [], Path("x"))}, shown)
    assert not shown.events


def test_the_message_of_a_line_in_json_is_what_was_said(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text('{"level": "info", "message": "listens at http://127.0.0.1:1"}\n\n')
    assert Child("device 1", [], log).standing() == "device 1 (waiting): listens at http://127.0.0.1:1"
    log.write_text("[1]\n")
    assert Child("device 1", [], log).last_line() == "[1]"
    assert Child("device 1", [], tmp_path / "none").standing() == "device 1 (waiting): has said nothing"


def test_the_chain_takes_another_port_where_the_first_was_taken_meanwhile(
    tmp_path: Path, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports, free = [taken.getsockname()[1]], up._free_port
        monkeypatch.setattr(up, "_free_port", lambda port: ports.pop() if ports else free(port))
        (tmp_path / "logs").mkdir()
        network = up._start_chain(supervisor, {"port": 0, "anvil": False}, tmp_path, 2, Told())
        assert network.rpc == supervisor.env["ETH_RPC_URL"] != f"http://127.0.0.1:{taken.getsockname()[1]}"
        assert [item.state for item in supervisor.children] == ["running"]


def test_a_port_that_was_asked_for_and_is_taken_is_an_error(tmp_path: Path, supervisor: Supervisor) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        (tmp_path / "logs").mkdir()
        own = {"port": taken.getsockname()[1], "anvil": False}
        with pytest.raises(ConfigError, match=r"cannot be used .* --port; 0 takes a free one"):
            up._start_chain(supervisor, own, tmp_path, 2, Told())


def test_the_first_round_is_opened_when_the_chain_is_back(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[Exception | None] = [Unreachable("away"), Unreachable("away"), None]

    def opened(*_: object) -> None:
        if (error := answers.pop(0)) is not None:
            raise error

    monkeypatch.setattr("bcfl.federation.node.open_first_round", opened)
    monkeypatch.setattr(up, "TICK", 0.0)
    up._open(client({}), supervisor, None, Told())  # type: ignore[arg-type]
    assert not answers


def test_a_process_that_has_ended_is_not_killed(tmp_path: Path, supervisor: Supervisor) -> None:
    made = child(supervisor, tmp_path, "device 1", "")
    until(lambda: made.pid is None)
    assert not made.unhang()
    assert not Child("device 2", [], tmp_path / "log").unhang()
