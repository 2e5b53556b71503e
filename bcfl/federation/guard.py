"""`bcfl watch --challenge`: every proposal recomputed by an outsider, and challenged where it is wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from bcfl.errors import PayloadError, Reverted, StoreError
from bcfl.federation.layouts import stored_layout

if TYPE_CHECKING:
    from bcfl.federation.node import FederationClient
    from bcfl.ports import Store
    from bcfl.protocol.accounts import Account


def guard(client: FederationClient, account: Account, store: Store) -> Callable[[], None]:
    """What is to be called at every look at the chain; raises StoreError when the store knows no model."""
    from bcfl.roles.common.archive import Archive
    from bcfl.roles.watchtower.watchtower import Watchtower

    terms = client.ledger.terms
    layout = stored_layout(store, terms, [block.cid for block in client.ledger.history().blocks])
    tower = Watchtower(account, client.ledger, Archive(store, layout, terms))

    def look() -> None:
        try:
            done = tower.act()
        except (Reverted, PayloadError, StoreError) as error:  # another was quicker, or a store is away
            done = str(error)
        if done is not None:
            print(done, file=sys.stderr, flush=True)

    return look
