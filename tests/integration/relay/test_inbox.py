"""A real miner's inbox behind a real socket: what honest parties hand in, and everything that others try."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests

from bcfl.errors import RelayError
from bcfl.ports import SignedCommitment
from bcfl.protocol import submissions
from bcfl.protocol.accounts import Account
from bcfl.protocol.submissions import Domain
from bcfl.protocol.types import SignedUpdate
from bcfl.relay.client import Endpoint, HttpInbox
from bcfl.relay.envelope import HEADER, seal
from bcfl.relay.mailbox import Mailbox
from bcfl.relay.messages import MAX_BYTES, CommitmentMessage
from bcfl.relay.server import LIMITS, InboxServer
from bcfl.roles.common.snapshot import take_snapshot
from bcfl.transport.server import Limits
from bcfl.transport.tls import TlsFiles
from tests.certificates import Authority
from tests.local_federation import LocalFederation
from tests.processes import ANSWER

PATH = "/v1/commitments"
TIGHT = Limits(
    body_bytes=MAX_BYTES, connections=8, per_address=4, rate=1000, burst=5000,
    idle_seconds=0.5, reading_seconds=0.5, answer_seconds=2,
)  # fmt: skip


class ServedInbox:
    """The inbox of the miner that device 0 is bound to; `do` calls from a thread while the miner answers."""

    def __init__(self, path: Path, limits: Limits = LIMITS, tls: TlsFiles | None = None) -> None:
        self.local = LocalFederation(path)
        self.miner = self.local.miner_of(0)
        self.device = self.local.device_accounts[0]
        self.mailbox = Mailbox()
        address = self.miner.account.address
        self.server = InboxServer(
            address, self.miner, self.local.ledger, self.mailbox, limits=limits, tls=tls
        )
        self.server.start()

    def do(self, action: Callable[[], Any]) -> Any:
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(action)
            while not future.done():
                self.mailbox.process(0.01)
            return future.result()

    def client(self, account: Account, url: str | None = None) -> HttpInbox:
        endpoint = Endpoint.parse(url or self.server.pinned_url)
        return HttpInbox(self.miner.account.address, endpoint, account, self.local.ledger, 5.0, None)

    def commitment(self, device: int = 0) -> tuple[SignedCommitment, SignedUpdate]:
        local = self.local
        snapshot = take_snapshot(local.ledger)
        assert snapshot is not None
        local.chain.warp(snapshot.now + 1)  # type: ignore[union-attr]
        update = local.device_parties[device].trainer.update(snapshot, device)
        digest = submissions.commitment(local.ledger.domain, update)
        signature = local.device_accounts[device].sign(digest)
        return SignedCommitment(1, device, digest, signature), SignedUpdate(update, signature)

    def status(
        self, path: str, body: bytes, account: Account | None = None, domain: Domain | None = None
    ) -> int:
        """Status that a message gets, signed by `account` (nobody if None) for `domain` (the inbox's own)."""
        headers = {}
        if account is not None:
            ledger = self.local.ledger
            headers[HEADER] = seal(account, domain or ledger.domain, self.miner.account.address, path, body)
        code: int = self.do(
            lambda: requests.post(self.server.url + path, body, headers=headers, timeout=ANSWER)
        ).status_code
        return code


@pytest.fixture
def inbox(tmp_path: Path) -> Iterator[ServedInbox]:
    server = ServedInbox(tmp_path)
    yield server
    server.server.stop()


@pytest.fixture
def tight(tmp_path: Path) -> Iterator[ServedInbox]:
    server = ServedInbox(tmp_path, TIGHT)
    yield server
    server.server.stop()


def encoded(message: SignedCommitment) -> bytes:
    return CommitmentMessage.of(message).encode()


def test_default_behavior(inbox: ServedInbox) -> None:
    commitment, update = inbox.commitment()
    client = inbox.client(inbox.device)
    inbox.do(lambda: client.take_commitment(commitment))
    inbox.do(lambda: client.take_update(update))
    assert inbox.miner.inbox.commitments == {0: commitment}
    assert inbox.miner.inbox.updates == {commitment.commitment: update}
    assert inbox.do(lambda: client.batch(1)) is None
    for device in (d for d in range(1, 4) if inbox.local.miner_of(d) is inbox.miner):
        other, _ = inbox.commitment(device)
        other_client = inbox.client(inbox.local.device_accounts[device])
        inbox.do(partial(other_client.take_commitment, other))
    assert inbox.miner.act() is not None
    assert commitment.commitment in inbox.do(lambda: client.batch(1))


def test_a_refusal_is_a_relay_error_with_the_miners_words(inbox: ServedInbox) -> None:
    commitment, _ = inbox.commitment()
    with pytest.raises(RelayError, match="the message is for round 7, and round 1 is running"):
        inbox.do(lambda: inbox.client(inbox.device).take_commitment(replace(commitment, round=7)))


def test_a_message_for_another_chain_contract_or_inbox_is_refused(inbox: ServedInbox) -> None:
    body = encoded(inbox.commitment()[0])
    domain = inbox.local.ledger.domain
    for other in (replace(domain, chain_id=1), replace(domain, contract=inbox.device.address)):
        assert inbox.status(PATH, body, inbox.device, other) == 403
    assert inbox.status(PATH, body, inbox.device) == 204


def test_nobody_can_replay_what_a_device_signed_in_an_earlier_round(inbox: ServedInbox) -> None:
    """They are public after a round, and the round's number is not under the signature inside."""
    old, _ = inbox.commitment()
    body = encoded(old)
    for thief in (None, Account.derive(0, "outsider"), inbox.local.device_accounts[1], inbox.miner.account):
        assert inbox.status(PATH, body, thief) == 403
    assert inbox.miner.inbox.commitments == {}


def test_a_message_may_come_twice(inbox: ServedInbox) -> None:
    body = encoded(inbox.commitment()[0])
    assert [inbox.status(PATH, body, inbox.device) for _ in range(2)] == [204, 204]


def test_only_miners_hand_in_batches_and_verdicts_and_only_their_own(inbox: ServedInbox) -> None:
    outsider, other = Account.derive(0, "outsider"), inbox.local.miner_parties[0].account
    if other.address == inbox.miner.account.address:
        other = inbox.local.miner_parties[1].account
    salt, batch = "00" * 32, {"round": 1, "commitments": [], "updates": []}
    for account, subject, status in (
        (outsider, outsider, 403),
        (outsider, other, 403),
        (other, other, 409),  # it has committed nothing
    ):
        opening = {"round": 1, "miner": subject.address, "verdicts": [], "wish": 0, "salt": salt}
        assert inbox.status("/v1/openings", json.dumps(opening).encode(), account) == status
        body = json.dumps({**batch, "submitter": subject.address}).encode()
        assert inbox.status("/v1/batches", body, account) == status
    assert inbox.miner.inbox.openings == {}


@pytest.mark.parametrize("body", [b"", b"{}", b"[" * 1000, b"\xff" * 100, b'{"round": 1e999}', b"null"])
def test_malformed_messages_are_refused(inbox: ServedInbox, body: bytes) -> None:
    for path in (PATH, "/v1/updates", "/v1/batches", "/v1/openings"):
        assert inbox.status(path, body, inbox.device) == 400


def test_a_flipped_byte_is_refused(inbox: ServedInbox) -> None:
    body = encoded(inbox.commitment()[0])
    message = json.loads(body)
    message["signature"] = ("0" if message["signature"][0] != "0" else "1") + message["signature"][1:]
    assert inbox.status(PATH, json.dumps(message).encode(), inbox.device) == 409
    assert inbox.miner.inbox.commitments == {}


def raw(url: str, data: bytes, seconds: float = 3.0) -> bytes:
    """Send some bytes and return the answer."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), seconds) as connection:
        connection.sendall(data)
        answer = b""
        try:
            while piece := connection.recv(65_536):
                answer += piece
        except ConnectionResetError:
            pass
        return answer


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"POST /v1/updates HTTP/1.1\r\nContent-Length: 999999999999\r\n\r\n", b"413"),
        (b"POST /v1/updates HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (MAX_BYTES + 1), b"413"),
        (b"POST /v1/updates HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"411"),
        (b"POST /v1/updates HTTP/1.1\r\n\r\n", b"411"),
        (b"POST /v1/updates HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", b"411"),
        (b"POST /v1/updates HTTP/1.1\r\nOrigin: http://evil\r\nContent-Length: 2\r\n\r\n{}", b"403"),
        (b"POST /v1/else HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", b"404"),
        (b"GET /../../etc/passwd HTTP/1.1\r\n\r\n", b"404"),
        (b"GET /healthz HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", b"400"),
        (b"GET /healthz HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"400"),
        (b"GET /v1/batches/-1 HTTP/1.1\r\n\r\n", b"404"),
        (b"GET /v1/batches/99999999999 HTTP/1.1\r\n\r\n", b"404"),
        (b"DELETE / HTTP/1.1\r\n\r\n", b"405"),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n", b"431"),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", b"414"),
        (b"\x16\x03\x01\x02\x00\x01\x00\n\n", b"400"),
    ],
)
def test_what_is_out_of_order_is_refused_before_it_is_read(
    inbox: ServedInbox, data: bytes, status: bytes
) -> None:
    assert raw(inbox.server.url, data).split(b" ", 2)[1] == status


def test_an_encrypted_inbox(tmp_path: Path) -> None:
    """A device believes the certificate that the miner has announced, and no other one."""
    authority = Authority.make(tmp_path / "ca")
    inbox = ServedInbox(tmp_path / "inbox", tls=authority.issue("elsewhere.example"))
    try:
        commitment, update = inbox.commitment()
        client = inbox.client(inbox.device)
        inbox.do(lambda: client.take_commitment(commitment))
        assert inbox.miner.inbox.commitments == {0: commitment}
        wrong = authority.issue("127.0.0.1", name="other").load().fragment
        for url, reason in (
            (inbox.server.url + wrong, "another certificate than the pinned one"),
            (inbox.server.url, "no CA that is known here vouches"),
        ):
            client = inbox.client(inbox.device, url)
            began = time.monotonic()
            with pytest.raises(RelayError, match=reason):
                inbox.do(partial(client.take_update, update))
            assert time.monotonic() - began < 3  # what no other try can mend is not tried again
    finally:
        inbox.server.stop()
    assert inbox.miner.inbox.updates == {}


def test_slow_clients_lose_their_places(tight: ServedInbox) -> None:
    """Each of them sends a byte now and then; the places come free all the same."""
    host, port = tight.server.url.removeprefix("http://").split(":")
    slow = [socket.create_connection((host, int(port))) for _ in range(4)]
    stop = threading.Event()

    def drip() -> None:
        while not stop.is_set():
            for connection in slow:
                try:
                    connection.send(b"P")
                except OSError:
                    continue
            time.sleep(0.05)

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        assert (
            raw(tight.server.url, b"GET /healthz HTTP/1.1\r\n\r\n")[:12] == b"HTTP/1.1 503"
        )  # its address is full
        time.sleep(1.0)
        assert raw(tight.server.url, b"GET /healthz HTTP/1.1\r\n\r\n")[:12] == b"HTTP/1.1 200"
    finally:
        stop.set()
        thread.join()
        for connection in slow:
            connection.close()


def test_a_flood_is_cut_off_and_memory_stays(tmp_path: Path) -> None:
    limits = replace(
        TIGHT, per_address=8, idle_seconds=1, reading_seconds=1, answer_seconds=1, rate=1, burst=50
    )
    inbox = ServedInbox(tmp_path, limits)
    body = b"[" + b"1," * (MAX_BYTES // 2 - 2) + b"1]"
    request = (
        b"POST %s HTTP/1.1\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (PATH.encode(), len(body))
        + body
    )
    memory_bytes = resident()
    try:
        statuses = [raw(inbox.server.url, request)[9:12] for _ in range(60)]
    finally:
        inbox.server.stop()
    assert statuses[:50] == [b"403"] * 50
    assert b"429" in statuses[50:]
    assert resident() - memory_bytes < 32 * 2**20


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_health_and_metrics(inbox: ServedInbox) -> None:
    inbox.status(PATH, b"{}", inbox.device)
    assert requests.get(inbox.server.url + "/healthz", timeout=ANSWER).json() == {"ok": True}
    text = requests.get(inbox.server.url + "/metrics", timeout=ANSWER).text
    assert 'bcfl_messages_total{kind="commitment",status="400"} 1' in text
