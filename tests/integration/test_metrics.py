"""Prometheus reads every process, and the dashboard asks for nothing that no process serves."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
import requests

from bcfl.federation import metrics
from bcfl.federation.daemon import Daemon
from bcfl.federation.event_stream import EventStream
from bcfl.federation.observers import STALL_SECONDS, ChainObserver, WatchObserver
from bcfl.ledger.contract import Event
from bcfl.ledger.devnet.server import serve as serve_chain
from bcfl.relay.counters import Counters, label
from bcfl.relay.statements import Statement
from tests.daemons import client_of, daemons, until_closed
from tests.integration.relay.test_inbox import ServedInbox
from tests.local_federation import LocalFederation
from tests.processes import ANSWER

DASHBOARD = Path(__file__).parents[2] / "docs" / "grafana.json"
NAME = re.compile(r"\bbcfl_[a-z_]+")


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> list[Daemon]:
    """The daemons of a federation after a round, the first of them a device."""
    local = LocalFederation(tmp_path_factory.mktemp("metrics"))
    running = daemons(local)
    until_closed(local, running, 1)
    return running


def served(daemon: Daemon) -> str:
    with metrics.serve(daemon, "127.0.0.1", 0) as url:
        answer = requests.get(f"{url}/metrics", timeout=ANSWER)
        health = requests.get(f"{url}/healthz", timeout=ANSWER).json()
        assert requests.get(f"{url}/other", timeout=ANSWER).status_code == 404
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert health["account"] == daemon.account.address
    return answer.text


def values(text: str) -> dict[str, float]:
    pairs = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in pairs}


def test_a_device_is_read_too(played: list[Daemon]) -> None:
    numbers = values(served(played[0]))
    assert numbers["bcfl_round"] >= 1
    assert numbers["bcfl_acts_total"] > 0
    assert numbers["bcfl_stake_ether"] == 0
    assert 0 <= numbers["bcfl_turn_age_seconds"] < 600
    miner = values(served(played[-1]))
    assert miner["bcfl_stake_ether"] > 0
    assert miner["bcfl_weight"] >= 1


def test_every_metric_of_the_dashboard_is_served(played: list[Daemon], tmp_path: Path) -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    asked = {
        name
        for panel in dashboard["panels"]
        for target in panel["targets"]
        for name in NAME.findall(target["expr"])
    }
    statement = Statement(1, bytes(32), "device", played[0].account.address, 3, 0.5, {"f1": None})
    metrics.show(played[0].counters, statement)
    inbox = ServedInbox(tmp_path)
    inbox.status("/v1/commitments", b"{}", inbox.device)
    text = served(played[0]) + requests.get(f"{inbox.server.url}/metrics", timeout=ANSWER).text
    inbox.server.stop()
    with serve_chain(None, [], port=0) as chain:
        observer = ChainObserver(chain.node, tmp_path)
        requests.post(chain.url, json={"method": "eth_chainId", "id": 1}, timeout=ANSWER)
        text += observer.counters.text()
    watch = WatchObserver(client_of(LocalFederation(tmp_path / "watched"))[0])
    watch.hear(Event("Genesis", {}, 0, 0, bytes(32), 0, ""))
    text += watch.counters.text()
    names = set(re.findall(r"^(bcfl_[a-z_]+)", text, re.MULTILINE))
    assert len(asked) >= 12
    assert asked <= names
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_a_watch_is_read_too(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path, devices=3, miners=3)
    client, fork = client_of(local)
    observer = WatchObserver(client)
    with metrics.serve(observer, "127.0.0.1", 0) as url:
        local.play()
        for event in EventStream(client.ledger.contract, 0).read():
            observer.hear(event)
        observer.after(lambda: None)()
        numbers = values(requests.get(f"{url}/metrics", timeout=ANSWER).text)
        assert (numbers["bcfl_round"], numbers["bcfl_phase"]) == (2, 0)
        assert (numbers["bcfl_rounds_total"], numbers["bcfl_model_ledger_blocks"]) == (1, 2)
        assert numbers['bcfl_events_total{event="Voted"}'] == 3
        fork.away = True
        observer.fail()
        observer.after(lambda: None)()
        numbers = values(requests.get(f"{url}/metrics", timeout=ANSWER).text)
        assert (numbers["bcfl_round"], numbers["bcfl_failures_total"]) == (2, 1)
        assert requests.get(f"{url}/healthz", timeout=ANSWER).json()["ok"]
        observer._last_read -= STALL_SECONDS
        assert requests.get(f"{url}/healthz", timeout=ANSWER).status_code == 503


def test_a_metrics_name_cannot_end_its_label() -> None:
    counters = Counters()
    name = 'x"} 1\nbcfl_stake_ether 9\\'
    metrics.show(counters, Statement(1, bytes(32), "miner", "0x", 3, None, {name: 0.5}))
    lines = [line for line in counters.text().splitlines() if not line.startswith("#")]
    assert len(lines) == 4
    assert lines[0] == "bcfl_stated_loss nan"
    assert math.isnan(float(lines[0].split()[1]))
    assert lines[1] == r'bcfl_stated_metric{metric="x\"} 1\nbcfl_stake_ether 9\\"} 0.5'
    assert label("a", "b") == 'a="b"'


def test_a_port_that_is_taken_is_told_in_one_line(played: list[Daemon]) -> None:
    from bcfl.errors import ConfigError

    with metrics.serve(played[0], "127.0.0.1", 0) as url:
        port = int(url.rpartition(":")[2])
        with pytest.raises(ConfigError) as caught, metrics.serve(played[0], "127.0.0.1", port):
            pass
    assert "\n" not in str(caught.value)
