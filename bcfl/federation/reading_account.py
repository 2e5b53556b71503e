"""Read what is sealed in a deployed federation as one account can."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bcfl.federation.keyring import Keyring
from bcfl.roles.common.vault import Keys
from bcfl.roles.miner.keyholder import is_member

if TYPE_CHECKING:
    from bcfl.federation.client import FederationClient
    from bcfl.federation.query import RemoteQuery
    from bcfl.protocol.accounts import Account
    from bcfl.roles.common.archive import Archive
    from bcfl.roles.common.vault import Vault


def account_vault(client: FederationClient, account: Account, given: Keys | None = None) -> Vault:
    """Return what finds keys for an account of a deployed federation; `given` are keys that it has besides.

    Miners are asked over HTTP, if the account is one that they answer: a member, or a voter of some round.
    """
    from bcfl.relay.client import HttpRelay

    history, relay = client.ledger.history(), None
    votes = any(account.address in round_.readers for round_ in history.rounds.values())
    if votes or is_member(history, account.address):
        relay = HttpRelay(account, client.ledger, client.exchange_seconds, only_public=client.is_public)
    return Keyring((account,), given or Keys()).vault(client.ledger.domain, client.ledger.history, relay)


def account_archive(query: RemoteQuery, account: Account) -> Archive:
    """Return the vectors of a deployed federation as an account reads them, with the given keys too.

    Raises StoreError where the store holds no model that can be read.
    """
    return query.archive.of_party(account_vault(query.client, account, query.keyring.given))
