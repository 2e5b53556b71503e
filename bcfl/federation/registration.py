"""Register a miner with a deployed federation, and open its first round."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from bcfl.errors import ConfigError
from bcfl.ledger.deployment.deploy import ether
from bcfl.protocol.readers import with_key
from bcfl.protocol.sealing import ROTATIONS, ReaderKey, reader_key
from bcfl.relay.client import Endpoint

if TYPE_CHECKING:
    from bcfl.federation.client import FederationClient
    from bcfl.protocol.accounts import Account

log = logging.getLogger(__name__)


def register_miner(
    client: FederationClient, account: Account, endpoint: str, stake: int | None, *, reads: bool = False
) -> None:
    """Register a miner that is not registered yet, with `stake` wei, and announce its URL if that is new.

    One that `reads` sealed updates announces a key for that behind the URL. Raises ConfigError for a miner
    that has left, for a new one without a stake, and for a malformed or too long URL.
    """
    contract, history = client.ledger.contract, client.ledger.history()
    if reads:
        key = reader_key(account, client.ledger.domain, history.reader_keys.get(account.address))
        endpoint = with_key(endpoint, (key or ReaderKey.of(account, client.ledger.domain)).public)
    Endpoint.parse(endpoint)
    member = history.miners.get(account.address)
    if member is None:
        if stake is None:
            minimum = ether(client.ledger.terms.min_stake)
            raise ConfigError(f"{account.address} is no miner yet: join with --stake, at least {minimum}")
        contract.send(account, "register_miner", value=stake)
        log.info("registered with a stake of %s", ether(stake), extra={"account": account.address})
    elif member.exit_round:
        raise ConfigError(f"{account.address} has left the federation as a miner: take another account")
    if history.endpoints.get(account.address) != endpoint:
        contract.send(account, "announce", endpoint)


def rotate_key(client: FederationClient, account: Account) -> ReaderKey:
    """Announce a miner's next key to read with, in force from the next round on; return it.

    The miner goes on reading what was sealed for the keys before. Raises ConfigError for who is no miner, or
    has no key left.
    """
    history, domain = client.ledger.history(), client.ledger.domain
    if account.address not in history.miners or account.address not in history.endpoints:
        raise ConfigError(f"{account.address} is no miner of {client.name} that has announced where it is")
    public = history.reader_keys.get(account.address)
    numbers = range(ROTATIONS)
    current = next((n for n in numbers if ReaderKey.of(account, domain, n).public == public), -1)
    if current + 1 not in numbers:
        raise ConfigError(f"a miner has {ROTATIONS} keys in a federation, and {account.address} has used all")
    key = ReaderKey.of(account, domain, current + 1)
    endpoint = with_key(history.endpoints[account.address], key.public)
    client.ledger.contract.send(account, "announce", endpoint)
    return key


def open_first_round(client: FederationClient, owner: Account) -> bool:
    """Open round 1 as the owner; False if that has been done. Raises ConfigError while nobody takes part."""
    history = client.ledger.history()
    if history.rounds:
        return False
    if not history.miners or not history.devices:
        absence = "device is registered" if history.miners else "miner has joined"
        raise ConfigError(f"no {absence} yet: the first round would come to nothing")
    client.ledger.contract.send(owner, "start")
    return True
