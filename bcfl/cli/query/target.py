"""What a query command asks: a run (`--run DIR`) or a deployed federation (`--network N --deployment NAME`).

The variable BCFL_NETWORK stands for --network where neither a run nor a deployment is named.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

from bcfl.cli.node.options import FOLDER, FolderOption, GatewayOption, NetworkOption, StoreOption
from bcfl.cli.options import (
    KeyFileOption,
    KeysOption,
    RunOption,
    RunsOption,
    given_keys,
    optional,
    runs_folder,
)
from bcfl.cli.output.printing import count_times_from
from bcfl.errors import ConfigError

if TYPE_CHECKING:
    from bcfl.federation.keyring import Keyring
    from bcfl.federation.query import Query
    from bcfl.protocol.submissions import Domain

DEPLOYMENT: Final = "federation"


@dataclass(frozen=True)
class QueryTarget:
    """The run, or the deployed federation, that a query is about."""

    run: RunOption = None
    runs: RunsOption = None
    network: NetworkOption = None
    deployment: Annotated[
        str | None,
        optional(
            "--deployment", "NAME", "Ask a deployed federation, by its name or address, instead of a run."
        ),
    ] = None
    folder: FolderOption = FOLDER
    store: StoreOption = "store"
    gateway: GatewayOption = None
    keys: KeysOption = None
    key_file: KeyFileOption = None

    def adding_to(self, keyring: Keyring, domain: Domain) -> Keyring:
        """Return a keyring with the keys that the options name; raises ConfigError."""
        if not self.keys and self.key_file is None:
            return keyring
        return keyring.adding(given_keys(self.keys, self.key_file, domain))

    @property
    def is_deployed(self) -> bool:
        """Whether a deployed federation is meant."""
        if self.network is not None or self.deployment is not None:
            return True
        return self.run is None and self.runs is None and bool(_default_network())

    @contextmanager
    def open(self) -> Iterator[Query]:
        """Open the run or the deployed federation; raises ConfigError where the options name both."""
        from bcfl.federation.query import open_deployment, open_run

        count_times_from(None)
        if not self.is_deployed:
            with open_run(self.run, runs_folder(self.runs)) as query:
                count_times_from(query.time_origin)
                query.keyring = self.adding_to(query.keyring, query.ledger.domain)
                yield query
            return
        for name, value in (("run", self.run), ("runs", self.runs)):
            if value is not None:
                other = "network" if self.deployment is None else "deployment"
                words = f"--{name} is for runs on this machine, --{other} for a deployed federation"
                raise ConfigError(f"{words}: leave one out")
        deployment = self.deployment or DEPLOYMENT
        with open_deployment(deployment, self.network, self.folder, self.store, self.gateway) as remote:
            remote.keyring = self.adding_to(remote.keyring, remote.ledger.domain)
            yield remote


def _default_network() -> str | None:
    from bcfl.ledger.deployment.networks import NAME_VARIABLE

    return os.environ.get(NAME_VARIABLE)
