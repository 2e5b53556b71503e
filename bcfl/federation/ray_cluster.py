"""Join a Ray cluster, or start one on this machine that ends with the run.

Ray (`ray`) is imported when a run is to train on it, not before. Its usage statistics and its dashboard stay
off, and what it would print stays in its own logs.
"""

from __future__ import annotations

import importlib
import os
import secrets
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Final

from bcfl.errors import ConfigError, RunError, one_line

LOCAL: Final = "local"
AUTO: Final = "auto"
CLIENT: Final = "ray://"
EXTRA: Final = "pip install 'bcfl[ray]'"
ANSWER_SECONDS: Final = 10.0
HEAD_SECONDS: Final = 10.0  # between two looks at the head
TOKEN_BYTES: Final = 32
CAUSE: Final = 300  # characters of what Ray says
# What a client of HTTP/2 says first (RFC 9113), with empty settings, and a call that any gRPC server answers,
# if only by an error.
FRAME_BYTES: Final = 9
DATA, HEADERS, SETTINGS = 0, 1, 4  # types of frames
END_STREAM, END_HEADERS = 1, 4  # flags
MAX_FRAMES: Final = 100  # before the answer
MAX_FRAME_BYTES: Final = 2**14  # that a server may send unasked (RFC 9113, 4.2)
PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, SETTINGS, 0, 0, 0, 0, 0])
CALL: Final = {
    ":method": "POST",
    ":scheme": "http",
    ":path": "/grpc.health.v1.Health/Check",
    ":authority": "ray",
    "te": "trailers",
    "content-type": "application/grpc",
}
FOLDER: Final = "/tmp"  # sockets lie below it, and their paths have 107 bytes at most
PRINTING: Final = ("ray._private.worker", "_worker_logs_enabled")  # of Ray's own: it prints what nodes report


@contextmanager
def joined_cluster(address: str, cpus: int | None, **limits: Any) -> Iterator[Any]:
    """Yield the package ray, connected: to `address`, or to a cluster of so many CPUs (None: all) of its own.

    `limits` are what else `ray.init` takes for its own one. A program that is connected already stays so.
    Raises ConfigError, one line, where that cannot be.
    """
    ray = _import_ray()
    if ray.is_initialized():
        yield ray
        return
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == AUTO:
        address = os.environ.get("RAY_ADDRESS", AUTO)
    with ExitStack() as stack:
        if address == LOCAL:
            folder = tempfile.TemporaryDirectory(prefix="bcfl-", dir=FOLDER, ignore_cleanup_errors=True)
            if (
                "RAY_AUTH_TOKEN_PATH" not in os.environ
            ):  # else Ray keeps a token in the home folder, for all to read
                os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(TOKEN_BYTES))
            options |= {
                "num_cpus": cpus,
                "include_dashboard": False,
                "_temp_dir": stack.enter_context(folder),
            } | limits
        elif address != AUTO:
            _check(address)
        stack.enter_context(_silent())
        try:
            stack.callback(_leave, ray)
            with _own_signals():
                ray.init(address, **options)
        except (Exception, SystemExit) as error:
            if isinstance(error, SystemExit) and error.code == signal.SIGTERM:  # Ray's handler of the signal
                raise KeyboardInterrupt from None
            raise ConfigError(f"--ray {address[:80]}: {_cause(error)}") from error
        yield ray


class Head:
    """The node of a cluster that all others ask. A minute after it has ended Ray ends this process too."""

    def __init__(self, ray: Any) -> None:
        self.address: str = ray.get_runtime_context().gcs_address
        self._is_reached = self._answers()  # no client of `ray://` need reach it
        self._time = time.monotonic()

    def require(self) -> None:
        """Raise RunError where it has ended; asks every few seconds at most."""
        if not self._is_reached or time.monotonic() - self._time < HEAD_SECONDS:
            return
        if not self._answers():
            raise RunError(f"the head of the Ray cluster, {self.address}, has ended: start a cluster again")
        self._time = time.monotonic()

    def _answers(self) -> bool:
        host, _, port = self.address.rpartition(":")
        with suppress(OSError, ValueError):
            socket.create_connection((host.strip("[]"), int(port)), ANSWER_SECONDS).close()
            return True
        return False


def _import_ray() -> Any:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        ray = importlib.import_module("ray")
        ray.init  # noqa: B018 - a folder of this name is a package too, with nothing in it
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"--ray needs {getattr(error, 'name', None) or 'ray'}: {EXTRA}") from None
    return ray


def _check(address: str) -> None:
    """Raise ConfigError for an address where nobody answers, in seconds; Ray tries for minutes."""
    host, colon, port = address.removeprefix(CLIENT).rpartition(":")
    if not (host and colon and port.isascii() and port.isdecimal() and 0 < int(port[:6]) < 2**16):
        raise ConfigError(f"--ray {address[:80]}: name {LOCAL}, {AUTO}, HOST:PORT or {CLIENT}HOST:PORT")
    if os.environ.get("RAY_USE_TLS", "0") not in ("0", ""):
        return  # what is said there is encrypted
    try:
        with socket.create_connection((host.strip("[]"), int(port)), ANSWER_SECONDS) as connection:
            is_cluster = _answers_call(connection)
    except (OSError, UnicodeError) as error:
        cause = "nobody answers"
        if isinstance(error, OSError) and error.strerror:
            cause = f"nobody answers, {error.strerror}"
        raise ConfigError(
            f"--ray {address[:80]}: {cause}: start the cluster with `ray start --head`"
        ) from None
    if not is_cluster:
        raise ConfigError(f"--ray {address[:80]}: what answers there is no Ray cluster")


def _answers_call(connection: socket.socket) -> bool:
    """Whether a gRPC server is at the other end, which answers any call; raises OSError if it is silent."""
    fields = b"".join(_literal(name) + _literal(value, b"") for name, value in CALL.items())
    message = bytes(5)  # not compressed, of no bytes
    connection.sendall(PREFACE + _frame(HEADERS, END_HEADERS, fields) + _frame(DATA, END_STREAM, message))
    deadline, is_first = time.monotonic() + ANSWER_SECONDS, True
    for _ in range(MAX_FRAMES):
        connection.settimeout(max(0.01, deadline - time.monotonic()))
        head = connection.recv(FRAME_BYTES, socket.MSG_WAITALL)
        if len(head) < FRAME_BYTES or (is_first and head[3] != SETTINGS):
            return False
        if head[3] == HEADERS:
            return True
        is_first, size = False, int.from_bytes(head[:3], "big")
        if size > MAX_FRAME_BYTES or (size and len(connection.recv(size, socket.MSG_WAITALL)) < size):
            return False
    return False


def _frame(kind: int, flags: int, content: bytes) -> bytes:
    """Return a frame of the first stream."""
    return len(content).to_bytes(3, "big") + bytes([kind, flags, 0, 0, 0, 1]) + content


def _literal(text: str, prefix: bytes = b"\0") -> bytes:
    """Return a name, or without `prefix` a value, of a field as HPACK has it (RFC 7541, 6.2.2)."""
    return prefix + bytes([len(text)]) + text.encode()


def _cause(error: BaseException) -> str:
    """Return on one line why Ray cannot be joined; its own words on a token are a page."""
    item: BaseException | None = error
    while item is not None:
        if type(item).__name__ == "AuthenticationError" or "InvalidAuthToken" in str(item):
            return (
                "it wants another token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH"
            )
        item = item.__cause__ or item.__context__
    lines = str(error).strip().splitlines()
    return lines[-1].strip()[:CAUSE] if len(lines) > 1 else one_line(error)


def _leave(ray: Any) -> None:
    with suppress(Exception):
        ray.shutdown()


@contextmanager
def _own_signals() -> Iterator[None]:
    """Put back what SIGTERM does, which Ray takes over."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)


@contextmanager
def _silent() -> Iterator[None]:
    """Keep Ray from printing on stdout what its nodes report; an option of it does not hold all back."""
    name, attribute = PRINTING
    module = sys.modules.get(name)
    shows = getattr(module, attribute, None)
    if shows is None:
        yield
        return
    setattr(module, attribute, False)
    try:
        yield
    finally:
        setattr(module, attribute, shows)
