"""Serve HTTP/1.1 so that no client can hold the server up: bounded in connections, bytes, time and rate.

A subclass of `Handler` decides what to answer; the first request that is out of order ends its connection.
"""

from __future__ import annotations

import errno
import io
import re
import socket
import socketserver
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

from bcfl.errors import ConfigError
from bcfl.transport.connections import Connection, Connections, client_of
from bcfl.transport.deadline import Deadline, TimedStream
from bcfl.transport.tls import TlsFiles

BUSY: Final = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
LINGER_SECONDS: Final = 1.0  # in which a client that still sends can read a refusal
KNOWN_ADDRESSES: Final = 1_024  # whose rates are remembered
HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
ONCE: Final = ("Content-Length", "Transfer-Encoding", "Host")  # two of them could mean two things


@dataclass(frozen=True)
class Limits:
    """The bounds of one server."""

    body_bytes: int  # of a request
    connections: int = 128
    per_address: int = 64  # connections of one address
    handshake_seconds: float = 5.0  # of TLS
    idle_seconds: float = 60.0  # until the head of a request is there
    reading_seconds: float = 10.0  # from then until the rest is there
    answer_seconds: float = 30.0  # for the client to take the answer
    rate: float = 0.0  # requests a second and address, in the long run; 0: any
    burst: int = 1  # requests at once


class Rates:
    """A bucket of `burst` requests for each address, which fills up by `rate` a second."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits, self._clock, self._lock = limits, clock, threading.Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # address -> requests, time

    def allow(self, address: str) -> bool:
        """Return whether an address may make one more request now, and take it from its bucket."""
        if not self._limits.rate:
            return True
        with self._lock:
            now = self._clock()
            requests, time_ = self._buckets.pop(address, (float(self._limits.burst), now))
            requests = min(self._limits.burst, requests + (now - time_) * self._limits.rate)
            self._buckets[address] = (requests - 1 if requests >= 1 else requests, now)
            if len(self._buckets) > KNOWN_ADDRESSES:
                self._buckets.popitem(last=False)
            return requests >= 1


class Server(ThreadingHTTPServer):
    """A server of connections in threads, so many at once; more are refused unread. Port 0: a free one.

    `hosts`: by which names clients may ask, besides those of this machine; None: by any. `tls`: with which
    certificate connections are encrypted; None: they are not. Raises ConfigError when nothing can listen at
    `host`:`port`, and for a certificate that no client could accept.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        host: str,
        port: int,
        handler: type[Handler],
        limits: Limits,
        hosts: frozenset[str] | None = None,
        tls: TlsFiles | None = None,
    ) -> None:
        self.hosts = hosts
        self.limits, self.rates = limits, Rates(limits)
        self.certificate = None if tls is None else tls.load()
        self._connections = Connections(limits.connections, limits.per_address)
        self._current = threading.local()  # the connection that a thread serves
        try:
            family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            self.address_family = family
            super().__init__((str(address[0]), int(address[1])), handler)
        except (OSError, OverflowError, UnicodeError) as error:
            raise ConfigError(_bind_error(host, port, error)) from None
        name, self.port = self.server_address[:2]
        authority = f"[{name!s}]" if family is socket.AF_INET6 else str(name)
        scheme, fragment = ("http", "") if self.certificate is None else ("https", self.certificate.fragment)
        self.url = f"{scheme}://{authority}:{self.port}"
        self.pinned_url = self.url + fragment  # by which clients need no CA
        self._thread = threading.Thread(target=self.serve_forever, args=(0.1,), daemon=True)

    def start(self) -> None:
        """Start answering requests."""
        self._thread.start()

    def stop(self) -> None:
        """Stop taking connections."""
        if self._thread.is_alive():
            self.shutdown()
            self._thread.join()
        self.server_close()

    def server_bind(self) -> None:
        """Bind without asking the network for this machine's name, as HTTPServer does."""
        socketserver.TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread of its own, if there is a place for it."""
        connection = self._connections.admit(client_of(client_address[0]), request)
        if connection is None:
            with suppress(OSError):
                request.setblocking(False)
                if self.certificate is None:
                    request.send(BUSY)
            self.shutdown_request(request)
            return
        thread = threading.Thread(target=self._serve, args=(connection, client_address), daemon=True)
        try:
            thread.start()
        except BaseException:
            self._connections.release(connection)
            raise

    def note_request(self, is_whole: bool) -> None:
        """Note that a request has come as a whole over the connection of this thread, or is waited for."""
        connection: Connection = self._current.connection
        if is_whole:
            self._connections.hold(connection)
        else:
            self._connections.wait(connection)

    def _serve(self, connection: Connection, client_address: Any) -> None:
        """Serve a connection to its end and give its place back."""
        self._current.connection = connection
        try:
            with suppress(OSError):  # a handshake that fails, or takes too long
                self._encrypt(connection)
                self.process_request_thread(connection.socket, client_address)
        finally:
            self.shutdown_request(connection.socket)
            self._connections.release(connection)

    def _encrypt(self, connection: Connection) -> None:
        """Do the handshake of TLS, in the thread of the connection: others are accepted meanwhile."""
        if self.certificate is None:
            return
        connection.socket = self.certificate.context.wrap_socket(
            connection.socket, server_side=True, do_handshake_on_connect=False
        )
        connection.socket.settimeout(self.limits.handshake_seconds)  # of all of it
        connection.socket.do_handshake()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Do nothing: a client that went away is nobody's error."""


class Handler(BaseHTTPRequestHandler):
    """Answer the requests of one connection in order; `get` and `post` are for the subclass."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "bcfl", ""
    disable_nagle_algorithm = True  # head and body are two writes; the second would wait for the client
    server: Server

    def get(self) -> None:
        """Answer a GET; refuse it unless a subclass has something to give."""
        self.refuse(405, "this server answers no GET")

    def post(self, body: bytes) -> None:
        """Answer a POST; refuse it unless a subclass takes something."""
        del body
        self.refuse(405, "this server answers no POST")

    def setup(self) -> None:
        """Put all reading under deadlines."""
        super().setup()
        self._stream = TimedStream(self.connection, Deadline(self.server.limits.idle_seconds))
        self.rfile = io.BufferedReader(self._stream)

    def handle_one_request(self) -> None:
        """Read one request and answer it; the first that is out of order ends the connection."""
        self.server.note_request(is_whole=False)
        self._stream.deadline = Deadline(self.server.limits.idle_seconds)
        super().handle_one_request()

    def parse_request(self) -> bool:
        """Read the head of a request; refuse one that others could read as another, or as two."""
        stream, head = self.rfile, HeadLines(self.rfile)
        self.rfile = head  # type: ignore[assignment]
        try:
            is_parsed = super().parse_request()
        finally:
            self.rfile = stream
        if not is_parsed:
            return False
        if head.are_plain and _is_plain(self.headers):
            return True
        self.refuse(400, "the head of the request is malformed, or says its length or host twice")
        return False

    def do_GET(self) -> None:
        """Answer a GET, which has no body: what came after one would be taken for the next request."""
        if not self._is_admitted():
            return
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            self.refuse(400, "a GET has no body")
        else:
            self.server.note_request(is_whole=True)
            self.get()

    def do_POST(self) -> None:
        """Answer a POST with a body of known length."""
        length = self.headers.get("Content-Length", "")
        max_bytes = self.server.limits.body_bytes
        if not self._is_admitted():
            return
        if not (length.isascii() and length.isdecimal()) or "Transfer-Encoding" in self.headers:
            self.refuse(411, "say the length of the request")
        elif len(length) > 9 or int(length) > max_bytes:
            self.refuse(413, f"a request has at most {max_bytes} bytes")
        else:
            self._stream.deadline = Deadline(self.server.limits.reading_seconds)
            body = self.rfile.read(int(length))
            if len(body) < int(length):
                self.close_connection = True
                return
            self.server.note_request(is_whole=True)
            self.post(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what is neither GET nor POST, or is not HTTP."""
        del explain
        self.refuse(405 if code == 501 else code, message or "send GET or POST")

    def log_message(self, *_: Any) -> None:
        """Log nothing: clients poll."""

    def refuse(self, status: int, message: str) -> None:
        """Refuse in one line and end the connection, whatever else the client is sending."""
        self.close_connection = True
        self.request_version = self.protocol_version  # also to what is not HTTP at all
        self.answer(status, message.encode("ascii", "replace") + b"\n", "text/plain")
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self._stream.deadline = Deadline(LINGER_SECONDS)
            while self._stream.readinto(bytearray(2**16)):
                pass

    def answer(self, status: int, body: bytes = b"", content_type: str = "application/json") -> None:
        """Send a status and a body."""
        deadline = Deadline(self.server.limits.answer_seconds)
        self.connection.settimeout(deadline.remaining())
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        view = memoryview(body)
        while view:  # in parts: TLS would grant each of its records the whole time
            self.connection.settimeout(deadline.remaining())
            view = view[self.connection.send(view) :]

    def _is_admitted(self) -> bool:
        """Return whether a request is for this server, comes from no page in a browser and not too often."""
        if self.server.hosts is not None and not self._is_named(self.server.hosts):
            self.refuse(403, "this server has another name: list this one with --allow-host")
        elif self.headers.get("Origin") is not None:
            self.refuse(403, "pages in a browser may not talk to this server")
        elif not self.server.rates.allow(client_of(self.client_address[0])):
            self.refuse(429, "too many requests: wait a moment")
        else:
            return True
        return False

    def _is_named(self, hosts: frozenset[str]) -> bool:
        """Return whether the Host header names this machine, or one of `hosts`.

        A page may have its own name resolve to this machine; the browser takes it for the page's origin then.
        """
        name = host_name(self.headers.get("Host", ""))
        with suppress(ValueError):
            address = ip_address(name)
            return address.is_loopback or name in hosts or name == str(self.connection.getsockname()[0])
        return name == "localhost" or name in hosts


def host_name(authority: str) -> str:
    """Return the host of `HOST`, `HOST:PORT` or `[HOST]:PORT` in small letters; empty where there is none."""
    with suppress(ValueError):
        return str(ip_address(authority))  # IPv6 without brackets
    with suppress(ValueError):
        return urlsplit(f"//{authority}").hostname or ""
    return ""


class HeadLines:
    """The lines of a head, and whether each of them is one line of one header to every reader."""

    def __init__(self, stream: io.BufferedIOBase) -> None:
        self._stream = stream
        self.are_plain = True

    def readline(self, limit: int = -1) -> bytes:
        """Return the next line, as a file does: Python's parser would split it at a bare CR once more."""
        line = self._stream.readline(limit)
        text = line.removesuffix(b"\n").removesuffix(b"\r")
        if b"\r" in text or b"\0" in text or text.startswith(b"From "):  # that is skipped as no header
            self.are_plain = False
        return line


def _is_plain(headers: Message) -> bool:
    """Return whether each line of a head is a header, and none of ONCE comes twice.

    What the parser takes for the begin of a body is left out of the headers, and what it hides with it: a
    proxy in front may have read a length there.
    """
    if headers.defects or headers.get_payload():
        return False
    if any(not HEADER_NAME.fullmatch(name) or "\n" in value for name, value in headers.items()):
        return False  # a name with white space, a line that goes on in the next one
    return all(len(headers.get_all(name, ())) < 2 for name in ONCE)


def _bind_error(host: str, port: int, error: Exception) -> str:
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is taken: end what listens there, or choose another"
    if isinstance(error, socket.gaierror):
        return f"{host} is not an address of this machine: name one that is"
    reason = getattr(error, "strerror", None) or str(error)
    return f"nothing can listen at {host}, port {port}: {reason}"
