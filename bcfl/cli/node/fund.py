"""`bcfl fund`: more money for the pool that rewards are paid from."""

from __future__ import annotations

from typing import Annotated

import typer

from bcfl.cli.groups import grouped
from bcfl.cli.node.options import FederationOptions, SignerOptions
from bcfl.cli.options import JsonOption
from bcfl.cli.output.printing import ether, plural, print_fields, print_json
from bcfl.config.values import parse_wei
from bcfl.errors import ConfigError
from bcfl.protocol.limits import WEI_BITS


@grouped
def fund(
    federation: FederationOptions,
    signer: SignerOptions,
    text: Annotated[str, typer.Argument(metavar="AMOUNT", help="Wei, or an amount such as '1.5 ether'.")],
    as_json: JsonOption = False,
) -> None:
    """Add to the pool that rewards are paid from; anybody may, and nobody gets it back.

    A round pays its reward as far as the pool goes. An empty pool stops no training; nobody earns then.
    """
    amount = _parse(text)
    with federation.connect() as client:
        account = signer.unlock(client.network)
        client.ledger.contract.send(account, "fund", value=amount)
        pool = int(client.ledger.contract.call("pool"))
        reward = client.ledger.terms.reward
    rounds = pool // reward if reward else None
    if as_json:
        print_json({"added": amount, "pool": pool, "rounds": rounds})
        return
    holds = "" if rounds is None else f", the rewards of {plural(rounds, 'round')}"
    print_fields([("added", ether(amount)), ("pool", ether(pool) + holds)])


def _parse(text: str) -> int:
    """Return the wei of an amount; raises ConfigError."""
    try:
        amount = parse_wei(text)
    except ValueError as error:
        raise ConfigError(f"AMOUNT {text[:40]!r} {error}") from None
    if not 0 < amount < 2**WEI_BITS:
        raise ConfigError(f"AMOUNT must be more than 0, and less than 2**{WEI_BITS} wei")
    return amount


def register(parent: typer.Typer) -> None:
    """Add `bcfl fund`."""
    parent.command("fund")(fund)
