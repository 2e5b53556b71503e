"""Reach any EVM node behind a URL, by JSON-RPC over HTTP, a WebSocket or a Unix socket."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from json import JSONDecodeError
from ssl import SSLError
from threading import Lock
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from requests import ConnectionError as NoConnection
from requests import RequestException, Session
from requests import Timeout as RequestsTimeout
from requests.exceptions import SSLError as TlsError
from web3 import IPCProvider, Web3
from web3._utils.threads import Timeout
from web3.exceptions import Web3Exception
from web3.providers import JSONBaseProvider
from web3.types import RPCEndpoint, RPCResponse

from bcfl.errors import LedgerError, Unreachable
from bcfl.ledger import answers
from bcfl.ledger.answers import MalformedAnswer
from bcfl.ledger.chain import Busy, SignedTransaction, result_of, was_scarce
from bcfl.ledger.delivery import Delivery, Raise
from bcfl.ledger.http import HttpProvider
from bcfl.protocol.limits import TRANSACTION_GAS
from bcfl.transport.tls import reason_of

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection

PAUSES = (0.2, 0.4, 0.8, 1.6)  # seconds before a node that is asked too often is asked again
MAX_TIP = 200 * 10**9  # wei for a unit of gas; what a node suggests is paid, whatever the chain would take
MARGIN = 5  # a fifth more gas than estimated: other transactions may come before
MAX_CUTS = 3  # transactions that may run short at less gas than the floor, which a block's limit cuts
DEVELOPMENT_NODES = (
    "anvil/",
    "HardhatNetwork/",
    "bcfl/",
)  # nodes whose pending block keeps time between blocks


class SocketProvider(JSONBaseProvider):
    """web3's provider for `ws://` and `wss://`, one request at a time; connects when it has to."""

    def __init__(self, url: str, timeout: float) -> None:
        super().__init__()
        self._url, self._timeout = url, timeout
        self._lock = Lock()
        self._stack = ExitStack()
        self._connection: ClientConnection | None = None

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """Return the response to one request; a connection that has ended is made again, once."""
        from websockets.exceptions import ConnectionClosed

        request = self.encode_rpc_request(method, params)
        with self._lock:
            try:
                return self._exchange(request)
            except ConnectionClosed:
                return self._exchange(request)
            except BaseException:
                self._drop()  # an answer that comes late must not be taken for the next one's
                raise

    def close(self) -> None:
        """End the connection."""
        with self._lock:
            self._drop()

    def _exchange(self, request: bytes) -> RPCResponse:
        from websockets.exceptions import ConnectionClosed
        from websockets.sync.client import connect

        if self._connection is None:
            connection = connect(self._url, open_timeout=self._timeout, max_size=answers.MAX_BYTES)
            self._connection = self._stack.enter_context(connection)
        try:
            self._connection.send(request.decode())
            answer = self._connection.recv(self._timeout)
        except ConnectionClosed:
            self._drop()
            raise
        raw = answer.encode() if isinstance(answer, str) else answer
        return cast(RPCResponse, answers.decode(raw))

    def _drop(self) -> None:
        self._connection = None
        self._stack.close()


class SocketFileProvider(IPCProvider):
    """web3's provider for a Unix socket, which decodes as the others do."""

    @staticmethod
    def decode_rpc_response(raw_response: bytes) -> RPCResponse:
        """Return the response object; raises JSONDecodeError while it is not whole."""
        try:
            return cast(RPCResponse, answers.decode(raw_response))
        except MalformedAnswer as error:
            if len(raw_response) > answers.MAX_BYTES:
                raise
            raise JSONDecodeError(str(error), "", 0) from None


class Endpoint:
    """One node, and how it is reached; its `url` is without what may be secret."""

    def __init__(self, url: str, timeout: float) -> None:
        self.url = _without_secrets(url)
        self.chain_id: int | None = None  # that the node has told of
        if "://" not in url and not _is_socket(url):
            raise Unreachable("the URL of the node has no scheme: write http:// or https:// in front of it")
        try:
            self._session = Session()
            self.provider = _provider(url, timeout, self._session)
            self.w3 = Web3(self.provider)
        except Exception as error:
            raise Unreachable(f"{self.url}: not the URL of a node: {error}") from None

    def ask(self, method: str, params: Sequence[Any]) -> Any:
        """Return the result of one JSON-RPC call; raises Reverted, LedgerError or Unreachable."""
        try:
            response = self.provider.make_request(RPCEndpoint(method), list(params))
            if response.get("error") is None:
                answers.check(method, params, response["result"])
        except MalformedAnswer as error:
            raise Unreachable(f"{self.url}: {error}; is it an Ethereum node? check the URL") from None
        except _failures() as error:
            reason = _tls_reason(error, self.url) or _reason(error)
            raise Unreachable(f"{self.url}: {reason}; is the node running and the URL right?") from None
        return result_of(response)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()
        if isinstance(self.provider, SocketProvider):
            self.provider.close()
        elif (connection := getattr(self.provider, "_socket", None)) is not None and connection.sock:
            connection.sock.close()  # web3 has no way of its own to end it


class RpcChain:
    """The node at `url`; raises Unreachable when it does not answer within `timeout` seconds.

    `url` is that of an HTTP or WebSocket endpoint, or the path of a Unix socket (`/...` or `....ipc`). Of
    several with commas between, the next one is asked where one fails; all have to serve the same chain. A
    transaction may take `mining_timeout` seconds to be mined; the node is asked every `poll` seconds.
    """

    def __init__(
        self, url: str, *, timeout: float = 20, mining_timeout: float = 180, poll: float = 0.2
    ) -> None:
        self._endpoints = [Endpoint(part.strip(), timeout) for part in url.split(",")]
        self._place = 0  # of the one that is asked
        self._mining_timeout, self._poll = mining_timeout, poll
        self._least_gas = 0  # that a transaction gets: more than was too little for another
        self._cuts = 0  # transactions that got less, as blocks take no more, and ran short
        self.chain_id = -1  # not known yet
        self.chain_id = self._endpoints[self._place].chain_id = int(self.request("eth_chainId"), 16)

    @property
    def url(self) -> str:
        """The URL of the node that is asked, without what may be secret."""
        return self._endpoints[self._place].url

    @property
    def w3(self) -> Web3:
        """The node that is asked, through web3."""
        return self._endpoints[self._place].w3

    @cached_property
    def view(self) -> str:
        """The block that calls are made at: "pending" on a development node, else "latest".

        On a development node blocks come with transactions only.
        """
        client = str(self.request("web3_clientVersion"))
        return "pending" if client.startswith(DEVELOPMENT_NODES) else "latest"

    def request(self, method: str, *params: Any) -> Any:
        """Return the result of one JSON-RPC call; raises Reverted, LedgerError or Unreachable.

        Where all nodes ask for fewer requests, they get this one again, a little later.
        """
        for pause in PAUSES:
            try:
                return self._request(method, params)
            except Busy:
                time.sleep(pause)
        return self._request(method, params)

    def _request(self, method: str, params: Sequence[Any]) -> Any:
        """Ask the nodes in turn, from the one that answered last."""
        failures: list[Unreachable] = []
        for _ in self._endpoints:
            endpoint = self._endpoints[self._place]
            try:
                self._check_chain(endpoint)
                return endpoint.ask(method, params)
            except Unreachable as failure:
                failures.append(failure)
                self._place = (self._place + 1) % len(self._endpoints)
        raise failures[0]

    def _check_chain(self, endpoint: Endpoint) -> None:
        """Insist that an endpoint serves the chain of the first one that answered."""
        if endpoint.chain_id == self.chain_id or self.chain_id < 0:
            return
        endpoint.chain_id = int(endpoint.ask("eth_chainId", ()), 16)
        if endpoint.chain_id != self.chain_id:
            raise Unreachable(f"{endpoint.url}: serves chain {endpoint.chain_id}, not {self.chain_id}")

    def now(self) -> int:
        """Return the timestamp of the block that calls are made at, in seconds since 1970."""
        return int(self._block()["timestamp"], 16)

    def warp(self, timestamp: int) -> None:
        """Let the next block come no earlier than `timestamp`; raises LedgerError where time is not ours."""
        if self.view != "pending":
            raise LedgerError(f"{self.url}: this chain keeps its own time; only a development node skips it")
        if timestamp > self.now():
            self.request("evm_setNextBlockTimestamp", timestamp)

    def fees(self) -> tuple[int, int]:
        """Return twice the base fee plus the tip that the node suggests, and that tip, in wei.

        A base fee that is a lie costs nothing, as the chain takes its own; a tip would cost all there is.
        """
        tip = min(int(self.request("eth_maxPriorityFeePerGas"), 16), MAX_TIP)
        base_fee = self._block().get("baseFeePerGas")
        if base_fee is None:
            raise LedgerError(f"{self.url}: this chain has no base fee; bcfl needs EIP-1559 (London, 2021)")
        return 2 * int(base_fee, 16) + tip, tip

    def estimate(self, transaction: Mapping[str, str]) -> int:
        """Return the node's estimate of the gas; raises Reverted when the transaction would fail now."""
        return int(self.request("eth_estimateGas", dict(transaction), self.view), 16)

    def gas(self, transaction: Mapping[str, str]) -> int:
        """Return the node's estimate and a margin, as far as the chain takes it.

        Raises Reverted when the transaction would fail now, and LedgerError where the node's estimates, and
        what it says that a block holds, have made transactions fail.
        """
        estimate = self.estimate(transaction)
        gas = max(estimate + estimate // MARGIN, self._least_gas)
        block_gas = int(self._block().get("gasLimit") or hex(TRANSACTION_GAS), 16)
        gas = max(estimate, min(gas, TRANSACTION_GAS, block_gas))
        if gas < self._least_gas and self._cuts >= MAX_CUTS:
            raise LedgerError(
                f"{self.url}: {self._cuts} transactions ran out of gas, and by this node a block has no more "
                "of it: nothing is sent before the next start; ask another node"
            )
        return gas

    def deliver(self, transaction: SignedTransaction, raise_fee: Raise | None = None) -> Mapping[str, Any]:
        """Hand over a transaction, again where the node loses it; returns the receipt once it is mined.

        After one that had too little gas all later ones have twice its limit at least: whatever a node
        estimates, all such failures together cost less than twice the dearest call. A block may hold less;
        a node that lies about that makes MAX_CUTS of them fail.
        """
        delivery = Delivery(self.request, self.url, transaction, raise_fee)
        receipt = delivery.receipt(self._mining_timeout, self._poll)
        if was_scarce(receipt, transaction.gas):
            self._cuts += transaction.gas < self._least_gas
            self._least_gas = max(self._least_gas, min(2 * transaction.gas, TRANSACTION_GAS))
        return receipt

    def close(self) -> None:
        """Close the connections."""
        for endpoint in self._endpoints:
            endpoint.close()

    def _block(self) -> Mapping[str, str]:
        block: Mapping[str, str] | None = self.request("eth_getBlockByNumber", self.view, False)
        if block is None:
            raise Unreachable(f"{self.url}: the node knows no block: is it still starting?")
        return block


def _provider(url: str, timeout: float, session: Session) -> HttpProvider | SocketProvider | IPCProvider:
    """Return what talks to the node at `url`; raises ValueError where the URL is of no known kind."""
    if _is_socket(url):
        return SocketFileProvider(url, timeout=int(timeout) or 1)
    if url.startswith(("ws://", "wss://")):
        return SocketProvider(url, timeout)
    return HttpProvider(url, timeout, session)


def _is_socket(url: str) -> bool:
    return url.startswith("/") or (url.endswith(".ipc") and "://" not in url)


def _failures() -> tuple[type[Exception], ...]:
    """Return what the providers raise; the WebSocket library's errors only where it is in use."""
    module = sys.modules.get("websockets.exceptions")
    sockets = () if module is None else (module.WebSocketException,)
    return RequestException, Web3Exception, cast(type[Exception], Timeout), ValueError, OSError, *sockets


def _without_secrets(url: str) -> str:
    """Return a URL without what may be secret in it: user, password, path and query (keys are put there)."""
    if _is_socket(url):
        return url
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.scheme}://{parts.hostname}{port}" if parts.hostname else "(no host)"
    except ValueError:
        return "(no URL)"


def _tls_reason(error: BaseException | None, url: str) -> str | None:
    """Return why a handshake failed, None where none did; requests and urllib3 wrap the error."""
    if not isinstance(error, TlsError):
        return None
    causes: list[Any] = [error]
    for cause in causes:
        if isinstance(cause, SSLError):
            return reason_of(cause, urlsplit(url).netloc)
        inner = [getattr(cause, "reason", None), *getattr(cause, "args", ())]
        causes += [one for one in inner if isinstance(one, BaseException) and one not in causes]
    return f"{urlsplit(url).netloc} has another certificate than the pinned one"


def _reason(error: Exception) -> str:
    """Say what went wrong in a few words; the message itself may hold the URL and thereby a key."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status:
        return f"HTTP status {status}"
    if isinstance(error, RequestsTimeout | TimeoutError | cast(type[Exception], Timeout)):
        return "no answer in time"
    if isinstance(error, NoConnection) or not isinstance(
        error, RequestException | ValueError | Web3Exception
    ):
        return "no connection"
    return type(error).__name__
