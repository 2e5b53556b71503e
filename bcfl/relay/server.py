"""A miner's desk behind a socket (steps 3 to 7): what comes is bounded, parsed strictly, judged by the miner.

POST /v1/commitments   a device's commitment            204, or
POST /v1/updates       a device's opened commitment     400 malformed  403 not its sender's  409 refused
POST /v1/batches       another miner's opened batch     411 413 no length, too long  429 503 not now
POST /v1/openings      another miner's verdicts
GET  /v1/batches/N     the commitments of this miner's batch of round N, or 404
GET  /healthz          200 while the miner follows the chain, else 503
GET  /metrics          counters in the text format of Prometheus
"""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

from bcfl.errors import BcflError, RelayError
from bcfl.ports import Inbox, Ledger
from bcfl.relay.envelope import HEADER, sender
from bcfl.relay.mailbox import Busy, Mailbox
from bcfl.relay.messages import (
    MAX_BYTES,
    BatchMessage,
    CommitmentMessage,
    CommitmentsMessage,
    OpeningMessage,
    UpdateMessage,
)
from bcfl.transport.server import Handler, Limits, Server

# Devices of one site share an address: 64 of them, a few messages each at a time.
LIMITS: Final = Limits(
    body=MAX_BYTES, connections=64, per_address=32, idle=10, reading=10, answer=10, rate=64, burst=512
)
BATCH: Final = re.compile(r"/v1/batches/([0-9]{1,9})", re.ASCII)
KINDS: Final = {
    "/v1/commitments": "commitment",
    "/v1/updates": "update",
    "/v1/batches": "batch",
    "/v1/openings": "opening",
}
Health = Callable[[], tuple[bool, Mapping[str, Any]]]


class Counters:
    """Numbers that only grow, and numbers that do not, by name and label; from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()
        self._gauges: dict[str, float] = {}

    def count(self, name: str, label: str = "") -> None:
        """Add one."""
        with self._lock:
            self._counts[name, label] += 1

    def set(self, name: str, value: float) -> None:
        """Replace a number."""
        with self._lock:
            self._gauges[name] = value

    def text(self) -> str:
        """All of them as Prometheus reads them."""
        with self._lock:
            counts, gauges = sorted(self._counts.items()), sorted(self._gauges.items())
        lines: list[str] = []
        for (name, label), number in counts:
            lines += (
                []
                if any(line.startswith(f"# TYPE bcfl_{name} ") for line in lines)
                else [f"# TYPE bcfl_{name} counter"]
            )
            lines.append(f"bcfl_{name}{{{label}}} {number}" if label else f"bcfl_{name} {number}")
        for name, value in gauges:
            lines += [f"# TYPE bcfl_{name} gauge", f"bcfl_{name} {value:g}"]
        return "\n".join(lines) + "\n"


class InboxServer(Server):
    """The desk of `miner` at `host`:`port` (0: a free one); who attends `mailbox` judges the messages.

    `ledger` and `desk` are used there only, but for `desk.batch`, which reads one record.
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
        limits: Limits = LIMITS,
    ) -> None:
        self.miner, self.inbox, self.ledger, self.mailbox = miner, inbox, ledger, mailbox
        self.domain, self.health, self.counters = ledger.domain, health, counters or Counters()
        super().__init__(host, port, _InboxHandler, limits)

    def take(self, path: str, body: bytes, account: str) -> None:
        """Judge a message that `account` sent; raises RelayError, or Forbidden if it is not its own."""
        if path == "/v1/commitments":
            commitment = CommitmentMessage.parsed(body).opened()
            self._judge(account, commitment.device, lambda: self.inbox.take_commitment(commitment))
        elif path == "/v1/updates":
            update = UpdateMessage.parsed(body).opened()
            self._judge(account, update.update.device, lambda: self.inbox.take_update(update))
        elif path == "/v1/batches":
            batch = BatchMessage.parsed(body).opened()
            _own(account, batch.submitter)
            self._judge(account, None, lambda: self.inbox.take_batch(batch))
        else:
            opening = OpeningMessage.parsed(body).opened()
            _own(account, opening.miner)
            self._judge(account, None, lambda: self.inbox.take_opening(opening))

    def _judge(self, account: str, device: int | None, take: Callable[[], None]) -> None:
        """Let the miner judge a message, if it comes from a member: the device that it names, or a miner."""

        def judged() -> None:
            history = self.ledger.history()
            if device is None and account not in history.miners:
                raise Forbidden(f"{account} is not a miner")
            if device is not None and history.device_index(account) != device:
                raise Forbidden(f"{account} is not device {device}")
            try:
                take()
            except RelayError as error:
                raise Refused(str(error)) from None

        self.mailbox.hand(judged)


class Forbidden(RelayError):
    """A message that somebody else than its sender would have to send."""


class Refused(RelayError):
    """A message that the miner has no use for."""


def _own(account: str, named: str) -> None:
    """Insist that a message is about its sender."""
    if account != named:
        raise Forbidden(f"{account} speaks for {named}")


class _InboxHandler(Handler):
    """The paths of a desk."""

    server: InboxServer

    def get(self) -> None:
        """A batch, health, or counters."""
        if self.path == "/healthz":
            well, content = self.server.health()
            self.answer(200 if well else 503, json.dumps({"ok": well, **content}).encode() + b"\n")
        elif self.path == "/metrics":
            self.answer(200, self.server.counters.text().encode(), "text/plain; version=0.0.4")
        elif found := BATCH.fullmatch(self.path):
            self._batch(int(found[1]))
        else:
            self.refuse(404, "there is nothing here")

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
            self.answer(200, message.encoded())

    def post(self, body: bytes) -> None:
        """A message for the miner."""
        kind = KINDS.get(self.path)
        if kind is None:
            self.refuse(404, "there is nothing here")
            return
        status, text = self._taken(body)
        self.server.counters.count("messages_total", f'kind="{kind}",status="{status}"')
        if status == 204:
            self.answer(204)
        else:
            self.refuse(status, text)

    def _taken(self, body: bytes) -> tuple[int, str]:
        """The status that a message gets, and why."""
        inbox = self.server
        account = sender(inbox.domain, inbox.miner, self.path, body, self.headers.get(HEADER, ""))
        if account is None:
            return 403, "the message is not signed for this desk"
        try:
            inbox.take(self.path, body, account)
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
        return 204, ""
