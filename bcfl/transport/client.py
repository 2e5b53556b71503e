"""Send one HTTP request to a server that nobody trusts: bounded in time and in memory.

No redirect is followed, no proxy asked, nothing decompressed, and no more than a piece of the answer is held.
The deadline is one for the whole exchange, from the first attempt to connect to the last byte of the body.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from types import TracebackType
from typing import Any, Final
from urllib.parse import urlsplit

from bcfl.transport.deadline import Deadline, TimedStream
from bcfl.transport.tls import Untrusted, ca_context, check_pin, pin_context, pin_of, reason_of

PIECE_BYTES: Final = 65_536
HEAD_BYTES: Final = 16_384  # of an answer: status line and headers, interim answers included
TRAILER_LINES: Final = 64
# Networks of IPv6 in which the last 32 bits are the address of IPv4 that is reached: compatible, and NAT64.
CARRIERS: Final = (IPv6Network("::/96"), IPv6Network("::ffff:0:0:0/96"), IPv6Network("64:ff9b::/96"))
# That of a translator in one's own network, of one's own site, and of Teredo's tunnels.
OWN_NETWORKS: Final = (IPv6Network("64:ff9b:1::/48"), IPv6Network("fec0::/10"), IPv6Network("2001::/32"))
FAILURE_TRAILER: Final = "x-stream-error"  # in which an IPFS daemon reports that its stream broke off


class Interrupted(http.client.HTTPException):
    """The answer ended with an error of the server's instead of its last bytes."""


class PrivateAddress(OSError):
    """The host is this machine, or stands in a private network, and only public ones may be asked."""


class TooLong(http.client.HTTPException):
    """The answer, or its head, has more bytes than it may have."""


class Answer:
    """Status, headers and body of an answer, and the connection that it comes over; close it."""

    def __init__(self, response: http.client.HTTPResponse, connection: _Connection) -> None:
        self.status, self.headers = response.status, response.headers
        self._response, self._connection = response, connection

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def pieces(self) -> Iterator[bytes]:
        """Yield the body, at most PIECE_BYTES at once; raises OSError or HTTPException when it breaks off."""
        while piece := self._response.read1(PIECE_BYTES):
            yield piece
        if self._response.length:  # read1 takes the end of the connection for the end of the body
            raise http.client.IncompleteRead(b"", self._response.length)

    def body(self, max_bytes: int) -> bytes:
        """Return the whole body; raises TooLong when it has more than `max_bytes`, else as `pieces`."""
        content = io.BytesIO()  # hands its bytes over without a copy
        for piece in self.pieces():
            if content.tell() + len(piece) > max_bytes:
                raise TooLong(f"more than {max_bytes} bytes")
            content.write(piece)
        return content.getvalue()

    def prefix(self, max_bytes: int) -> bytes:
        """Return the first `max_bytes` bytes of the body, or all of a shorter one."""
        content = bytearray()
        for piece in self.pieces():
            content += piece
            if len(content) >= max_bytes:
                break
        return bytes(content[:max_bytes])

    def close(self) -> None:
        """Drop the connection, whatever is still to come."""
        self._response.close()
        self._connection.shut()


def exchange(
    method: str,
    url: str,
    deadline: Deadline,
    headers: Mapping[str, str] | None = None,
    body: bytes | Iterable[bytes] | None = None,
    *,
    only_public: bool = False,
) -> Answer:
    """Send one request and return its answer; the head of the answer has at most HEAD_BYTES.

    A body of bytes is sent with its length, an iterable in chunks. Certificates are checked: by the pin in
    the URL's fragment if it has one, else by a CA. `only_public`: whether addresses of this machine and of
    private networks are left alone. Raises OSError (TimeoutError and Untrusted among them) or HTTPException.
    """
    parts = urlsplit(url)
    host, is_secure = parts.hostname or "", parts.scheme == "https"
    default_port = http.client.HTTPS_PORT if is_secure else http.client.HTTP_PORT
    client = http.client.HTTPConnection(host, parts.port or default_port)  # on a socket that is there already
    client.default_port = default_port
    client.response_class = _Response
    socket_ = _connect(host, client.port, deadline, only_public)
    if is_secure:
        socket_ = _encrypt(socket_, host, pin_of(parts.fragment), deadline)
    connection = _Connection(socket_, deadline)
    client.sock = connection
    try:
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        defaults = {"User-Agent": "bcfl", "Accept-Encoding": "identity", "Connection": "close"}
        client.request(method, target, body, defaults | dict(headers or {}))
        response = client.getresponse()
        connection.end_head()
        return Answer(response, connection)
    except BaseException:
        connection.shut()
        raise


def is_public(address: str) -> bool:
    """Return whether an IP address, and one of IPv4 in it, is one of the public internet."""
    number = ip_address(address.partition("%")[0])
    if isinstance(number, IPv6Address):
        if any(number in network for network in OWN_NETWORKS):
            return False
        number = _carried(number) or number
    return number.is_global and not number.is_multicast


def _carried(number: IPv6Address) -> IPv4Address | None:
    """Return the address of IPv4 that machines, tunnels or translators reach by one of IPv6, if any."""
    is_tunnel = int(number) >> 32 & 0xFCFFFFFF == 0x5EFE  # ISATAP, of any network
    if is_tunnel or any(number in network for network in CARRIERS):
        return IPv4Address(int(number) & (2**32 - 1))
    return number.ipv4_mapped or number.sixtofour


def is_private_host(host: str, seconds: float = 5.0) -> bool:
    """Return whether a host, by name or address, is this machine or stands in a private network."""
    try:
        found = _addresses(host, 0, Deadline(seconds))
    except OSError:
        return False
    return any(not is_public(address[0]) for *_, address in found)


def _connect(host: str, port: int, deadline: Deadline, only_public: bool = False) -> socket.socket:
    """Connect to the first address of a host that accepts; raises OSError.

    socket.create_connection would wait for the whole timeout at each of a hostile host's many addresses.
    """
    addresses = _addresses(host, port, deadline)
    failure: OSError = OSError(f"{host} has no address")
    for family, kind, protocol, _, address in addresses:
        if only_public and not is_public(address[0]):
            failure = PrivateAddress(f"{host} is this machine, or in a private network")
            continue
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(deadline.remaining())
            connection.connect(address)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection
        except OSError as error:
            connection.close()
            failure = error
    raise failure


def _encrypt(connection: socket.socket, host: str, pin: str | None, deadline: Deadline) -> ssl.SSLSocket:
    """Do the handshake of TLS; raises Untrusted for a server that may be another one."""
    context = ca_context() if pin is None else pin_context()
    try:
        connection.settimeout(deadline.remaining())  # one for the whole handshake
        secure = context.wrap_socket(connection, server_hostname=host)
    except ssl.SSLError as error:
        connection.close()
        raise Untrusted(reason_of(error, host)) from None
    except BaseException:
        connection.close()
        raise
    if pin is not None:
        try:
            check_pin(secure, host, pin)
        except Untrusted:
            secure.close()
            raise
    return secure


def _addresses(host: str, port: int, deadline: Deadline) -> list[Any]:
    """Return what a host's name stands for; raises OSError, TimeoutError where nothing comes by the deadline.

    A lookup cannot be ended, and whoever has announced the name may answer slowly: it is left to a thread.
    """
    with suppress(socket.gaierror, UnicodeError):
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    lookup: Future[list[Any]] = Future()

    def look_up() -> None:
        try:
            lookup.set_result(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except UnicodeError:
            lookup.set_exception(OSError(f"no host can be called {host!r}"))
        except OSError as error:
            lookup.set_exception(error)

    threading.Thread(target=look_up, name="lookup", daemon=True).start()
    return lookup.result(deadline.remaining())


class _Connection:
    """What http.client needs of a socket, with no wait past the deadline and a bound on the answer's head."""

    def __init__(self, connection: socket.socket, deadline: Deadline) -> None:
        self._socket, self._deadline = connection, deadline
        self._stream = _AnswerStream(connection, deadline)

    def sendall(self, data: bytes) -> None:
        """Send in parts: TLS would grant each of its records the whole timeout."""
        view = memoryview(data)
        while view:
            self._socket.settimeout(self._deadline.remaining())
            view = view[self._socket.send(view) :]

    def makefile(self, mode: str) -> io.BufferedReader:
        assert mode == "rb"
        return io.BufferedReader(self._stream, PIECE_BYTES)

    def end_head(self) -> None:
        """Lift the bound on what is received: the head is complete."""
        self._stream.head_bytes = None

    def close(self) -> None:
        """Do nothing: http.client is done with sending, and what there is to read is still wanted."""

    def shut(self) -> None:
        self._socket.close()


class _AnswerStream(TimedStream):
    head_bytes: int | None = HEAD_BYTES  # that may still come; None when the head is complete

    def readinto(self, buffer: Any) -> int:
        if self.head_bytes is None:
            return super().readinto(buffer)
        if not self.head_bytes:
            raise TooLong(f"a head of more than {HEAD_BYTES} bytes")
        size = super().readinto(memoryview(buffer)[: self.head_bytes])
        self.head_bytes -= size
        return size


class _Response(http.client.HTTPResponse):
    def _read_and_discard_trailer(self) -> None:
        """Read the trailer, the one place where a daemon reports that its stream is not whole."""
        for _ in range(TRAILER_LINES):
            line = self.fp.readline(PIECE_BYTES)
            if line in (b"\r\n", b"\n", b""):
                return
            name, _, value = line.decode("latin-1").partition(":")
            if name.strip().lower() == FAILURE_TRAILER and value.strip():
                raise Interrupted(value.strip())
        raise http.client.HTTPException("the answer has too many trailers")
