"""What the commands share that join a federation on a network: its options, and how it is reached."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from bcfl.errors import ConfigError

if TYPE_CHECKING:
    from bcfl.federation.node import FederationClient
    from bcfl.ledger.deployment.networks import Network
    from bcfl.protocol.accounts import Account

FOLDER: Final = Path("deployments")
NetworkOption = Annotated[
    str | None,
    typer.Option(
        "--network",
        metavar="NAME",
        show_default=False,
        help="A network of bcfl.toml, or local; else BCFL_NETWORK, the node at ETH_RPC_URL, or local.",
    ),
]
DeploymentOption = Annotated[
    str,
    typer.Option("--deployment", metavar="NAME", help="The name of a deployment, or a contract's address."),
]
FolderOption = Annotated[
    Path, typer.Option("--deployments", metavar="DIR", help="The folder of the records of deployments.")
]
AccountOption = Annotated[
    str | None,
    typer.Option(
        "--account",
        metavar="WHO",
        show_default=False,
        help="Who signs and pays: an address of the keystore, or on a test network an index of its mnemonic.",
    ),
]
KeystoreOption = Annotated[
    Path | None,
    typer.Option(
        "--keystore",
        metavar="DIR",
        show_default=False,
        envvar="BCFL_KEYSTORE",
        help="The folder of the encrypted keys; else the network's.",
    ),
]
StoreOption = Annotated[
    str,
    typer.Option(
        "--store", metavar="STORE", envvar="BCFL_STORE", help="A folder, or ipfs:/ip4/127.0.0.1/tcp/5001."
    ),
]
GatewayOption = Annotated[
    str | None,
    typer.Option("--gateway", metavar="URL", show_default=False, help="Read from here what the store lacks."),
]


@contextmanager
def joined(
    network: str | None, deployment: str, folder: Path, **options: float
) -> Iterator[FederationClient]:
    """The federation that --network and --deployment name."""
    from bcfl.federation.node import reach
    from bcfl.ledger.deployment import networks

    with reach(networks.resolve(network), deployment, folder, **options) as client:
        yield client


def signing(
    network: Network, account: str | None, keystore: Path | None, password_file: Path | None
) -> Account:
    """The account that --account names on a network, or in the folder --keystore."""
    from bcfl.ledger.deployment import keystore as keys
    from bcfl.ledger.deployment import networks

    if keystore is not None:
        network = replace(network, keystore=keystore)
    return networks.signer(network, account, lambda: keys.read_password(password_file))


def share(text: str) -> tuple[int, int]:
    """Index (from 0) and number of the shares that `i/n` (from 1) names; raises ConfigError."""
    number, slash, count = text.partition("/")
    if slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count) <= 1024:
        return int(number) - 1, int(count)
    raise ConfigError(f"--share {text[:40]} is not i/n: 1/8 is the first of eight shares, 8/8 the last")


def address(text: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`; raises ConfigError."""
    host, colon, port = text.rpartition(":")
    if colon and host and port.isascii() and port.isdecimal() and int(port) < 65_536:
        return host.removeprefix("[").removesuffix("]"), int(port)
    raise ConfigError(f"--listen {text[:60]} is not HOST:PORT, as 127.0.0.1:9001; port 0 takes a free one")
