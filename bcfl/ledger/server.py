"""The embedded chain behind a socket: JSON-RPC over HTTP, one block a transaction, kept in a folder.

Serves every step of the round in a network of separate processes. The folder holds

    chain.json    when the chain began and whose accounts it funds
    chain.sqlite  the chain

Whoever reaches the socket may send transactions and move the clock, so it is the loopback's unless told
otherwise, and no page in a browser may talk to it.
"""

from __future__ import annotations

import errno
import io
import json
import os
import socket
import socketserver
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from eth_utils.address import to_canonical_address

from bcfl.errors import ConfigError, RunError
from bcfl.ledger.database import Database
from bcfl.ledger.deadline import ServedEvm
from bcfl.ledger.evm import open_evm
from bcfl.ledger.jsonrpc import respond
from bcfl.ledger.methods import BlockClock, ServedNode

FORMAT: Final = 1
FILE: Final = "chain.json"
CHAIN: Final = "chain.sqlite"
MAX_BODY: Final = 4 * 2**20  # bytes of a request
MAX_CONNECTIONS: Final = 128
IDLE_SECONDS: Final = 60.0  # until the head of a request is there
BODY_SECONDS: Final = 10.0  # from then until the rest is
ANSWER_SECONDS: Final = 30.0  # to take the answer
LINGER_SECONDS: Final = 1.0  # for a client to read a refusal before it has sent all


class ChainServer:
    """Serves a node at `host`:`port` (0: any free port) from `start` to `stop`; one thread a connection.

    Raises ConfigError when nothing can listen there.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 8545) -> None:
        try:
            family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            self._http = _Http(family, (str(address[0]), int(address[1])))
        except (OSError, OverflowError, UnicodeError) as error:
            raise ConfigError(_no_socket(host, port, error)) from None
        name, self.port = self._http.server_address[:2]
        shown = f"[{name!s}]" if family is socket.AF_INET6 else str(name)
        self.url = f"http://{shown}:{self.port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.1,), daemon=True)

    def start(self, node: ServedNode) -> None:
        """Answer requests from now on."""
        self._http.node = node
        self._thread.start()

    def stop(self) -> None:
        """Take no more connections."""
        if self._thread.is_alive():
            self._http.shutdown()
            self._thread.join()
        self._http.server_close()


@contextmanager
def serve(
    folder: Path | None,
    accounts: Sequence[str],
    host: str = "127.0.0.1",
    port: int = 8545,
    simulated: bool = False,
) -> Iterator[ChainServer]:
    """The chain in `folder` (None: in memory) behind a socket; begun with funded `accounts` if it is new.

    Raises ConfigError for a port that is taken, RunError for a folder that cannot serve.
    """
    server = ChainServer(host, port)
    try:
        with _opened(folder, accounts, simulated) as node:
            server.start(node)
            try:
                yield server
            finally:
                server.stop()
    finally:
        server.stop()


@contextmanager
def _opened(folder: Path | None, accounts: Sequence[str], simulated: bool) -> Iterator[ServedNode]:
    began = int(time.time())
    if folder is not None:
        began = _began(folder, accounts)
    database = Database(None if folder is None else folder / CHAIN)
    try:
        open_evm(database, [to_canonical_address(account) for account in accounts], began, read_only=False)
        evm = ServedEvm(database)  # the same chain
        node = ServedNode(evm, accounts, BlockClock(evm, simulated=simulated))
        try:
            yield node
        finally:
            with node.locked():  # whoever is writing a block ends it; nobody begins another
                database.close()
    finally:
        database.close()


def _began(folder: Path, accounts: Sequence[str]) -> int:
    """When the chain of a folder began: now, if it is new; raises RunError for a folder of something else."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / FILE).exists():
            if any(folder.iterdir()):
                raise RunError(f"{folder} holds something else than a chain: name another folder with --dir")
            _write(folder / FILE, {"format": FORMAT, "began": int(time.time()), "accounts": list(accounts)})
        content = json.loads((folder / FILE).read_bytes())
    except OSError as error:
        raise RunError(f"{folder} cannot be the folder of a chain: {error.strerror}") from None
    except (ValueError, RecursionError):
        content = None
    if (
        not isinstance(content, dict)
        or content.get("format") != FORMAT
        or type(content.get("began")) is not int
    ):
        raise RunError(
            f"{folder / FILE} is damaged: put it back from a copy, or begin a chain in another --dir"
        )
    if content.get("accounts") != list(accounts):
        raise RunError(
            f"{folder} holds a chain that began with other accounts: give the same --mnemonic and "
            "--accounts as then, or another --dir"
        )
    return int(content["began"])


def _write(path: Path, content: dict[str, Any]) -> None:
    """Write a file that is there as a whole or not at all."""
    temporary = path.with_name(f".{path.name}.new")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(json.dumps(content, indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _no_socket(host: str, port: int, error: Exception) -> str:
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is taken: end what listens there, or choose another with --port"
    if isinstance(error, socket.gaierror):
        return f"{host} is not an address of this machine: name one with --host"
    reason = getattr(error, "strerror", None) or str(error)
    return f"nothing can listen at {host}, port {port}: {reason}"


class _Http(ThreadingHTTPServer):
    """Connections in threads, so many at once; more are refused unheard."""

    daemon_threads = True
    node: ServedNode

    def __init__(self, family: socket.AddressFamily, address: tuple[str, int]) -> None:
        self.address_family = family
        self._places = threading.BoundedSemaphore(MAX_CONNECTIONS)
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Bind without asking the network for this machine's name, as HTTPServer does."""
        socketserver.TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Hear a connection in a thread of its own, if there is a place for it."""
        if not self._places.acquire(blocking=False):
            with suppress(OSError):
                request.setblocking(False)
                request.send(
                    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                )
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._places.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Hear a connection to its end and free its place."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is nobody's error."""


class _Timed(io.RawIOBase):
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


class _Handler(BaseHTTPRequestHandler):
    """One connection: POST with a body of known length, answered in order."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "bcfl", ""
    disable_nagle_algorithm = True  # head and body are two writes; the second would wait for the client
    server: _Http

    def setup(self) -> None:
        """Read under deadlines."""
        super().setup()
        self._timed = _Timed(self.connection)
        self.rfile = io.BufferedReader(self._timed)

    def handle_one_request(self) -> None:
        """One request and its answer; the connection ends with the first that is not in order."""
        self._timed.allow(IDLE_SECONDS)
        super().handle_one_request()

    def do_POST(self) -> None:
        """Answer a request or a batch."""
        length = self.headers.get("Content-Length", "")
        if self.headers.get("Origin") is not None:
            self._refuse(403, "pages in a browser may not talk to this chain")
        elif not (length.isascii() and length.isdecimal()) or self.headers.get("Transfer-Encoding"):
            self._refuse(411, "say the length of the request")
        elif len(length) > 9 or int(length) > MAX_BODY:
            self._refuse(413, f"a request has at most {MAX_BODY} bytes")
        else:
            self._timed.allow(BODY_SECONDS)
            body = self.rfile.read(int(length))
            if len(body) < int(length):
                self.close_connection = True
                return
            self._send(200, respond(self.server.node, body) or b"")

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what is no POST, or no HTTP."""
        del explain
        self._refuse(405 if code == 501 else code, message or "send JSON-RPC by POST")

    def log_message(self, *_: Any) -> None:
        """Nothing: clients poll."""

    def _refuse(self, status: int, message: str) -> None:
        """Refuse in one line and end the connection, whatever else the client is sending."""
        self.close_connection = True
        self.request_version = self.protocol_version  # also to what is not HTTP at all
        self._send(status, message.encode("ascii", "replace") + b"\n", "text/plain")
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self._timed.allow(LINGER_SECONDS)
            while self._timed.readinto(bytearray(2**16)):
                pass

    def _send(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.connection.settimeout(ANSWER_SECONDS)
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
