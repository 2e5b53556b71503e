"""The blocks, tallies and updates of finished rounds, as claims have to show them."""

from __future__ import annotations

from collections.abc import Callable

from bcfl.ledger.contract import Contract
from bcfl.protocol import verification
from bcfl.protocol.limits import GROUP
from bcfl.protocol.rounds import History
from bcfl.protocol.types import Block, Tally


class ClaimProofs:
    """The finished rounds of a federation."""

    contract: Contract
    tallies: dict[int, Tally]
    history: Callable[[], History]
    words: Callable[[int], list[int]]

    def block(self, number: int) -> Block:
        events = {e.args["round"]: e.args for e in self.contract.events(name="Finalized")}
        parent = max((n for n in events if n < number), default=0)
        args = events[number]
        return Block(
            parent=self.contract.call("ledger", parent),
            round=number,
            accepted=args["accepted"],
            root=args["root"],
            cid=args["cid"],
            leader=args["leader"],
            reward=args["reward"],
            engine=self.history().rounds[number].engine,
            attested=args["attested"],
        )

    def claim_device_args(self, number: int, position: int) -> list[object]:
        first = position // GROUP * GROUP
        updates = self.words(number)[first : first + GROUP]
        return [self.block(number), verification.tally_fields(self.tallies[number]), position, updates]

    def claim_miner_args(self, number: int, position: int) -> list[object]:
        return [self.block(number), verification.tally_fields(self.tallies[number]), position]
