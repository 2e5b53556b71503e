"""`bcfl chain up`: a chain of your own behind a socket, for as long as the command runs."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer

from bcfl.cli.node.options import (
    MetricsOption,
    NetworkOption,
    TlsCertificateOption,
    TlsKeyOption,
    parse_listen,
)
from bcfl.cli.output.printing import print_fields
from bcfl.cli.output.terminal import say
from bcfl.errors import ConfigError, Unreachable

if TYPE_CHECKING:
    from bcfl.ledger.devnet.server import ChainServer

MNEMONIC: Final = "test test test test test test test test test test test junk"
MAX_ACCOUNTS: Final = 1_000
POLL: Final = 0.2  # seconds between two tries to reach a node

app = typer.Typer(help="A chain of your own, for development and tests.", no_args_is_help=True)


class Time(StrEnum):
    """The clock that the time of a block follows."""

    REAL = "real"
    SIMULATED = "simulated"


@app.command()
def up(
    host: Annotated[str, typer.Option(help="The address to listen at.")] = "127.0.0.1",
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-host",
            metavar="NAME",
            show_default=False,
            help="A name by which clients ask for this machine, besides localhost; may be repeated.",
        ),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")] = 8545,
    folder: Annotated[Path, typer.Option("--dir", metavar="DIR", help="Where the chain is kept.")] = Path(
        "chain"
    ),
    accounts: Annotated[int, typer.Option(min=1, max=MAX_ACCOUNTS, help="Accounts with ether.")] = 20,
    mnemonic: Annotated[
        str, typer.Option(show_default=False, help="Where the accounts come from, for a test chain only.")
    ] = MNEMONIC,
    time: Annotated[
        Time, typer.Option(help="The wall's time, or a second a block until a client moves it.")
    ] = Time.REAL,
    tls_cert: TlsCertificateOption = None,
    tls_key: TlsKeyOption = None,
    metrics: MetricsOption = None,
    anvil: Annotated[
        bool, typer.Option("--anvil", metavar="", help="Run anvil instead of the embedded chain.")
    ] = False,
) -> None:
    """Serve a chain over JSON-RPC until Ctrl-C or SIGTERM; it goes on where it stood when started again."""
    from bcfl.ledger.deployment.keystore import derive

    addresses = [account.address for account in derive(mnemonic, 0, accounts)]
    if anvil:
        if allow_host or tls_cert or tls_key or metrics:
            raise ConfigError(
                "anvil answers to any name, without TLS and metrics: leave out --allow-host, --tls-cert and "
                "--metrics, or --anvil"
            )
        _anvil(host, port, folder, accounts, mnemonic, time)
    from bcfl.ledger.devnet.server import CHAIN, serve
    from bcfl.transport.tls import TlsFiles

    end = _end_of_signals()
    serving = serve(
        folder, addresses, host, port, time is Time.SIMULATED,
        allowed_hosts=allow_host or (), tls=TlsFiles.of(tls_cert, tls_key),
    )  # fmt: skip
    place = None if metrics is None else parse_listen(metrics, "--metrics")
    with ExitStack() as stack:
        server = stack.enter_context(serving)
        fields = [("rpc", server.pinned_url), ("chain", "31337"), ("kept in", str(folder))]
        if place is not None:
            url = _observe(stack, server, folder / CHAIN, time is Time.SIMULATED, place)
            fields.append(("metrics", f"{url}/metrics"))
        _warn(host, mnemonic)
        print_fields([*fields, *_listed(addresses)])
        sys.stdout.flush()
        end.wait()


@app.command()
def wait(
    network: NetworkOption = None,
    seconds: Annotated[
        float, typer.Option("--seconds", metavar="X", min=0, max=3600, help="How long at most.")
    ] = 60.0,
) -> None:
    """Wait until the node of a network answers, as after `bcfl chain up` in the background."""
    from bcfl.ledger.deployment import networks

    resolved, reason = networks.resolve(network), ""
    deadline = monotonic() + seconds
    while True:
        try:
            with closing(networks.connect(resolved)) as chain_client:
                client = chain_client.request("web3_clientVersion")
                block = chain_client.request("eth_blockNumber")
                break
        except Unreachable as error:
            if monotonic() > deadline:
                raise
            if reason != (reason := str(error)):
                say(f"waiting: {reason}", to_stderr=True)
            sleep(POLL)
    print_fields(
        [
            ("rpc", chain_client.url),
            ("chain", str(chain_client.chain_id)),
            ("node", client),
            ("block", int(block, 16)),
        ]
    )


def register(parent: typer.Typer) -> None:
    """Add `bcfl chain`."""
    parent.add_typer(app, name="chain")


def _end_of_signals() -> threading.Event:
    """Return what is set when somebody wants the process to end."""
    end = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: end.set())
    return end


def _observe(
    stack: ExitStack, server: ChainServer, file: Path, is_simulated: bool, place: tuple[str, int]
) -> str:
    """Serve the counters of a chain until `stack` is closed; returns their URL."""
    from bcfl.federation import metrics
    from bcfl.federation.observers import ChainObserver

    observer = ChainObserver(server.node, file, is_simulated=is_simulated)
    return stack.enter_context(metrics.serve(observer, *place))


def _listed(addresses: list[str]) -> Iterator[tuple[str, object]]:
    """Yield the accounts, ten at most."""
    for index, address in enumerate(addresses[:10]):
        yield f"account {index}", address
    if len(addresses) > 10:
        yield "", f"and {len(addresses) - 10} more"


def _warn(host: str, mnemonic: str) -> None:
    """Say what makes the chain unfit for anything but tests."""
    if mnemonic == MNEMONIC:
        say(
            f'warning: everybody knows the keys of these accounts; their mnemonic is "{MNEMONIC}". '
            "Never send them anything of value on another chain.",
            to_stderr=True,
        )
    if not _is_loopback(host):
        say(
            f"warning: whoever reaches {host} may send transactions to this chain and move its clock; "
            "by a name other than the machine's own addresses only with --allow-host NAME.",
            to_stderr=True,
        )
    sys.stderr.flush()


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _anvil(host: str, port: int, folder: Path, accounts: int, mnemonic: str, time: Time) -> NoReturn:
    """Become anvil; raises ConfigError where it is not installed or could not start."""
    from bcfl.ledger.devnet.anvil import become_anvil, prepare_anvil

    if time is Time.SIMULATED:
        raise ConfigError("anvil keeps the wall's time: leave out --time simulated, or --anvil")
    binary, port = prepare_anvil(host, port, folder)
    _warn(host, mnemonic)
    print_fields([("rpc", f"http://{host}:{port}"), ("chain", "31337, anvil"), ("kept in", folder)])
    sys.stdout.flush()
    become_anvil(binary, host, port, folder, accounts, None if mnemonic == MNEMONIC else mnemonic)
