"""Let everybody act in the order of the phases, on a chain whose time is made up.

Where nobody has anything to do, time passes at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from bcfl.errors import LedgerError, Reverted
from bcfl.ledger.devnet.embedded import EmbeddedChain
from bcfl.ledger.federation import FederationLedger
from bcfl.ports import ContractCall
from bcfl.protocol.accounts import Account
from bcfl.protocol.rounds import Round
from bcfl.protocol.types import Phase
from bcfl.roles.common.snapshot import next_change, take_snapshot
from bcfl.roles.device.device import Device
from bcfl.roles.miner.miner import Miner

MAX_IDLE: Final = 10_000  # turns without an event after which something is wrong
Observer = Callable[[Round, Phase], None]

# Who acts in which phase; the contract says which phase it is.
DEVICES, MINERS = "devices", "miners"
ORDER: Final = {
    Phase.COMMIT: (DEVICES, MINERS),  # 2 local model update, 3 upload: train, commit
    Phase.REVEAL: (DEVICES, MINERS),  # 3 upload: open the commitments
    Phase.VOTE: (MINERS,),  # 4 cross verification: verify, commit to verdicts
    Phase.UNVEIL: (MINERS,),  # 4 open the verdicts
    Phase.TALLY: (MINERS,),  # 4 count
    Phase.ELECT: (MINERS,),  # 5 block generation: race for the lead
    Phase.PROPOSE: (MINERS,),  # 5 aggregate, propose
    Phase.ATTEST: (MINERS,),  # 6 block propagation, 7 global model update
    Phase.VOID: (MINERS,),  # open the next round
}  # 8 global model download: a device's next turn begins with it


def _ignore(round_: Round, phase: Phase) -> None:
    del round_, phase


@dataclass
class Schedule:
    """The parties of a federation on an embedded chain, and whose turn it is."""

    chain: EmbeddedChain
    ledger: FederationLedger
    owner: Account
    parties: dict[str, list[Device | Miner]]  # by DEVICES and MINERS
    ahead: int = 0  # so many miners have updates judged elsewhere at once

    def play_round(self, number: int, observe: Observer = _ignore) -> None:
        """Play one round, from the download of the model to the block in the ledger.

        Calls `observe` at the start of each turn and after each act. Raises LedgerError if nothing moves.
        """
        idle = 0
        while (current := self.ledger.history().current) is not None and current.number <= number:
            phase = self.ledger.clock().phase

            def tell(current: Round = current, phase: Phase = phase) -> None:
                observe(current, phase)

            tell()
            if self.turn(phase, tell):
                idle = 0
                continue
            idle += 1
            if idle > MAX_IDLE:
                raise LedgerError(f"round {number} stands still in phase {phase.name}; please report this")
            self.let_time_pass()

    def turn(self, phase: Phase, tell: Callable[[], None] = lambda: None) -> bool:
        """Let everybody who acts in a phase act once, and `tell` after each; return whether anybody did."""
        has_acted = False
        for kind in ORDER.get(phase, ()):
            for place, party in enumerate(self.parties[kind]):
                self._prepare(phase, self.parties[kind][place : place + self.ahead])
                try:
                    if party.act() is None:
                        continue
                except Reverted:
                    continue  # somebody else was quicker, or time has moved on
                has_acted = True
                tell()
        return has_acted

    @staticmethod
    def _prepare(phase: Phase, parties: Sequence[Device | Miner]) -> None:
        """Let the next miners begin to judge, while those before them do."""
        for party in parties:
            if phase is Phase.VOTE and isinstance(party, Miner):
                party.prepare()

    def let_time_pass(self) -> None:
        """Write down what time has brought about, or go to when somebody may have something to do."""
        if self.ledger.overdue():
            self.ledger.send(self.owner, [ContractCall("advance")])
            return
        snapshot = take_snapshot(self.ledger)
        self.chain.warp(self.chain.now() + 1 if snapshot is None else next_change(snapshot))
