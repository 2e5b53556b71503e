"""View what a training cost: gas, and money at the prices that the reader states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TypedDict

from bcfl.federation.views.progress import RoundSummary

ETHER = Decimal(10**18)


@dataclass(frozen=True)
class Prices:
    """What gas costs, in wei, and what the coin costs, in a currency."""

    gas_price: int
    coin_price: Decimal | None = None
    currency: str = ""


class CostsView(TypedDict):
    """What the rounds cost; `known_rounds` are those whose receipts are known, the averages are of these.

    `wei` is the gas at the stated `gas_price`, `money` that at the stated price of a coin, as decimals.
    """

    known_rounds: int
    transactions: int
    gas: int
    gas_per_round: int
    gas_per_participant: int
    gas_by_phase: dict[str, int]
    gas_price: int | None
    wei: int | None
    coin_price: str | None
    currency: str
    money: str | None
    money_per_round: str | None
    money_per_participant: str | None


def costs_view(rounds: Sequence[RoundSummary], prices: Prices | None) -> CostsView:
    """Return what rounds cost; without `prices`, in gas alone."""
    known = [item for item in rounds if item["gas"] is not None]
    gas = sum(item["gas"] or 0 for item in known)
    phases: dict[str, int] = {}
    for item in known:
        for phase, amount in item["gas_by_phase"].items():
            phases[phase] = phases.get(phase, 0) + amount
    a_round = gas // max(len(known), 1)
    a_participant = gas // max(sum(item["participants"] for item in known), 1)
    return {
        "known_rounds": len(known),
        "transactions": sum(item["transactions"] for item in known),
        "gas": gas,
        "gas_per_round": a_round,
        "gas_per_participant": a_participant,
        "gas_by_phase": phases,
        "gas_price": None if prices is None else prices.gas_price,
        "wei": None if prices is None else gas * prices.gas_price,
        "coin_price": None if prices is None or prices.coin_price is None else f"{prices.coin_price:f}",
        "currency": "" if prices is None else prices.currency,
        "money": _money(gas, prices),
        "money_per_round": _money(a_round, prices),
        "money_per_participant": _money(a_participant, prices),
    }


def _money(gas: int, prices: Prices | None) -> str | None:
    """Return what gas costs in the currency: two decimals, four below one."""
    if prices is None or prices.coin_price is None:
        return None
    amount = Decimal(gas * prices.gas_price) / ETHER * prices.coin_price
    return f"{amount:,.2f}" if amount >= 1 else f"{amount:.4f}"
