"""Read what is sealed in a deployed federation as one account can."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bcfl.federation.keyring import Keyring
from bcfl.roles.common.keys import Keys
from bcfl.roles.common.members import is_member

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bcfl.federation.client import FederationClient
    from bcfl.federation.query import RemoteQuery
    from bcfl.ports import Inbox, Relay
    from bcfl.protocol.accounts import Account
    from bcfl.protocol.requests import KeyRequest
    from bcfl.protocol.rounds import History
    from bcfl.roles.common.archive import Archive
    from bcfl.roles.common.vault import Vault


class EntitledRelay:
    """The way to the miners, who are asked for keys only while they answer the account.

    They answer a member, and a voter of some round: who is neither yet may be one later.
    """

    def __init__(self, relay: Relay, history: Callable[[], History], address: str) -> None:
        self._relay, self._history, self._address = relay, history, address

    def inbox(self, miner: str) -> Inbox:
        """Return the inbox of a miner; raises RelayError if it has announced none that can be reached."""
        return self._relay.inbox(miner)

    def ask(self, miners: Sequence[str], request: KeyRequest) -> Iterator[tuple[str, bytes]]:
        """Yield what miners answer to a request for keys, as it comes; nothing to who gets no answer."""
        history = self._history()
        votes = any(self._address in round_.readers for round_ in history.rounds.values())
        if votes or is_member(history, self._address):
            yield from self._relay.ask(miners, request)


def account_vault(client: FederationClient, account: Account, given: Keys | None = None) -> Vault:
    """Return what finds keys for an account of a deployed federation; `given` are keys that it has besides.

    Miners are asked over HTTP, as soon as the account is one that they answer.
    """
    from bcfl.relay.client import HttpRelay

    direct = HttpRelay(account, client.ledger, client.exchange_seconds, only_public=client.is_public)
    relay = EntitledRelay(direct, client.ledger.history, account.address)
    return Keyring((account,), given or Keys()).vault(client.ledger.domain, client.ledger.history, relay)


def account_archive(query: RemoteQuery, account: Account) -> Archive:
    """Return the vectors of a deployed federation as an account reads them, with the given keys too.

    Raises StoreError where the store holds no model that can be read.
    """
    return query.archive.of_party(account_vault(query.client, account, query.keyring.given))
