"""How `bcfl up` waits for its processes: patiently, not for ever, and it says who is missing and why."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bcfl.cli.output.display import Display
from bcfl.cli.output.up_display import UpDisplay
from bcfl.config import Config
from bcfl.errors import ConfigError, RunError, Unreachable
from bcfl.federation import local_processes
from bcfl.federation.local_processes import LocalOptions, LocalProcesses
from bcfl.federation.stall_timeout import LONGEST_GAP, StallTimeout
from bcfl.federation.supervisor import Child, Supervisor
from bcfl.protocol.accounts import Account

LOST = "an address"
REWARD = 10
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


class EventRecorder(UpDisplay):
    """Keeps what is shown."""

    def __init__(self) -> None:
        super().__init__(Display())
        self.events: list[str] = []

    def event(self, kind: str, text: str, **fields: Any) -> None:
        del fields
        self.events.append(f"{kind}: {text}")


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    with Supervisor(dict(os.environ)) as supervisor:
        yield supervisor


def start_child(supervisor: Supervisor, folder: Path, name: str, program: str) -> Child:
    """A process that runs a few lines of Python in place of a party."""
    child = Child(name, [sys.executable, "-c", program], folder / f"{name}.log")
    supervisor.children.append(child)
    supervisor._start(child)
    return child


def wait_until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + 300
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def client_of(endpoints: dict[str, str]) -> Any:
    """A federation in which these have joined."""
    return SimpleNamespace(ledger=SimpleNamespace(history=lambda: SimpleNamespace(endpoints=endpoints)))


def processes(
    supervisor: Supervisor, observer: UpDisplay, folder: Path = Path(), port: int = 0
) -> LocalProcesses:
    """The processes of a federation of nobody but its owner."""
    return LocalProcesses(
        Config(), LocalOptions(folder, port), [Account(bytes(31) + b"\x01")], supervisor, observer
    )


def test_the_timeout_runs_out_without_progress() -> None:
    clock = Clock()
    timeout = StallTimeout(60, clock)
    for _ in range(61):
        assert not timeout.is_over
        clock.now += 1
        timeout.update(0)
    assert timeout.is_over


def test_progress_begins_it_anew_and_going_back_does_not() -> None:
    clock = Clock()
    timeout = StallTimeout(60, clock)
    for progress in (0, 1, 2, 1, 2, 0):
        clock.now += 4
        timeout.update(progress)
    assert timeout.waited_seconds == 12
    assert not timeout.is_half_over


def test_a_machine_that_stood_still_for_minutes_is_no_reason_to_give_up() -> None:
    clock = Clock()
    timeout = StallTimeout(60, clock)
    clock.now += 7200
    timeout.update(0)
    assert timeout.waited_seconds == LONGEST_GAP
    assert not timeout.is_half_over


def test_who_has_not_joined_is_named_with_what_it_said_last(
    tmp_path: Path, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process is alive and gets nowhere: it is started again once, and then given up."""
    monkeypatch.setattr(local_processes, "STALL_SECONDS", 1.5)
    monkeypatch.setattr(local_processes, "POLL", 0.05)
    observer, hangs = EventRecorder(), start_child(supervisor, tmp_path, "device 2", HANGS)
    wait_until(lambda: hangs.last_line() == "begins")
    with pytest.raises(RunError) as error:
        processes(supervisor, observer).await_miners(
            client_of({"joined": "http://..."}), {"joined": hangs, LOST: hangs}
        )
    assert "1 of 2 miners do not join: device 2 (" in str(error.value)
    assert str(tmp_path) in str(error.value)
    assert "stuck: device 2 does not join: it is started again" in observer.events
    assert "waits_for_ever" in (tmp_path / "device 2.log").read_text()


def test_a_party_that_keeps_dying_does_not_keep_the_waiting_alive(
    tmp_path: Path, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_processes, "STALL_SECONDS", 1.5)
    monkeypatch.setattr(local_processes, "POLL", 0.05)
    observer = EventRecorder()
    dies = start_child(supervisor, tmp_path, "miner 1", "import sys; sys.exit('error: port 9 is taken')")
    with pytest.raises(RunError, match=r"1 of 1 miners do not join: miner 1 \(.*\): error: port 9 is taken"):
        processes(supervisor, observer).await_miners(client_of({}), {LOST: dies})
    assert any("died: miner 1 ended with code 1: error: port 9 is taken" in text for text in observer.events)


def test_all_have_joined(supervisor: Supervisor) -> None:
    observer = EventRecorder()
    processes(supervisor, observer).await_miners(
        client_of({LOST: "http://..."}), {LOST: Child("x", [], Path("x"))}
    )
    assert not observer.events


def test_the_message_of_a_line_in_json_is_what_was_said(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text('{"level": "info", "message": "listens at http://127.0.0.1:1"}\n\n')
    assert Child("device 1", [], log).summary() == "device 1 (waiting): listens at http://127.0.0.1:1"
    log.write_text("[1]\n")
    assert Child("device 1", [], log).last_line() == "[1]"
    assert Child("device 1", [], tmp_path / "none").summary() == "device 1 (waiting): has said nothing"


def test_the_chain_takes_another_port_where_the_first_was_taken_meanwhile(
    tmp_path: Path, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        ports, free = [listener.getsockname()[1]], local_processes.free_port
        monkeypatch.setattr(local_processes, "free_port", lambda port: ports.pop() if ports else free(port))
        (tmp_path / "logs").mkdir()
        network = processes(supervisor, EventRecorder(), tmp_path).start_chain()
        assert network.rpc == supervisor.env["ETH_RPC_URL"] != f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert [item.state for item in supervisor.children] == ["running"]


def test_a_port_that_was_asked_for_and_is_taken_is_an_error(tmp_path: Path, supervisor: Supervisor) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        (tmp_path / "logs").mkdir()
        port = listener.getsockname()[1]
        with pytest.raises(ConfigError, match=r"cannot be used .* --port; 0 takes a free one"):
            processes(supervisor, EventRecorder(), tmp_path, port).start_chain()


def test_the_first_round_is_opened_when_the_chain_is_back(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[Exception | None] = [Unreachable("away"), Unreachable("away"), None]

    def opened(*_: object) -> None:
        if (error := answers.pop(0)) is not None:
            raise error

    monkeypatch.setattr("bcfl.federation.registration.open_first_round", opened)
    monkeypatch.setattr(local_processes, "POLL", 0.0)
    processes(supervisor, EventRecorder()).open_first_round(client_of({}))
    assert not answers


def test_a_process_that_has_ended_is_not_killed(tmp_path: Path, supervisor: Supervisor) -> None:
    process = start_child(supervisor, tmp_path, "device 1", "")
    wait_until(lambda: process.pid is None)
    assert not process.kill_stuck()
    assert not Child("device 2", [], tmp_path / "log").kill_stuck()


def test_an_empty_pool_is_told_once(tmp_path: Path) -> None:
    recorder = EventRecorder()
    options = LocalOptions(tmp_path, 0, None)
    processes = LocalProcesses(Config(), options, [Account(bytes([1] * 32))], Supervisor({}), recorder)
    for number, reward in enumerate((REWARD, 3, 0), 1):
        round_: Any = SimpleNamespace(number=number, block=SimpleNamespace(reward=reward))
        processes._check_pay(round_, REWARD)
    (event,) = recorder.events
    assert event.startswith("warning: round 2 did not pay its whole reward")


def test_a_process_that_cannot_be_started_now_is_tried_again(
    tmp_path: Path, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine without a free process for a moment takes nobody else down."""
    clock = Clock()
    monkeypatch.setattr("bcfl.federation.supervisor.time", SimpleNamespace(monotonic=clock, sleep=time.sleep))
    child = start_child(supervisor, tmp_path, "device 1", "raise SystemExit(2)")
    assert child.process is not None
    child.process.wait()
    ((_, reason),) = supervisor.restart_ended()
    assert reason.startswith("ended with code 2")

    def refuse(*_: Any, **__: Any) -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", refuse)
        for seconds in (1.0, 2.0, 4.0, 8.0, 15.0, 15.0):
            clock.now += seconds - 0.1
            assert list(supervisor.restart_ended()) == []
            clock.now += 0.1
            ((_, reason),) = supervisor.restart_ended()
            assert reason == "cannot be started: Resource temporarily unavailable"
            assert child.state == "waiting"
    clock.now += 15.0
    assert list(supervisor.restart_ended()) == []
    assert child.process is not None
    monkeypatch.setattr(subprocess, "Popen", refuse)
    with pytest.raises(RunError, match="device 2 cannot be started"):
        start_child(supervisor, tmp_path, "device 2", "")
