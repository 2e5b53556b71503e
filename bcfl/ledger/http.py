"""Ask a node over HTTP: bounded in time and in memory, again where it is busy, whatever the status."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address
from typing import Any, Final, cast
from urllib.parse import urlsplit

from requests import RequestException, Response, Session
from requests import Timeout as RequestsTimeout
from requests.adapters import HTTPAdapter
from web3 import HTTPProvider
from web3.types import RPCEndpoint, RPCResponse

from bcfl.ledger import answers
from bcfl.ledger.chain import Busy, refusal
from bcfl.transport.tls import ca_context, ca_file, pin_context, pin_of

TRIES: Final = 4  # of a request that changes nothing
FIRST_PAUSE: Final = 0.2  # seconds before the second try; doubled each time
MAX_PAUSE: Final = 10.0  # seconds that a node may ask to wait
PIECE_BYTES: Final = 65_536
TOO_MANY_REQUESTS: Final = 429
BUSY: Final = frozenset({TOO_MANY_REQUESTS, 502, 503, 504})  # statuses after which a later try may succeed
DEADLINES: Final = 3  # times `timeout`, for the whole of an answer


class HttpProvider(HTTPProvider):
    """web3's provider with bounds; `timeout`: seconds until an answer begins, and between its pieces.

    `tries`: of a request that changes nothing.
    """

    def __init__(
        self,
        url: str,
        timeout: float,
        session: Session,
        sleep: Callable[[float], None] = time.sleep,
        tries: int = TRIES,
    ) -> None:
        if _is_this_machine(url):
            session.trust_env = False  # a proxy in the environment is for elsewhere
        url = _secure(url, session)
        super().__init__(url, session=session, exception_retry_configuration=None)
        self._url, self._timeout, self._session, self._sleep = url, timeout, session, sleep
        self._tries = tries
        self.retry_after = 0.0  # seconds that the last answer asks to wait

    @staticmethod
    def decode_rpc_response(raw_response: bytes) -> RPCResponse:
        """Return the response object; raises MalformedAnswer."""
        return cast(RPCResponse, answers.decode(raw_response))

    def _make_request(self, method: RPCEndpoint, request_data: bytes) -> bytes:
        """Return the body of the answer; raises RequestException or MalformedAnswer."""
        tries = 1 if method == "eth_sendRawTransaction" else self._tries  # who delivers looks before it does
        for attempt in range(1, tries + 1):
            pause = FIRST_PAUSE * 2 ** (attempt - 1)
            try:
                self.retry_after = 0.0
                response, body = self._post(request_data)
            except RequestException:
                if attempt == tries:
                    raise
            else:
                self.retry_after = min(_retry_after(response), MAX_PAUSE)
                if attempt == tries or not _is_busy(response, body, method):
                    return _checked_body(response, body)
                pause = max(pause, self.retry_after)
            self._sleep(min(pause, MAX_PAUSE))
        raise AssertionError("the last try returns or raises")

    def _post(self, request_data: bytes) -> tuple[Response, bytes]:
        """Return an answer with its whole body; raises RequestException or MalformedAnswer."""
        deadline = time.monotonic() + DEADLINES * self._timeout
        with self._session.post(
            self._url,
            data=request_data,
            headers=self.get_request_headers(),
            timeout=self._timeout,
            verify=None if self._session.verify else False,  # else the environment may name CAs for pins too
            stream=True,
            allow_redirects=False,
        ) as response:
            body = io.BytesIO()
            for piece in response.iter_content(PIECE_BYTES):
                if body.tell() + len(piece) > answers.MAX_BYTES:
                    raise answers.TooLarge(f"an answer of more than {answers.MAX_BYTES} bytes")
                if time.monotonic() > deadline:
                    raise RequestsTimeout(response=response)
                body.write(piece)
            return response, body.getvalue()


def _is_busy(response: Response, body: bytes, method: str) -> bool:
    """Return whether a later try may succeed; 429 may also come with an answer, as for too many logs."""
    if response.status_code != TOO_MANY_REQUESTS:
        return response.status_code in BUSY
    try:
        error = answers.decode(body).get("error")
    except answers.MalformedAnswer:
        return True
    return error is not None and isinstance(refusal(error, method), Busy)


def _checked_body(response: Response, body: bytes) -> bytes:
    """Return the body of an answer that is JSON-RPC, whatever its status; raises HTTPError for others."""
    if response.status_code != 200:
        with suppress(answers.MalformedAnswer):
            answers.decode(body)
            return body
        response.raise_for_status()
    return body


def _retry_after(response: Response) -> float:
    """Return the seconds that a busy node asks to wait; 0 where it names none, or a date."""
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isascii() and value.isdigit() and len(value) < 6 else 0.0


class _Pinned(HTTPAdapter):
    """Connections to a server that has the certificate with this pin."""

    def __init__(self, pin: str) -> None:
        self._pin = pin
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Have each connection compare the certificate before it sends anything."""
        super().init_poolmanager(*args, ssl_context=pin_context(), assert_fingerprint=self._pin, **options)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """Have connections through a proxy compare it too: the proxy may end them itself."""
        return super().proxy_manager_for(
            proxy, ssl_context=pin_context(), assert_fingerprint=self._pin, **options
        )


class _Vouched(HTTPAdapter):
    """Connections to a server for which a CA vouches, perhaps that of BCFL_TLS_CA."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Have each connection checked by the CAs of all others."""
        super().init_poolmanager(*args, ssl_context=ca_context(), **options)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """Have connections through a proxy checked by them too."""
        return super().proxy_manager_for(proxy, ssl_context=ca_context(), **options)


def _secure(url: str, session: Session) -> str:
    """Have a session check the server's certificate as everywhere else; returns the URL without the pin.

    Raises ValueError for a fragment that is no pin, and for a pin where nothing is encrypted.
    """
    url, _, fragment = url.partition("#")
    if urlsplit(url).scheme != "https":
        if fragment:
            raise ValueError("a pin without https")
        return url
    if pin := pin_of(fragment):
        session.mount("https://", _Pinned(pin))
        session.verify = False  # of a CA; the adapter compares the certificate
    elif ca_file() is not None:
        session.mount("https://", _Vouched())
    return url


def _is_this_machine(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    with suppress(ValueError):
        return bool(ip_address(host).is_loopback)
    return False
