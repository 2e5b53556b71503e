"""Serve a miner's inbox on a socket: messages are bounded, parsed strictly and judged by the miner.

POST /v1/commitments   a device's commitment            204, or
POST /v1/updates       a device's opened commitment     400 malformed  403 not its sender's  409 refused
POST /v1/batches       another miner's opened batch     411 413 no length, too long  429 503 not now
POST /v1/openings      another miner's verdicts
POST /v1/keys          a member's request for keys      200 with the sealed answer
POST /v1/statements    what a member states of a model
GET  /v1/batches/N     the commitments of this miner's batch of round N, or 404
GET  /v1/statements/N  rounds and CIDs of statements from round N on, a page; /N/K goes on behind K of them
GET  /v1/statements/CID  the bytes of one of the latest
GET  /healthz          200 while the miner follows the chain, else 503
GET  /metrics          counters in the text format of Prometheus
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from bcfl.errors import BcflError, RelayError
from bcfl.ports import Inbox, Ledger
from bcfl.protocol.requests import KeyRequest
from bcfl.relay.book import StatementBook
from bcfl.relay.counters import PROMETHEUS, Counters
from bcfl.relay.envelope import HEADER, sender
from bcfl.relay.mailbox import Busy, Mailbox
from bcfl.relay.messages import (
    MAX_BYTES,
    BatchMessage,
    CommitmentMessage,
    CommitmentsMessage,
    KeyRequestMessage,
    OpeningMessage,
    UpdateMessage,
)
from bcfl.relay.statements import open_statement
from bcfl.transport.server import Handler, Limits, Server
from bcfl.transport.tls import TlsFiles

__all__ = ["Counters", "Forbidden", "InboxServer", "Refused"]

# The devices of one institution share an address: 64 of them, a few messages each at a time.
LIMITS: Final = Limits(
    body_bytes=MAX_BYTES,
    connections=64,
    per_address=32,
    idle_seconds=10,
    reading_seconds=10,
    answer_seconds=10,
    rate=64,
    burst=512,
)
BYTES: Final = "application/octet-stream"
BATCH: Final = re.compile(r"/v1/batches/([0-9]{1,9})", re.ASCII)
STATEMENTS: Final = re.compile(r"/v1/statements/([0-9]{1,9})(?:/([0-9]{1,4}))?", re.ASCII)
STATEMENT: Final = re.compile(r"/v1/statements/(b[a-z2-7]{58})", re.ASCII)
KINDS: Final = {
    "/v1/statements": "statement",
    "/v1/commitments": "commitment",
    "/v1/updates": "update",
    "/v1/batches": "batch",
    "/v1/openings": "opening",
    "/v1/keys": "keys",
}
Health = Callable[[], tuple[bool, Mapping[str, Any]]]  # whether all is well, and details


class InboxServer(Server):
    """The inbox of `miner` at `host`:`port` (0: a free one); the owner of `mailbox` judges the messages.

    `ledger` and `inbox` are used by the owner only, but for `inbox.batch`, which reads one record. `refresh`
    has the ledger read the chain anew for a message. `ready` answers a request for keys from any thread, None
    where the owner has to.
    """

    def __init__(
        self,
        miner: str,
        inbox: Inbox,
        ledger: Ledger,
        mailbox: Mailbox,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        health: Health = lambda: (True, {}),
        counters: Counters | None = None,
        book: StatementBook | None = None,
        limits: Limits = LIMITS,
        tls: TlsFiles | None = None,
        refresh: Callable[[], None] = lambda: None,
        ready: Callable[[KeyRequest], bytes | None] = lambda _: None,
    ) -> None:
        self.book = book
        self.miner, self.inbox, self.ledger, self.mailbox = miner, inbox, ledger, mailbox
        self._refresh, self._ready = refresh, ready
        self.domain, self.health, self.counters = ledger.domain, health, counters or Counters()
        super().__init__(host, port, _InboxHandler, limits, tls=tls)

    def deliver(self, path: str, body: bytes, account: str) -> bytes:
        """Have the miner judge a message that `account` sent, and return its answer, empty of most.

        Raises Busy, Forbidden when `account` may not send it, Refused, or RelayError for a malformed one.
        """
        if path == "/v1/keys":
            return self._answer(KeyRequestMessage.parse(body).unwrap(), account)
        if path == "/v1/statements":
            self._take_statement(body, account)
        elif path == "/v1/commitments":
            commitment = CommitmentMessage.parse(body).unwrap()
            self._judge(account, commitment.device, lambda: self.inbox.take_commitment(commitment))
        elif path == "/v1/updates":
            signed_update = UpdateMessage.parse(body).unwrap()
            device = signed_update.update.device
            self._judge(account, device, lambda: self.inbox.take_update(signed_update))
        elif path == "/v1/batches":
            batch = BatchMessage.parse(body).unwrap()
            _require_sender(account, batch.submitter)
            self._judge(account, None, lambda: self.inbox.take_batch(batch))
        else:
            opening = OpeningMessage.parse(body).unwrap()
            _require_sender(account, opening.miner)
            self._judge(account, None, lambda: self.inbox.take_opening(opening))
        return b""

    def _answer(self, request: KeyRequest, account: str) -> bytes:
        """Have the miner answer a request for keys, which says itself who may ask."""
        _require_sender(account, request.account)
        known = self._ready(request)
        if known is not None:
            return known
        answers: list[bytes] = []

        def answer() -> None:
            self._refresh()
            try:
                answers.append(self.inbox.answer(request))
            except RelayError as error:
                raise Refused(str(error)) from None

        self.mailbox.submit(answer)
        return answers[0]

    def _take_statement(self, body: bytes, account: str) -> None:
        """Keep a statement; its own signature counts, and who sent it must have made it."""
        book = self.book
        if book is None:
            raise Refused("this miner lists no statements")
        statement = open_statement(body, self.domain)
        _require_sender(account, statement.party)

        def keep() -> None:
            try:
                book.take(body, self.ledger.history())
            except RelayError as error:
                raise Refused(str(error)) from None

        self.mailbox.submit(keep)

    def _judge(self, account: str, device: int | None, take: Callable[[], None]) -> None:
        """Have the owner judge a message, if a member sent it: the device that it names, else a miner."""

        def judge() -> None:
            self._refresh()  # a message may be about a transaction that was mined a moment ago
            history = self.ledger.history()
            if device is None and account not in history.miners:
                raise Forbidden(f"{account} is not a miner")
            if device is not None and history.device_index(account) != device:
                raise Forbidden(f"{account} is not device {device}")
            try:
                take()
            except RelayError as error:
                raise Refused(str(error)) from None

        self.mailbox.submit(judge)


class Forbidden(RelayError):
    """A message that its sender may not send."""


class Refused(RelayError):
    """A message that the miner has no use for."""


def _require_sender(account: str, author: str) -> None:
    """Raise Forbidden unless the author that a message names has sent it."""
    if account != author:
        raise Forbidden(f"{account} speaks for {author}")


class _InboxHandler(Handler):
    """The paths of an inbox."""

    server: InboxServer

    def get(self) -> None:
        """Answer with health, counters or a batch."""
        if self.path == "/healthz":
            is_healthy, details = self.server.health()
            self.answer(
                200 if is_healthy else 503, json.dumps({"ok": is_healthy, **details}).encode() + b"\n"
            )
        elif self.path == "/metrics":
            self.answer(200, self.server.counters.text().encode(), PROMETHEUS)
        elif match := BATCH.fullmatch(self.path):
            self._batch(int(match[1]))
        elif match := STATEMENTS.fullmatch(self.path):
            self._statements(int(match[1]), int(match[2] or 0))
        elif match := STATEMENT.fullmatch(self.path):
            data = None if self.server.book is None else self.server.book.data(match[1])
            self.answer(404) if data is None else self.answer(200, data)
        else:
            self.refuse(404, "there is nothing here")

    def _statements(self, first: int, skip: int) -> None:
        book = self.server.book
        entries, following = ([], None) if book is None else book.page(first, skip)
        self.answer(200, json.dumps({"statements": entries, "next": following}).encode())

    def _batch(self, round_: int) -> None:
        try:
            commitments = self.server.inbox.batch(round_)
        except BcflError as error:
            self.refuse(503, str(error))
            return
        if commitments is None:
            self.answer(404)
        else:
            message = CommitmentsMessage.model_construct(round=round_, commitments=list(commitments))
            self.answer(200, message.encode())

    def post(self, body: bytes) -> None:
        """Take a message for the miner."""
        kind = KINDS.get(self.path)
        if kind is None:
            self.refuse(404, "there is nothing here")
            return
        status, answer = self._deliver(body)
        self.server.counters.count("messages_total", f'kind="{kind}",status="{status}"')
        if isinstance(answer, str):
            self.refuse(status, answer)
        elif status == 204:
            self.answer(204)
        else:
            self.answer(status, answer, BYTES)

    def _deliver(self, body: bytes) -> tuple[int, str | bytes]:
        """Deliver a message and return the status that it gets, and the answer or the reason against it."""
        server = self.server
        account = sender(server.domain, server.miner, self.path, body, self.headers.get(HEADER, ""))
        if account is None:
            return 403, "the message is not signed for this miner"
        try:
            answer = server.deliver(self.path, body, account)
        except Forbidden as error:
            return 403, str(error)
        except Busy as error:
            return 503, str(error)
        except Refused as error:
            return 409, str(error)
        except RelayError as error:
            return 400, str(error)
        except BcflError:  # the node is away: nobody can judge
            return 503, "the message cannot be judged now: try again in a moment"
        return (200, answer) if answer else (204, b"")
