"""The explorer's reader follows a chain: what comes, what is taken back, and a node that is away."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from bcfl.errors import ConfigError, LedgerError
from bcfl.explorer import reader as readers
from bcfl.explorer.measuring import Measuring
from bcfl.explorer.reader import Reader
from bcfl.explorer.target import Target, identify
from bcfl.federation.inbox_statements import SECONDS
from bcfl.federation.query import Query, RemoteQuery
from bcfl.protocol.types import Phase
from tests.daemons import client_of
from tests.local_federation import LocalFederation


def state(query: Query) -> tuple[int, list[bytes], Phase]:
    return len(query.events), [block.root for block in query.history.blocks], query.clock.phase


def test_a_reader_follows_the_chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "AWAY_SECONDS", 0.0)
    local = LocalFederation(tmp_path / "a", devices=3, miners=3)
    client, fork = client_of(local)
    openings = 0

    @contextmanager
    def opener() -> Iterator[Query]:
        nonlocal openings
        openings += 1
        yield RemoteQuery(client, local.store)

    reader = Reader(Target(opener))
    try:
        assert reader.look(state)[1] == [local.history.blocks[0].root]
        for phase in (Phase.REVEAL, Phase.VOTE):
            local.until(phase)
            assert reader.look(state)[2] is phase
        local.play()
        with opener() as fresh:
            assert reader.look(state) == state(fresh)
        assert openings == 2  # the reader's, and that of this test

        reader.cache["kept"] = True
        before = reader.look(state)
        fork.away = True
        assert reader.look(state) == before
        assert "is the node running" in str(reader.away)
        fork.away = False
        assert reader.look(state) == before
        assert not reader.away

        other = LocalFederation(tmp_path / "b", devices=3, miners=3)
        other.leave_in(Phase.UNVEIL, other.miner_parties[1])
        other.play(2)
        assert other.contract == local.contract
        assert other.chain is not None
        fork.chain = other.chain
        assert reader.look(state)[1] == [block.root for block in other.history.blocks]
        assert reader.cache == {}
        assert openings == 3
    finally:
        reader.close()


def test_silent_inboxes_hold_the_explorer_a_moment_and_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    local = LocalFederation(tmp_path, devices=3, miners=3)
    query = RemoteQuery(client_of(local)[0], local.store)
    measuring = Measuring(Reader(Target(nullcontext)), lambda: None)  # type: ignore[arg-type]
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()
        query.history.endpoints.update(dict.fromkeys(query.history.miners, f"http://{host}:{port}"))
        begin = time.monotonic()
        assert measuring._ask(query)  # pages hear of it
        assert time.monotonic() - begin < SECONDS
    assert set(measuring.statements.unreachable) == set(query.history.miners)


def test_a_node_that_is_away_from_the_beginning_is_told(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path, devices=3, miners=3)
    client, fork = client_of(local)

    @contextmanager
    def opener() -> Iterator[Query]:
        yield RemoteQuery(client, local.store)

    fork.away = True
    reader = Reader(Target(opener))
    try:
        with pytest.raises(LedgerError, match="is the node running"):
            reader.look(state)
        fork.away = False
        assert reader.look(state)[0] > 0
    finally:
        reader.close()


@pytest.mark.parametrize(
    "explorer", ["javascript:alert(1)", 'https://x.example/"><script>', "//x.example", "ftp://x"]
)
def test_links_lead_to_web_pages_only(tmp_path: Path, explorer: str) -> None:
    local = LocalFederation(tmp_path, devices=1, miners=1)
    client, _ = client_of(local)
    named = replace(client, network=replace(client.network, explorer=explorer))
    with pytest.raises(ConfigError, match="no http:// or https:// address"):
        identify(RemoteQuery(named, local.store))
    named = replace(client, network=replace(client.network, explorer="https://x.example/"))
    assert identify(RemoteQuery(named, local.store)).explorer == "https://x.example"
