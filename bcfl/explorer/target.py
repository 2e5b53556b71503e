"""Name what is explored: a run's folder, a deployed federation, or a bundle; it can be opened many times."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from bcfl.bundle.query import BundleQuery, open_bundle_query
from bcfl.errors import ConfigError
from bcfl.federation.audits import AuditSource, source_of
from bcfl.federation.keyring import Keyring
from bcfl.federation.query import LocalQuery, Query, RemoteQuery
from bcfl.pages.texts import count_times_from
from bcfl.protocol.submissions import Domain

Kind = Literal["run", "deployment", "bundle"]
WEB: Final = re.compile(r"https?://[^\s\"'<>]+", re.ASCII)


@dataclass(frozen=True)
class Target:
    """What is explored. `opener` opens it anew; `poll` are the seconds between two looks at the chain."""

    opener: Callable[[], AbstractContextManager[Query]]
    poll: float = 1.0

    def open(self) -> AbstractContextManager[Query]:
        """Open it for reading."""
        return self.opener()


@dataclass(frozen=True)
class Identity:
    """How pages name what they show. `explorer` is where a block explorer is, without a / at its end."""

    kind: Kind
    name: str
    contract: str
    chain_id: int
    network: str | None
    explorer: str | None


def identify(query: Query) -> Identity:
    """Return how pages name an opened federation; raises ConfigError where its network's entry is odd."""
    domain = query.ledger.domain
    if isinstance(query, RemoteQuery):
        network = query.client.network
        if network.explorer is not None and not WEB.fullmatch(network.explorer):
            raise ConfigError(
                f"explorer of network {network.name} is no http:// or https:// address: correct it"
            )
        base = None if network.explorer is None else network.explorer.rstrip("/")
        return Identity("deployment", query.client.name, domain.contract, domain.chain_id, network.name, base)
    if isinstance(query, BundleQuery):
        return Identity("bundle", query.path.name, domain.contract, domain.chain_id, None, None)
    name = query.path.name if isinstance(query, LocalQuery) else domain.contract
    return Identity("run", name, domain.contract, domain.chain_id, None, None)


def is_still(query: Query) -> bool:
    """Whether nothing can come after what was read."""
    return isinstance(query, BundleQuery)


def audit_source(query: Query) -> AuditSource:
    """Gather what an audit examines."""
    if isinstance(query, BundleQuery):
        return replace(query.source, keyring=query.keyring)
    return source_of(query.contract, query.store, query.first_block, query.keyring)


def bundle_target(
    path: Path,
    block_hash: str | None,
    adding_to: Callable[[Keyring, Domain], Keyring] = lambda keyring, _: keyring,
) -> Target:
    """Return a bundle as a target; `adding_to` adds keys to those that it carries."""

    @contextmanager
    def opener() -> Iterator[Query]:
        with open_bundle_query(path, block_hash) as query:
            count_times_from(query.time_origin)
            query.keyring = adding_to(query.keyring, query.ledger.domain)
            yield query

    return Target(opener)
