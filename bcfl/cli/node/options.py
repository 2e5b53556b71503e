"""The options of the commands that take part in a federation on a network, in groups."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from bcfl.cli.options import optional
from bcfl.errors import ConfigError

if TYPE_CHECKING:
    from bcfl.federation.client import FederationClient
    from bcfl.ledger.deployment.networks import Network
    from bcfl.ports import Store
    from bcfl.protocol.accounts import Account

MAX_SHARES: Final = 1024
FOLDER: Final = Path("deployments")
NetworkOption = Annotated[
    str | None,
    optional(
        "--network",
        "NAME",
        "A network of bcfl.toml, or local; else BCFL_NETWORK, the node at ETH_RPC_URL, or local.",
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
    optional(
        "--account",
        "ACCOUNT",
        "The account that signs: an address of the keystore, or an index of a test network's mnemonic.",
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
    optional("--gateway", "URL", "Read from here what the store lacks."),
]
PasswordFileOption = Annotated[
    Path | None,
    optional(
        "--password-file",
        "FILE",
        "Read the password from FILE; else it is ETH_KEYSTORE_PASSWORD, or asked for.",
    ),
]


MetricsOption = Annotated[
    str | None, optional("--metrics", "HOST:PORT", "Serve /metrics for Prometheus here.")
]
TlsCertificateOption = Annotated[
    Path | None,
    optional("--tls-cert", "FILE", "Encrypt connections with this certificate, in PEM; https:// then."),
]
TlsKeyOption = Annotated[Path | None, optional("--tls-key", "FILE", "The key of the certificate, in PEM.")]


@dataclass(frozen=True)
class FederationOptions:
    """The deployed federation that a command is about."""

    network: NetworkOption = None
    deployment: DeploymentOption = "federation"
    folder: FolderOption = FOLDER

    @contextmanager
    def connect(self) -> Iterator[FederationClient]:
        """Connect to the federation; raises ConfigError where there is none of that name."""
        from bcfl.federation.client import connect
        from bcfl.ledger.deployment import networks

        with connect(networks.resolve(self.network), self.deployment, self.folder) as client:
            yield client


@dataclass(frozen=True)
class SignerOptions:
    """The account that a command signs with."""

    account: AccountOption = None
    keystore: KeystoreOption = None
    password_file: PasswordFileOption = None

    def unlock(self, network: Network) -> Account:
        """Return the account on a network, or from the folder --keystore; asks for its password."""
        from bcfl.ledger.deployment import keystore, networks

        if self.keystore is not None:
            network = replace(network, keystore=self.keystore)
        return networks.signer(network, self.account, lambda: keystore.read_password(self.password_file))


@dataclass(frozen=True)
class StoreOptions:
    """Where a command reads and keeps bytes."""

    store: StoreOption = "store"
    gateway: GatewayOption = None

    def open(self, **options: float) -> Store:
        """Open the store; `options` are those of `bcfl.storage.open_store`."""
        from bcfl.storage import open_store

        return open_store(self.store, self.gateway, **options)


def parse_share(text: str) -> tuple[int, int]:
    """Return index (from 0) and number of the shares that `i/n` (from 1) names; raises ConfigError."""
    number, slash, count = text.partition("/")
    if slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count) <= MAX_SHARES:
        return int(number) - 1, int(count)
    raise ConfigError(f"--share {text[:40]} is not i/n: 1/8 is the first of eight shares, 8/8 the last")


def parse_listen(text: str, option: str = "--listen") -> tuple[str, int]:
    """Return host and port of `HOST:PORT`; raises ConfigError."""
    host, colon, port = text.rpartition(":")
    if colon and host and port.isascii() and port.isdecimal() and int(port) < 65_536:
        return host.removeprefix("[").removesuffix("]"), int(port)
    raise ConfigError(f"{option} {text[:60]} is not HOST:PORT, as 127.0.0.1:9001; port 0 takes a free one")
