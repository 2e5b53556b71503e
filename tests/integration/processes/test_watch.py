"""What is seen of a federation from outside while it runs: `bcfl status` and `bcfl watch`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from bcfl.cli import main
from bcfl.cli.node import status, watch
from bcfl.cli.node.options import FederationOptions
from bcfl.federation import event_stream
from bcfl.federation.views.status import status_view
from bcfl.protocol.types import Engine, Phase, Terms
from tests.daemons import client_of
from tests.local_federation import ETHER, TERMS, LocalFederation
from tests.processes import ANSWER

CHALLENGED = replace(TERMS, attest_seconds=120, challenge_seconds=120, challenge_bond=ETHER // 10)
SHOWN = (
    CHALLENGED.max_updates * (CHALLENGED.leaf_lanes * CHALLENGED.lane_bits // 8 + 4)
    + 8 * CHALLENGED.leaf_lanes
)


def test_status_says_who_is_awaited_for_what_until_when(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    client, _ = client_of(local)
    lines = set()
    for phase in (Phase.COMMIT, Phase.REVEAL, Phase.VOTE, Phase.UNVEIL, Phase.PROPOSE, Phase.ATTEST):
        local.until(phase)
        view = status_view(client)
        assert view["phase"] == phase.name.lower()
        assert view["awaited"]
        assert (view["deadline"] or 0) > view["now"]
        lines.add(status.status_line(view))
    assert len(lines) == 6
    assert "waits for 4 devices" in status.status_line(
        {**view, "awaited": [{"role": "device", "account": ""}] * 4}
    )


def test_status_when_all_miners_have_committed(tmp_path: Path) -> None:
    """What is left of the phase is for a device that its miner left out."""
    local = LocalFederation(tmp_path)
    client, _ = client_of(local)
    while (clock := local.ledger.clock()).acted != clock.expected:
        if not local.schedule.turn(Phase.COMMIT):
            local.schedule.let_time_pass()
    assert clock.phase is Phase.COMMIT
    assert "waits for 4 devices to commit alone, if left out" in status.status_line(status_view(client))


def test_status_when_all_have_revealed(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    client, _ = client_of(local)
    local.until(Phase.REVEAL)
    while (view := status_view(client))["awaited"]:
        local.schedule.turn(Phase.REVEAL)
    assert view["phase"] == "reveal"
    assert status.status_line(view).startswith("round 1 · waits for the phase to end, ")


def test_status_gives_the_address_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    client, _ = client_of(LocalFederation(tmp_path))
    monkeypatch.setattr(FederationOptions, "connect", contextmanager(lambda _: iter([client])))
    status.status(network=None, deployment="x", folder=tmp_path, address=True, as_json=False)
    assert capsys.readouterr().out == f"{client.address}\n"


def test_status_prints_one_screen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    local = LocalFederation(tmp_path)
    local.play()
    status._print(status_view(client_of(local)[0]))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) < 24
    assert not any(line.startswith("captured") for line in lines)
    assert any(line.startswith("so far") and "1 block, 0 void rounds" in line for line in lines)


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        (replace(TERMS, challenge_seconds=0), "none: who attests a wrong model risks nothing"),
        (
            CHALLENGED,
            f"open for 120 s after each proposal; opening one shows up to {SHOWN:,} bytes of leaves",
        ),
    ],
    ids=["none", "some"],
)
def test_status_says_whether_there_are_challenges(
    terms: Terms,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    client, _ = client_of(LocalFederation(tmp_path, terms=terms))
    monkeypatch.setattr(FederationOptions, "connect", contextmanager(lambda _: iter([client])))
    status.status(network=None, deployment="x", folder=tmp_path, address=False, as_json=False)
    assert f"challenges {words}" in " ".join(capsys.readouterr().out.split())
    status.status(network=None, deployment="x", folder=tmp_path, address=False, as_json=True)
    view = json.loads(capsys.readouterr().out)
    assert view["challenge_seconds"] == terms.challenge_seconds
    assert view.get("challenges") == (None if terms.challenge_seconds else words)


def test_status_and_watch_show_engine_and_committee(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    local = LocalFederation(tmp_path, terms=replace(TERMS, engine=Engine.COMMITTEE))
    local.play()  # everybody votes, and draws the committee of the next round
    client, _ = client_of(local)
    view = status_view(client)
    assert (view["mode"], view["engine"]) == ("partial", "committee")
    assert view["committee"] == list(local.history.rounds[2].committee)
    assert len(view["committee"]) == 3
    status._print(view)
    screen = " ".join(capsys.readouterr().out.split())
    assert f"mode partial engine committee committee {', '.join(view['committee'])}" in screen
    assert "captured never by 1 of " in screen
    assert "3 of 3 members decide" in screen
    assert view["capture"] is not None
    assert [case["miners"] for case in view["capture"]["cases"]] == [len(local.history.miners)]
    events = event_stream.EventStream(client.ledger.contract, client.block).read()
    assert [line for line in map(watch.words, events) if " is open" in line] == [
        "round 1 is open, led by committee",
        "round 2 is open, led by a committee of 3",
    ]


def test_watch_tells_every_event_in_words(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    local.play()
    client, _ = client_of(local)
    lines = []
    for event in event_stream.follow_events(client, from_start=True, poll=0.01):
        lines.append(watch.words(event))
        if event.name == "Finalized":
            break
    assert lines[0] == "the federation was deployed"
    assert sum("revealed" in line for line in lines) >= 1
    assert lines[-1].startswith("round 1 is final: block 0x")
    assert not any("(" in line for line in lines)


def test_watch_goes_on_when_the_node_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    local = LocalFederation(tmp_path)
    client, fork = client_of(local)
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        fork.away = len(pauses) < 4
        if len(pauses) == 5:
            local.play()

    monkeypatch.setattr("bcfl.federation.event_stream.time.sleep", sleep)
    event = next(event_stream.follow_events(client, from_start=False, poll=1.0))
    assert event.name == "Committed"
    assert pauses == [1, 2, 4, 8, 1]


def test_foreign_text_cannot_write_to_the_terminal() -> None:
    class Announced:
        name = "Announced"
        args: Mapping[str, Any] = {"miner": "0x" + "a" * 40, "endpoint": "http://x\x1b[2J{miner}"}

    assert "\x1b" not in watch.words(Announced())  # type: ignore[arg-type]


def test_watch_serves_its_metrics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    local = LocalFederation(tmp_path)
    local.play()
    client, _ = client_of(local)

    @contextmanager
    def connect(_: object) -> Iterator[object]:
        yield client

    pages: list[str] = []

    def read(event: object, as_json: bool) -> None:
        del event, as_json
        (place,) = [text.split()[-1] for text in written if text.startswith("metrics at")]
        pages.append(requests.get(place, timeout=ANSWER).text)

    written: list[str] = []
    monkeypatch.setattr(FederationOptions, "connect", connect)
    monkeypatch.setattr(watch, "_report", written.append)
    monkeypatch.setattr(watch, "_print", read)
    assert main(["watch", "--all", "--rounds", "1", "--metrics", "127.0.0.1:0"]) == 0
    assert 'bcfl_events_total{event="Genesis"} 1\n' not in pages[0]
    assert 'bcfl_events_total{event="Genesis"} 1\n' in pages[1]
    assert main(["watch", "--metrics", "nowhere"]) == 2
    assert "--metrics nowhere is not HOST:PORT" in capsys.readouterr().err
