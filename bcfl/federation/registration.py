"""Register a miner with a deployed federation, and open its first round."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from bcfl.errors import ConfigError
from bcfl.ledger.deployment.deploy import ether
from bcfl.relay.client import Endpoint

if TYPE_CHECKING:
    from bcfl.federation.client import FederationClient
    from bcfl.protocol.accounts import Account

log = logging.getLogger(__name__)


def register_miner(client: FederationClient, account: Account, endpoint: str, stake: int | None) -> None:
    """Register a miner that is not registered yet, with `stake` wei, and announce its URL if that is new.

    Raises ConfigError for a miner that has left, for a new one without a stake, and for a malformed URL.
    """
    Endpoint.parse(endpoint)
    contract, history = client.ledger.contract, client.ledger.history()
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
