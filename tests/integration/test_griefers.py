"""Who disputes right proposals pays for it, and an honest leader loses nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bcfl.federation.schedule import MINERS
from bcfl.ports import ContractCall
from bcfl.protocol import verification
from bcfl.protocol.challenges import Trees
from bcfl.protocol.disputes import State, update_args
from bcfl.protocol.types import Phase
from bcfl.roles.common.disputes import disputes_of
from bcfl.roles.common.snapshot import RoundSnapshot, take_snapshot
from tests.integration.test_disputes import audit_findings
from tests.integration.test_watchtower import WINDOW_TERMS
from tests.local_federation import LocalFederation


class Griefer:
    """Disputes every right proposal once, and always asks for the first node, or falls silent."""

    def __init__(self, local: LocalFederation, tree: Trees, moves: int) -> None:
        self.local, self.tree, self.moves = local, tree, moves
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


@pytest.mark.parametrize("tree", Trees)
@pytest.mark.parametrize("moves", [99, 1, 0])
def test_an_honest_leader_is_disputed(tmp_path: Path, tree: Trees, moves: int) -> None:
    local = LocalFederation(tmp_path, terms=WINDOW_TERMS)
    griefer = Griefer(local, tree, moves)
    local.schedule.parties[MINERS].append(griefer)  # type: ignore[arg-type]
    stakes = {a: m.stake for a, m in local.history.miners.items()}
    rounds = [local.play() for _ in range(2)]
    assert [round_.status for round_ in rounds] == ["finalized"] * 2
    assert all(not round_.refutations and not round_.skipped for round_ in rounds)
    assert {a: m.stake for a, m in local.history.miners.items()} == stakes
    bonds = [event.args["bond"] for event in local.ledger.contract.events(name="Disputed")]
    credits = sum(local.ledger.contract.call("credits", a) for a in stakes)
    assert (len(bonds), credits) == (2, sum(bond // 2 for bond in bonds))
    authors = {round_.block.leader for round_ in rounds if round_.block is not None}
    paid = {a for a in stakes if local.ledger.contract.call("credits", a)}
    assert paid == authors  # whoever answered
    assert local.ledger.contract.call("credits", griefer.account.address) == 0
    assert audit_findings(local) == [()] * 4
