"""Play an outsider that disputes right proposals."""

from __future__ import annotations

from typing import Any

from bcfl.ports import ContractCall
from bcfl.protocol import verification
from bcfl.protocol.challenges import Trees
from bcfl.protocol.disputes import State, update_args
from bcfl.protocol.types import Phase
from bcfl.roles.common.disputes import disputes_of
from bcfl.roles.common.snapshot import RoundSnapshot, take_snapshot
from tests.local_federation import LocalFederation


class Griefer:
    """Disputes every right proposal `count` times, and always asks for the first node, or falls silent."""

    def __init__(self, local: LocalFederation, tree: Trees, moves: int, count: int = 1) -> None:
        self.local, self.tree, self.moves, self.count = local, tree, moves, count
        self.account = local.device_accounts[-1]
        self.rounds: set[int] = set()

    def act(self) -> str | None:
        snapshot = take_snapshot(self.local.ledger)
        if snapshot is None or snapshot.clock.phase is not Phase.ATTEST:
            return None
        proposal = snapshot.current.proposals[-1]
        disputes = [course for course in disputes_of(snapshot) if course.is_open]
        if snapshot.round not in self.rounds:
            self.rounds.add(snapshot.round)
            name, fields = "dispute", (*proposal.content, int(self.tree))
            if self.tree is Trees.UPDATE:
                name, fields = "dispute_update", self.opening(snapshot)
            for _ in range(self.count - 1):
                price = self.local.ledger.dispute_price()
                self.local.ledger.send(self.account, [ContractCall(name, fields, price)])
            call = ContractCall(name, fields, self.local.ledger.dispute_price())
        elif self.moves and disputes and disputes[-1].state.state is State.PICK:
            self.moves -= 1
            course = disputes[-1]
            call = ContractCall("pursue", (course.state.number, 0, course.nodes[0], list(course.proof(0))))
        else:
            return None
        self.local.ledger.send(self.account, [call])
        return "grief"

    def opening(self, snapshot: RoundSnapshot) -> tuple[Any, ...]:
        round_, item = snapshot.current, snapshot.current.accepted_submissions()[-1]
        words, tally = round_.words(self.local.ledger.domain), round_.tally(self.local.ledger.domain)
        subject = update_args(tally, words, item.position, item.update)
        return verification.tally_digest(tally), *round_.proposals[-1].content, *subject
