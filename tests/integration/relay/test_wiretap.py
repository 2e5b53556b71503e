"""Who has chain, store and every byte between the parties finds no coordinate of a sealed update."""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bcfl.protocol.fixedpoint import Lanes
from bcfl.protocol.readers import with_key
from bcfl.protocol.sealing import ReaderKey
from bcfl.protocol.types import Layout
from bcfl.relay import client
from bcfl.relay.client import HttpRelay
from bcfl.relay.mailbox import Mailbox
from bcfl.relay.server import InboxServer
from bcfl.roles.common.vault import Vault
from bcfl.transport.client import Answer
from tests.local_federation import CONFIDENTIAL, LAYOUT, MEMBERS, LocalFederation

WINDOW = 4  # lanes in a row that are looked for: 8 bytes, which no chance puts anywhere
ROUNDS = 2


class Wire:
    """Everything that the parties of a federation send one another over sockets."""

    def __init__(self) -> None:
        self.bytes: list[bytes] = []

    def tap(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Record every message and every answer from now on."""
        exchange, body = client.__dict__["exchange"], Answer.body

        def tapped(method: str, url: str, *args: Any, **options: Any) -> Answer:
            headers, content = (*args, None, None, None)[1:3]
            self.bytes += [f"{method} {url} {headers}".encode(), content or b""]
            answer: Answer = exchange(method, url, *args, **options)
            return answer

        def tapped_body(answer: Answer, max_bytes: int) -> bytes:
            content = body(answer, max_bytes)
            self.bytes.append(content)
            return content

        monkeypatch.setattr(client, "exchange", tapped)
        monkeypatch.setattr(Answer, "body", tapped_body)


@contextmanager
def networked(local: LocalFederation) -> Iterator[None]:
    """Let the parties of a federation reach one another over sockets alone."""
    mailbox, servers = Mailbox(), []
    for miner in local.miner_parties:
        server = InboxServer(miner.account.address, miner, local.ledger, mailbox)
        server.start()
        servers.append(server)
        url = server.url
        if local.layout.agreement:
            url = with_key(url, ReaderKey.of(miner.account, local.ledger.domain).public)
        local.ledger.contract.send(miner.account, "announce", url)
    parties: list[Any] = [*local.device_parties, *local.miner_parties]
    for party in parties:
        relay = HttpRelay(party.account, local.ledger, mailbox=mailbox)
        roles = (party, party.context) if hasattr(party, "context") else (party,)
        for role in roles:
            role.relay = relay
        for archive in archives_of(party):
            if isinstance(archive.vault, Vault):
                archive.vault._relay = relay
    try:
        yield
    finally:
        for server in servers:
            server.stop()


def archives_of(party: Any) -> list[Any]:
    """Return the archives that a party reads with."""
    return [party.trainer.archive] if hasattr(party, "trainer") else [party.lead.archive]


def chain_bytes(local: LocalFederation) -> Iterator[bytes]:
    """Yield every transaction and every log of the chain."""
    assert local.chain is not None
    for number in range(int(local.chain.request("eth_blockNumber"), 16) + 1):
        block = local.chain.request("eth_getBlockByNumber", hex(number), True)
        for transaction in block["transactions"]:
            yield bytes.fromhex(transaction["input"][2:])
            receipt = local.chain.request("eth_getTransactionReceipt", transaction["hash"])
            for log in receipt["logs"]:
                yield bytes.fromhex(log["data"][2:])


def traces(lanes: Lanes) -> Iterator[bytes]:
    """Yield what would give lanes, (parameters,), away: any few in a row, as bytes, text or values."""
    for start in range(len(lanes) - WINDOW + 1):
        part = lanes[start : start + WINDOW]
        if not part.any():
            continue
        for kind in ("<i2", ">i2", "<i4", ">i4"):
            data = part.astype(kind).tobytes()
            yield data
            yield data.hex().encode()
        yield (part.astype(np.float64) * 2.0**-14).astype("<f4").tobytes()
        yield ", ".join(map(str, part)).encode()
        yield " ".join(map(str, part)).encode()
    data = lanes.astype("<i2").tobytes()
    for start in range(3):  # base64 begins anew every three bytes
        yield base64.b64encode(data[start : start + 24])[:16]


def leaks(places: dict[str, list[bytes]], lanes: list[Lanes]) -> set[str]:
    """Return the places in which a trace of updates is found."""
    found = set()
    for name, contents in places.items():
        whole = b"\0\xff".join(contents)
        if any(trace in whole for item in lanes for trace in traces(item)):
            found.add(name)
    return found


@pytest.mark.parametrize("layout", [LAYOUT, CONFIDENTIAL, MEMBERS], ids=["public", "confidential", "members"])
def test_no_byte_that_is_stored_sent_or_logged_tells_a_coordinate(
    tmp_path: Path, layout: Layout, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Of a public federation the store tells all: so the search does find what is there."""
    caplog.set_level(logging.DEBUG)
    local, wire = LocalFederation(tmp_path, layout=layout), Wire()
    wire.tap(monkeypatch)
    lanes, models = [], []
    with networked(local):
        for _ in range(ROUNDS):
            round_ = local.play()
            reader = local.miner_parties[0].lead.archive
            lanes += [reader.update(item) for item in round_.submissions]
            models.append(reader.model(local.history.head))
    assert len(lanes) == 4 * ROUNDS
    assert len(wire.bytes) > 50
    places = {
        "store": [file.read_bytes() for file in (tmp_path / "store").rglob("*") if file.is_file()],
        "wire": wire.bytes,
        "chain": list(chain_bytes(local)),
        "log": [record.getMessage().encode() for record in caplog.records],
    }
    assert all(places.values())
    assert leaks(places, lanes) == ({"store"} if layout is LAYOUT else set())
    assert leaks(places, models) == (set() if layout is MEMBERS else {"store"})


def test_lengths_on_the_store_are_those_of_layout_and_voters(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path, layout=CONFIDENTIAL)
    round_ = local.play()
    sizes = local.archive.sizes
    files = {file.name: file.stat().st_size for file in (tmp_path / "store").rglob("*") if file.is_file()}
    assert {files[sizes.update_cid(item)] for item in round_.submissions} == {sizes.update(4)}
