"""A server on loopback that answers as a test tells it to, byte by byte: for what no real one would do."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Request:
    """One request as it came."""

    method: str
    target: str
    headers: dict[str, str]

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.target).query))


Script = Callable[[Request], Iterable[bytes]]


class Server:
    """Runs `script` for each request and sends what it yields; a context manager."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.requests: list[Request] = []
        self.sent = 0  # bytes
        self.over = threading.Event()  # scripts wait on it, so that none outlives its test
        owner = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                owner._serve(self)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.port = int(self._server.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.address = f"/ip4/127.0.0.1/tcp/{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.over.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def drip(self, data: bytes, seconds: float) -> Iterator[bytes]:
        """One byte after the other, with a wait between them."""
        for byte in data:
            if self.over.wait(seconds):
                return
            yield bytes([byte])

    def silence(self) -> Iterator[bytes]:
        """Nothing, until the test is over."""
        self.over.wait(30)
        yield from ()

    def _serve(self, handler: socketserver.StreamRequestHandler) -> None:
        try:
            request = _read(handler)
            self.requests.append(request)
            for piece in self.script(request):
                handler.wfile.write(piece)
                self.sent += len(piece)
        except (OSError, ValueError):  # the client went away, or came with nothing
            pass


def reply(body: bytes | object = b"", status: int = 200, **headers: str) -> list[bytes]:
    """A whole answer; what is not bytes goes as JSON, and `_` in a header's name stands for `-`."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(raw)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ["\r\n".join([*lines, "", ""]).encode(), raw]


def chunked(pieces: Iterable[bytes], trailer: str = "") -> Iterator[bytes]:
    """An answer in chunks, with a trailer when given."""
    yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    for piece in pieces:
        yield b"%x\r\n%s\r\n" % (len(piece), piece)
    yield b"0\r\n" + (f"{trailer}\r\n" if trailer else "").encode() + b"\r\n"


def _read(handler: socketserver.StreamRequestHandler) -> Request:
    method, target, _ = handler.rfile.readline().decode("latin-1").split(" ")
    headers = {}
    while line := handler.rfile.readline().strip():
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    if headers.get("transfer-encoding") == "chunked":
        while size := int(handler.rfile.readline(), 16):
            handler.rfile.read(size + 2)
        handler.rfile.readline()
    return Request(method, target, headers)
