"""Ask one node, over HTTP, a WebSocket or a Unix socket; messages show nothing that may be secret."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from json import JSONDecodeError
from ssl import SSLError
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, cast
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

from bcfl.errors import ConfigError, NoNodeUrl, Unreachable
from bcfl.ledger import answers
from bcfl.ledger.answers import MalformedAnswer, TooLarge
from bcfl.ledger.chain import result_of
from bcfl.ledger.http import BUSY, TRIES, HttpProvider
from bcfl.transport.tls import reason_of

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection


SCHEMES: Final = ("http://", "https://", "ws://", "wss://")


class Silent(Unreachable):
    """The node did not answer this time; a later try may succeed."""


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
        except TooLarge:
            raise
        except MalformedAnswer as error:
            raise JSONDecodeError(str(error), "", 0) from None


class Endpoint:
    """One node, and how it is reached; its `url` is without what may be secret.

    `tries`: of an HTTP request that changes nothing, before it counts as failed.
    """

    def __init__(self, url: str, timeout: float, tries: int = TRIES) -> None:
        self.url = _without_secrets(url)
        self.chain_id: int | None = None  # that the node has told of
        if "://" not in url and not _is_socket(url):
            raise NoNodeUrl("the URL of the node has no scheme: write http:// or https:// in front of it")
        try:
            if not _is_socket(url) and not self.url.startswith(SCHEMES):
                raise ValueError("no host, or no number as the port, or another scheme")
            self._session = Session()
            self.provider = _provider(url, timeout, self._session, tries)
            self.w3 = Web3(self.provider)
        except ConfigError as error:  # of the file of a CA
            raise NoNodeUrl(f"{self.url}: {error}") from None
        except Exception:  # whose text may hold a part of the URL, and thereby a key
            raise NoNodeUrl(
                f"{self.url}: not the URL of a node: write http://, https://, ws:// or wss://, a host, and a "
                "port that is a number; only https takes a pin (#sha256=...)"
            ) from None

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
            kind = Silent if _is_passing(error) else Unreachable
            raise kind(f"{self.url}: {reason}; is the node running and the URL right?") from None
        return result_of(response, method)

    @property
    def retry_after(self) -> float:
        """The seconds that its last answer asks to wait."""
        return self.provider.retry_after if isinstance(self.provider, HttpProvider) else 0.0

    def close(self) -> None:
        """Close the connections."""
        self._session.close()
        if isinstance(self.provider, SocketProvider):
            self.provider.close()
        elif (connection := getattr(self.provider, "_socket", None)) is not None and connection.sock:
            connection.sock.close()  # web3 has no way of its own to end it


def _provider(
    url: str, timeout: float, session: Session, tries: int
) -> HttpProvider | SocketProvider | IPCProvider:
    """Return what talks to the node at `url`; raises ValueError where the URL is of no known kind."""
    if _is_socket(url):
        return SocketFileProvider(url, timeout=int(timeout) or 1)
    if url.startswith(("ws://", "wss://")):
        return SocketProvider(url, timeout)
    return HttpProvider(url, timeout, session, tries=tries)


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


def _is_passing(error: Exception) -> bool:
    """Return whether a request may succeed where it is made again: not where a server has refused it."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status is None or status in BUSY or isinstance(error, RequestsTimeout)


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
