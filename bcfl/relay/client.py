"""Send messages to miners over HTTP: each is reached where it has announced on chain.

An endpoint is foreign text, and whoever answers there is a stranger: http and https only, no redirect
followed, answers bounded in bytes and in time.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from queue import SimpleQueue
from typing import Final
from urllib.parse import urlsplit

from bcfl.errors import RelayError
from bcfl.ports import Batch, Ledger, SignedCommitment
from bcfl.protocol.accounts import Account
from bcfl.protocol.readers import without_key
from bcfl.protocol.requests import KeyRequest, answer_size
from bcfl.protocol.types import Opening, SignedUpdate
from bcfl.relay.envelope import HEADER, seal
from bcfl.relay.mailbox import Mailbox
from bcfl.relay.messages import (
    BatchMessage,
    CommitmentMessage,
    CommitmentsMessage,
    KeyRequestMessage,
    OpeningMessage,
    UpdateMessage,
)
from bcfl.transport.client import PrivateAddress, exchange
from bcfl.transport.deadline import Deadline
from bcfl.transport.tls import Untrusted, pin_of

EXCHANGE_SECONDS: Final = 20.0  # for a message and its answer, tries and pauses included
TRIES: Final = 3
ASKED: Final = 32  # miners asked for keys side by side: half of the most, so that silence holds up nobody
PAUSE_SECONDS: Final = 0.2  # before the second try; twice as long before the next
MAX_ANSWER_BYTES: Final = 16_384  # of a body; the head is bounded by the transport
PRIVATE_VARIABLE: Final = "BCFL_PRIVATE_ENDPOINTS"  # lets endpoints be in private networks
PRIVATE_SETTING: Final = f"private_endpoints = true for the network in bcfl.toml, or {PRIVATE_VARIABLE}=1"
MAX_ENDPOINT_LETTERS: Final = 200
MAX_REASON_LETTERS: Final = 200  # of an answer, in an error
BUSY: Final = frozenset({429, 502, 503, 504})  # statuses that mean "not now"
PATH: Final = re.compile(r"[A-Za-z0-9._~/-]*")


@dataclass(frozen=True)
class Endpoint:
    """The address of a miner's inbox."""

    is_secure: bool
    host: str
    port: int
    path: str  # in front of /v1; without a slash at its end
    pin: str | None = None  # SHA-256 of the certificate; None: a CA vouches for the host

    @classmethod
    def parse(cls, url: str) -> Endpoint:
        """Return the endpoint of a URL; raises RelayError for one that cannot be a miner's."""
        try:
            if len(url) > MAX_ENDPOINT_LETTERS or not url.isascii() or not url.isprintable() or " " in url:
                raise ValueError
            parts = urlsplit(url)
            default = {"http": 80, "https": 443}[parts.scheme]
            port = default if parts.port is None else parts.port
            if not parts.hostname or parts.query or "@" in parts.netloc or not port:
                raise ValueError
            pin = pin_of(urlsplit(without_key(url)).fragment)
            if pin is not None and parts.scheme != "https":
                raise ValueError
            if not PATH.fullmatch(parts.path):
                raise ValueError
            return cls(parts.scheme == "https", parts.hostname, port, parts.path.rstrip("/"), pin)
        except (ValueError, KeyError):
            raise RelayError(
                f"{_line(url)!r} is not an endpoint: it is http://HOST:PORT or https://HOST, "
                "and behind the latter perhaps #sha256= and 64 small hexadecimal letters"
            ) from None

    def url(self, path: str) -> str:
        """Return the URL of a path at the inbox, with the pin."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        fragment = "" if self.pin is None else f"#sha256={self.pin}"
        return f"{'https' if self.is_secure else 'http'}://{host}:{self.port}{self.path}{path}{fragment}"


class HttpRelay:
    """The inboxes that miners announced on chain; every message is signed by `account`.

    `mailbox`: of the party that sends, if it has one, which is processed while the party waits for an answer.
    `only_public`: whether endpoints on this machine and in private networks are refused. On a public chain
    anybody may announce any, and would have others send requests into networks that it does not reach itself.
    """

    def __init__(
        self,
        account: Account,
        ledger: Ledger,
        seconds: float = EXCHANGE_SECONDS,
        mailbox: Mailbox | None = None,
        *,
        only_public: bool = False,
    ) -> None:
        self._account, self._ledger, self._seconds, self._mailbox = account, ledger, seconds, mailbox
        self._only_public = only_public

    def inbox(self, miner: str) -> HttpInbox:
        """Return the inbox of a miner; raises RelayError if it has announced none that can be reached."""
        url = self._ledger.history().endpoints.get(miner)
        if not url:
            raise RelayError(f"miner {miner} has not announced where it is reached")
        endpoint = Endpoint.parse(url)
        return HttpInbox(
            miner, endpoint, self._account, self._ledger, self._seconds, self._mailbox, self._only_public
        )

    def ask(self, miners: Sequence[str], request: KeyRequest) -> Iterator[tuple[str, bytes]]:
        """Yield what miners answer to a request for keys as it comes, ASKED of them asked side by side.

        Where they are is looked up here: the ledger belongs to this thread. Who is silent is waited for only
        by who reads to the end.
        """
        direct = HttpRelay(self._account, self._ledger, self._seconds, only_public=self._only_public)
        inboxes = list[HttpInbox]()
        for miner in miners:
            with suppress(RelayError):
                inboxes.append(direct.inbox(miner))
        answers: SimpleQueue[tuple[str, bytes] | None] = SimpleQueue()
        for inbox in inboxes[:ASKED]:
            _ask_beside(inbox, request, answers)
        for place in range(len(inboxes)):
            pair = answers.get() if self._mailbox is None else self._mailbox.process_during(answers.get)
            for inbox in inboxes[ASKED + place : ASKED + place + 1]:
                _ask_beside(inbox, request, answers)
            if pair is not None:
                yield pair


class HttpInbox:
    """The inbox of one miner behind a socket.

    Every method raises RelayError when the miner refuses or does not answer.
    """

    def __init__(
        self,
        miner: str,
        endpoint: Endpoint,
        account: Account,
        ledger: Ledger,
        seconds: float,
        mailbox: Mailbox | None,
        only_public: bool = False,
    ) -> None:
        self.miner, self._endpoint, self._seconds = miner, endpoint, seconds
        self._only_public = only_public
        self._account, self._ledger, self._mailbox = account, ledger, mailbox

    def take_commitment(self, message: SignedCommitment) -> None:
        """Send a device's commitment."""
        self._post("/v1/commitments", CommitmentMessage.of(message).encode())

    def take_update(self, message: SignedUpdate) -> None:
        """Send a device's opened commitment."""
        self._post("/v1/updates", UpdateMessage.of(message).encode())

    def take_batch(self, message: Batch) -> None:
        """Send an opened batch."""
        self._post("/v1/batches", BatchMessage.of(message).encode())

    def take_opening(self, message: Opening) -> None:
        """Send opened verdicts."""
        self._post("/v1/openings", OpeningMessage.of(message).encode())

    def take_statement(self, statement: bytes) -> None:
        """Send a signed statement of the sender's own, for the miner to list."""
        self._post("/v1/statements", statement)

    def batch(self, round_: int) -> tuple[bytes, ...] | None:
        """Return the commitments of the miner's batch of a round; None if it has none."""
        status, body = self._ask("GET", f"/v1/batches/{round_}", None)
        if status == 404:
            return None
        if status != 200:
            raise RelayError(f"miner {self.miner} refuses: {_line(body.decode('latin-1'))}")
        message = CommitmentsMessage.parse(body)
        return tuple(message.commitments) if message.round == round_ else None

    def answer(self, request: KeyRequest) -> bytes:
        """Return the sealed answer to a request for keys."""
        size = answer_size(request)
        status, body = self._ask("POST", "/v1/keys", KeyRequestMessage.of(request).encode(), size)
        if status != 200:
            raise RelayError(f"miner {self.miner} refuses: {_line(body.decode('latin-1')) or status}")
        if len(body) != size:
            raise RelayError(f"miner {self.miner} answers with {len(body)} bytes, expected {size}")
        return body

    def _post(self, path: str, body: bytes) -> None:
        status, answer = self._ask("POST", path, body)
        if status != 204:
            raise RelayError(f"miner {self.miner} refuses: {_line(answer.decode('latin-1')) or status}")

    def _ask(self, method: str, path: str, body: bytes | None, size: int = 0) -> tuple[int, bytes]:
        """Return status and body of the answer; the sender's own mailbox is processed meanwhile."""
        headers = {} if body is None else self._headers(path, body)
        most = max(size, MAX_ANSWER_BYTES)
        if self._mailbox is None:
            return self._exchange(method, path, headers, body, most)
        return self._mailbox.process_during(lambda: self._exchange(method, path, headers, body, most))

    def _exchange(
        self, method: str, path: str, headers: dict[str, str], body: bytes | None, most: int
    ) -> tuple[int, bytes]:
        """Return status and body of the answer, of so many bytes at most; try again while it is busy."""
        deadline = Deadline(self._seconds)
        for attempt in range(TRIES):
            pause = PAUSE_SECONDS * 2**attempt
            try:
                url, only_public = self._endpoint.url(path), self._only_public
                with exchange(method, url, deadline, headers, body, only_public=only_public) as answer:
                    if answer.status not in BUSY or _is_last(attempt, deadline):
                        return answer.status, answer.body(most)
            except (OSError, HTTPException, ValueError) as error:
                if isinstance(error, PrivateAddress):
                    raise RelayError(
                        f"miner {self.miner} has announced {self._endpoint.host}, in a private network; if "
                        f"that is yours, set {PRIVATE_SETTING}"
                    ) from None
                if isinstance(error, Untrusted):
                    raise RelayError(
                        f"miner {self.miner} is not reached: {_line(str(error.strerror))}"
                    ) from None
                if isinstance(error, TimeoutError) or _is_last(attempt, deadline):
                    reason = getattr(error, "strerror", None) or type(error).__name__
                    raise RelayError(f"miner {self.miner} does not answer: {_line(str(reason))}") from None
            time.sleep(pause)
        raise AssertionError("the last try returns or raises")

    def _headers(self, path: str, body: bytes) -> dict[str, str]:
        """Return the headers of a message, the signature over it among them."""
        signature = seal(self._account, self._ledger.domain, self.miner, path, body)
        return {"Content-Type": "application/json", HEADER: signature}


def _ask_beside(
    inbox: HttpInbox, request: KeyRequest, answers: SimpleQueue[tuple[str, bytes] | None]
) -> None:
    """Have a thread put a miner and its answer to a request among the answers, None where it gives none."""

    def ask() -> None:
        pair = None
        try:
            with suppress(RelayError):
                pair = inbox.miner, inbox.answer(request)
        finally:
            answers.put(pair)

    threading.Thread(target=ask, daemon=True).start()


def _is_last(attempt: int, deadline: Deadline) -> bool:
    """Whether no try follows; a failed one may have taken long."""
    return attempt == TRIES - 1 or not deadline.allows(PAUSE_SECONDS * 2**attempt)


def _line(text: str) -> str:
    """Return one line that a terminal and a log can show, whatever a stranger put into the text."""
    line = " ".join(text.split())[:MAX_REASON_LETTERS]
    return "".join(letter if letter.isprintable() and letter.isascii() else "?" for letter in line)
