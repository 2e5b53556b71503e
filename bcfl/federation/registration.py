"""Register a miner with a deployed federation, and open its first round."""

from __future__ import annotations

import logging
from contextlib import suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING

from bcfl.errors import ConfigError
from bcfl.ledger.deployment.deploy import ether
from bcfl.protocol.readers import with_key
from bcfl.protocol.sealing import ROTATIONS, ReaderKey, reader_key
from bcfl.relay.client import PRIVATE_SETTING, Endpoint
from bcfl.transport.client import is_private_host

if TYPE_CHECKING:
    from bcfl.federation.client import FederationClient
    from bcfl.protocol.accounts import Account
    from bcfl.protocol.rounds import History
    from bcfl.protocol.submissions import Domain

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
        endpoint = with_own_key(client.ledger.domain, account, endpoint, history)
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


def with_own_key(domain: Domain, account: Account, endpoint: str, history: History) -> str:
    """Return an endpoint with the key behind it that the account reads with now, or its first one."""
    key = reader_key(account, domain, history.reader_keys.get(account.address))
    return with_key(endpoint, (key or ReaderKey.of(account, domain)).public)


def warn_of_endpoint(client: FederationClient, endpoint: str) -> None:
    """Log that others will not reach a miner, where its endpoint says so; raises RelayError as `Endpoint`."""
    host = Endpoint.parse(endpoint).host
    is_nowhere = False
    with suppress(ValueError):
        is_nowhere = ip_address(host).is_unspecified
    if is_nowhere:
        log.warning("nobody else reaches %s: say with --endpoint where this machine is reached", host)
    elif client.is_public and is_private_host(host):
        log.warning(
            "nobody else asks %s, this machine or in a private network: say with --endpoint where this "
            "machine is reached; if all parties are in that network, all set %s", host, PRIVATE_SETTING,
        )  # fmt: skip


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
