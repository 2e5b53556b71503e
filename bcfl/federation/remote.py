"""A deployed federation as the queries see it: what its contract recorded, read from a node in ranges."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from bcfl.cli.node.joining import joined
from bcfl.cli.query.networked import PLACE
from bcfl.federation.query import LocalQuery
from bcfl.protocol.events import take_in
from bcfl.protocol.rounds import History

if TYPE_CHECKING:
    from bcfl.federation.node import FederationClient
    from bcfl.ledger.contract import Event
    from bcfl.ports import Store


class RemoteQuery(LocalQuery):
    """A deployed federation as the queries see it."""

    go_on = "bcfl start round"

    def __init__(self, client: FederationClient, store: Store) -> None:
        self.path, self.journals = Path(client.name), Path("journal")
        self.client, self.first_block = client, client.block
        self.chain, self.ledger, self.store = client.chain, client.ledger, store  # type: ignore[assignment]

    @cached_property
    def events(self) -> list[Event]:
        """All events of the contract, read in ranges from its deployment on."""
        return list(self.contract.events(self.client.block))

    @cached_property
    def history(self) -> History:
        """What the events tell."""
        return take_in(History(self.terms.min_stake), self.events)


@contextmanager
def elsewhere() -> Iterator[RemoteQuery | None]:
    """The deployed federation that the running command is about; None if it is about a run."""
    place = PLACE.get()
    if place is None:
        yield None
        return
    from bcfl.storage import open_store

    with joined(place.network, place.deployment, place.folder) as client:
        yield RemoteQuery(client, open_store(place.store, place.gateway))
