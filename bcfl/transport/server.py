"""An HTTP/1.1 server that no client can hold up (steps 3 to 7): bounded in connections, bytes, time, rate.

A subclass of `Handler` says what is answered; whatever is out of order ends the connection.
"""

from __future__ import annotations

import errno
import io
import socket
import socketserver
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from bcfl.errors import ConfigError

BUSY: Final = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
LINGER_SECONDS: Final = 1.0  # for a client to read a refusal before it has sent all
KNOWN_ADDRESSES: Final = 1_024  # whose rate is remembered


@dataclass(frozen=True)
class Limits:
    """What one server bears."""

    body: int  # bytes of a request
    connections: int = 128
    per_address: int = 64  # connections of one address
    idle: float = 60.0  # seconds until the head of a request is there
    reading: float = 10.0  # from then until the rest is
    answer: float = 30.0  # to take the answer
    rate: float = 0.0  # requests a second and address, in the long run; 0: any
    burst: int = 1


class Rates:
    """A bucket of `burst` requests for each address, which fills up by `rate` a second."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits, self._clock, self._lock = limits, clock, threading.Lock()
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # address -> requests, since when

    def allow(self, address: str) -> bool:
        """Whether an address may make one more request now."""
        if not self._limits.rate:
            return True
        with self._lock:
            now = self._clock()
            left, since = self._left.pop(address, (float(self._limits.burst), now))
            left = min(self._limits.burst, left + (now - since) * self._limits.rate)
            self._left[address] = (left - 1 if left >= 1 else left, now)
            if len(self._left) > KNOWN_ADDRESSES:
                self._left.popitem(last=False)
            return left >= 1


class Server(ThreadingHTTPServer):
    """Connections in threads, so many at once; more are refused unheard. Port 0 is any that is free.

    Raises ConfigError when nothing can listen at `host`:`port`.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, host: str, port: int, handler: type[Handler], limits: Limits) -> None:
        self.limits, self.rates = limits, Rates(limits)
        self._places = threading.BoundedSemaphore(limits.connections)
        self._addresses: Counter[str] = Counter()
        self._lock = threading.Lock()
        try:
            family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            self.address_family = family
            super().__init__((str(address[0]), int(address[1])), handler)
        except (OSError, OverflowError, UnicodeError) as error:
            raise ConfigError(_no_socket(host, port, error)) from None
        name, self.port = self.server_address[:2]
        shown = f"[{name!s}]" if family is socket.AF_INET6 else str(name)
        self.url = f"http://{shown}:{self.port}"
        self._thread = threading.Thread(target=self.serve_forever, args=(0.1,), daemon=True)

    def start(self) -> None:
        """Answer requests from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Take no more connections."""
        if self._thread.is_alive():
            self.shutdown()
            self._thread.join()
        self.server_close()

    def server_bind(self) -> None:
        """Bind without asking the network for this machine's name, as HTTPServer does."""
        socketserver.TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Hear a connection in a thread of its own, if there is a place for it."""
        if not self._enter(client_address[0]):
            with suppress(OSError):
                request.setblocking(False)
                request.send(BUSY)
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._leave(client_address[0])
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Hear a connection to its end and free its place."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._leave(client_address[0])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is nobody's error."""

    def _enter(self, address: str) -> bool:
        """Take a place; at most so many for one address."""
        if not self._places.acquire(blocking=False):
            return False
        with self._lock:
            if self._addresses[address] < self.limits.per_address:
                self._addresses[address] += 1
                return True
        self._places.release()
        return False

    def _leave(self, address: str) -> None:
        with self._lock:
            self._addresses[address] -= 1
            if not self._addresses[address]:
                del self._addresses[address]
        self._places.release()


class Timed(io.RawIOBase):
    """What a socket receives until a moment, however slowly it comes: drops do not prolong it."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._until = 0.0

    def allow(self, seconds: float) -> None:
        """Let reading go on for so long from now."""
        self._until = time.monotonic() + seconds

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Some bytes; raises TimeoutError after the moment."""
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)


class Handler(BaseHTTPRequestHandler):
    """One connection, its requests answered in order; `get` and `post` are for the subclass."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "bcfl", ""
    disable_nagle_algorithm = True  # head and body are two writes; the second would wait for the client
    server: Server

    def get(self) -> None:
        """Answer a GET; a server that has nothing to give refuses it."""
        self.refuse(405, "this server answers no GET")

    def post(self, body: bytes) -> None:
        """Answer a POST; a server that takes nothing refuses it."""
        del body
        self.refuse(405, "this server answers no POST")

    def setup(self) -> None:
        """Read under deadlines."""
        super().setup()
        self._timed = Timed(self.connection)
        self.rfile = io.BufferedReader(self._timed)

    def handle_one_request(self) -> None:
        """One request and its answer; the connection ends with the first that is not in order."""
        self._timed.allow(self.server.limits.idle)
        super().handle_one_request()

    def do_GET(self) -> None:
        """Answer a GET, which has no body."""
        if self._orderly():
            self.get()

    def do_POST(self) -> None:
        """Answer a POST with a body of known length."""
        length = self.headers.get("Content-Length", "")
        most = self.server.limits.body
        if not self._orderly():
            return
        if not (length.isascii() and length.isdecimal()) or self.headers.get("Transfer-Encoding"):
            self.refuse(411, "say the length of the request")
        elif len(length) > 9 or int(length) > most:
            self.refuse(413, f"a request has at most {most} bytes")
        else:
            self._timed.allow(self.server.limits.reading)
            body = self.rfile.read(int(length))
            if len(body) < int(length):
                self.close_connection = True
                return
            self.post(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what is neither GET nor POST, or no HTTP."""
        del explain
        self.refuse(405 if code == 501 else code, message or "send GET or POST")

    def log_message(self, *_: Any) -> None:
        """Nothing: clients poll."""

    def refuse(self, status: int, message: str) -> None:
        """Refuse in one line and end the connection, whatever else the client is sending."""
        self.close_connection = True
        self.request_version = self.protocol_version  # also to what is not HTTP at all
        self.answer(status, message.encode("ascii", "replace") + b"\n", "text/plain")
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self._timed.allow(LINGER_SECONDS)
            while self._timed.readinto(bytearray(2**16)):
                pass

    def answer(self, status: int, body: bytes = b"", kind: str = "application/json") -> None:
        """Send a status and a body."""
        self.connection.settimeout(self.server.limits.answer)
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def _orderly(self) -> bool:
        """Whether a request comes from no page in a browser, and not too often."""
        if self.headers.get("Origin") is not None:
            self.refuse(403, "pages in a browser may not talk to this server")
        elif not self.server.rates.allow(self.client_address[0]):
            self.refuse(429, "too many requests: wait a moment")
        else:
            return True
        return False


def _no_socket(host: str, port: int, error: Exception) -> str:
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is taken: end what listens there, or choose another"
    if isinstance(error, socket.gaierror):
        return f"{host} is not an address of this machine: name one that is"
    reason = getattr(error, "strerror", None) or str(error)
    return f"nothing can listen at {host}, port {port}: {reason}"
