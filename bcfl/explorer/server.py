"""Serve an explorer on a port of this machine until it is interrupted."""

from __future__ import annotations

import errno
import socket
import threading
import webbrowser
from collections.abc import Callable
from contextlib import suppress

import uvicorn

from bcfl.errors import ConfigError
from bcfl.explorer.app import Explorer

BACKLOG = 128
CONNECTIONS = 256


def listen(host: str, port: int) -> socket.socket:
    """Take a port, any free one for 0; raises ConfigError where it cannot be had."""
    try:
        info = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(info[0], socket.SOCK_STREAM)
    except OSError as error:
        raise ConfigError(f"--host {host[:60]} is no address of this machine: {error.strerror}") from None
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(info[4])
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"port {port} is taken: name another with --port, or --port 0 for a free one"
            ) from None
        raise ConfigError(f"{host}:{port} cannot be listened on: {error.strerror}") from None
    return sock


def address_of(sock: socket.socket) -> str:
    """Return the address of an explorer on a socket, as a browser takes it."""
    host, port = sock.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def open_browser(address: str) -> None:
    """Open an address in the user's browser, where there is one."""
    threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()


class ExplorerServer(uvicorn.Server):
    """An explorer on a socket, once `serve_until_stopped` is called; `ready` is told when it answers."""

    def __init__(self, explorer: Explorer, sock: socket.socket, ready: Callable[[], None]) -> None:
        config = uvicorn.Config(
            explorer.app,
            access_log=False,
            log_level="warning",
            http="h11",
            ws="none",
            lifespan="on",
            proxy_headers=False,
            server_header=False,
            limit_concurrency=CONNECTIONS,
            timeout_graceful_shutdown=1,
        )
        super().__init__(config)
        self.sock, self.ready = sock, ready

    def serve_until_stopped(self) -> None:
        """Serve until interrupted, or until `should_exit` is set."""
        with suppress(KeyboardInterrupt):
            self.run(sockets=[self.sock])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and tell of it."""
        await super().startup(sockets)
        if self.started:
            self.ready()
