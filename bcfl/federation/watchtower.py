"""The watchtower of `bcfl watch --challenge`, which acts whenever the chain has been read."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from bcfl.errors import PayloadError, Reverted, StoreError
from bcfl.federation.layouts import stored_layout

if TYPE_CHECKING:
    from bcfl.federation.client import FederationClient
    from bcfl.ports import Store
    from bcfl.protocol.accounts import Account
    from bcfl.roles.common.keys import Keys


def start_watchtower(
    client: FederationClient,
    account: Account,
    store: Store,
    tell: Callable[[str], None],
    count: Callable[[str], None] = lambda _: None,
    given: Keys | None = None,
) -> Callable[[], None]:
    """Return what lets the watchtower act once, and `tell` what it did; `count` hears how it went.

    What is sealed it opens as a voter or a member, if the account is one, and with the keys that are `given`.
    Raises StoreError when the store knows no model.
    """
    from bcfl.federation.reading_account import account_vault
    from bcfl.roles.common.archive import Archive
    from bcfl.roles.watchtower.watchtower import Watchtower

    terms = client.ledger.terms
    history = client.ledger.history()
    names = [digest for block in history.blocks for digest in history.model_cids(block)]
    layout = stored_layout(store, terms, names)
    vault = account_vault(client, account, given)
    watchtower = Watchtower(account, client.ledger, Archive(store, layout, terms, vault=vault))

    def act() -> None:
        try:
            report = watchtower.act()
            if report is not None:
                count("acts_total")
        except (Reverted, PayloadError, StoreError) as error:  # another was quicker, or a store is away
            report = str(error)
            count("reverted_total" if isinstance(error, Reverted) else "failures_total")
        if report is not None:
            tell(report)

    return act
