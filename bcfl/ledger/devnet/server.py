"""Serve the embedded chain on a socket: JSON-RPC over HTTP, one block a transaction, kept in a folder.

The folder holds

    chain.json    when the chain began and which accounts it funds
    chain.sqlite  the chain

Everybody who reaches the socket may send transactions and move the clock. It is therefore the loopback's
unless told otherwise, and no page in a browser may talk to it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from eth_utils.address import to_canonical_address

from bcfl.errors import RunError
from bcfl.folders import make_folder, write_whole
from bcfl.ledger.devnet.database import Database
from bcfl.ledger.devnet.deadline import ServedEvm
from bcfl.ledger.devnet.evm import open_evm
from bcfl.ledger.devnet.jsonrpc import respond
from bcfl.ledger.devnet.methods import MAX_SECONDS, BlockClock, ServedNode
from bcfl.transport.connections import client_of
from bcfl.transport.server import Handler, Limits, Server, host_name
from bcfl.transport.tls import TlsFiles

FORMAT: Final = 1
FILE: Final = "chain.json"
CHAIN: Final = "chain.sqlite"
LIMITS: Final = Limits(body_bytes=4 * 2**20, per_address=128)


class ChainServer(Server):
    """A server of a node at `host`:`port` (0: any free port), once it has one; one thread a connection.

    Raises ConfigError when nothing can listen there.
    """

    node: ServedNode

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 8545,
        limits: Limits = LIMITS,
        allowed_hosts: Sequence[str] = (),
        tls: TlsFiles | None = None,
    ) -> None:
        hosts = frozenset(host_name(name) for name in (host, *allowed_hosts))
        super().__init__(host, port, _Handler, limits, hosts, tls)


class _Handler(Handler):
    """JSON-RPC by POST, and nothing else."""

    server: ChainServer

    def get(self) -> None:
        """Refuse a GET."""
        self.refuse(405, "send JSON-RPC by POST")

    def post(self, body: bytes) -> None:
        """Answer a request or a batch."""
        self.answer(200, respond(self.server.node, body, client_of(self.client_address[0])) or b"")


@contextmanager
def serve(
    folder: Path | None,
    accounts: Sequence[str],
    host: str = "127.0.0.1",
    port: int = 8545,
    simulated: bool = False,
    limits: Limits = LIMITS,
    allowed_hosts: Sequence[str] = (),
    tls: TlsFiles | None = None,
) -> Iterator[ChainServer]:
    """Serve the chain in `folder` (None: in memory) on a socket; a new one funds `accounts`.

    Clients may ask for it by the names of this machine, `host` and `allowed_hosts`.
    Raises ConfigError for a port that is taken, RunError for a folder that cannot serve.
    """
    server = ChainServer(host, port, limits, allowed_hosts, tls)
    try:
        with _open_node(folder, accounts, simulated) as node:
            server.node = node
            server.start()
            try:
                yield server
            finally:
                server.stop()
    finally:
        server.stop()


@contextmanager
def _open_node(folder: Path | None, accounts: Sequence[str], simulated: bool) -> Iterator[ServedNode]:
    genesis_time = int(time.time()) if folder is None else _genesis_time(folder, accounts)
    database = Database(None if folder is None else folder / CHAIN)
    try:
        open_evm(
            database, [to_canonical_address(account) for account in accounts], genesis_time, read_only=False
        )
        evm = ServedEvm(database)  # the same chain
        node = ServedNode(evm, accounts, BlockClock(evm, simulated=simulated))
        try:
            yield node
        finally:
            with node.lock():  # a block that is being written is finished; no other is begun
                database.close()
    finally:
        database.close()


def _genesis_time(folder: Path, accounts: Sequence[str]) -> int:
    """Return when the chain of a folder began: now, if it is new; RunError for a folder of something else."""
    try:
        make_folder(folder)
        if not (folder / FILE).exists():
            if any(not file.name.startswith(f".{FILE}.") for file in folder.iterdir()):  # of a start cut off
                raise RunError(f"{folder} holds something else than a chain: name another folder with --dir")
            new: dict[str, Any] = {"format": FORMAT, "began": int(time.time()), "accounts": list(accounts)}
            write_whole(folder / FILE, (json.dumps(new, indent=1) + "\n").encode())
        content = json.loads((folder / FILE).read_bytes())
    except OSError as error:
        raise RunError(f"{folder} cannot be the folder of a chain: {error.strerror}") from None
    except (ValueError, RecursionError):
        content = None
    if (
        not isinstance(content, dict)
        or content.get("format") != FORMAT
        or type(content.get("began")) is not int
        or not 0 <= content["began"] < MAX_SECONDS
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
