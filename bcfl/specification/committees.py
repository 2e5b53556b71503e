"""Draw who decides for the others in the next rounds; the rule is `bcfl.protocol.lottery`."""

from __future__ import annotations

from bcfl.protocol import lottery
from bcfl.specification import registry
from bcfl.specification.call import Call


def draw(call: Call, seed: bytes) -> None:
    """Draw the committees of the next rounds from the miners of the running one."""
    members, rounds = call.state.registry, call.state.rounds
    seats = {int(members.miners[index], 16): index for index in registry.seats(members.active)}
    entrants = [
        lottery.Entrant(account, members.records[members.miners[index]].weight)
        for account, index in seats.items()
    ]
    rounds.drawn = min(call.terms.committee_size, len(entrants))
    rounds.draws = tuple(
        sum(1 << seats[account] for account in committee)
        for committee in lottery.committees(seed, entrants, rounds.drawn)
    )
