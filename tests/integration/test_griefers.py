"""Who disputes right proposals pays for it, and an honest leader loses nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from bcfl.federation.schedule import MINERS
from bcfl.protocol.challenges import Trees
from tests.griefer import Griefer
from tests.integration.test_disputes import audit_findings
from tests.integration.test_watchtower import WINDOW_TERMS
from tests.local_federation import LocalFederation


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


def test_many_disputes_at_once_are_answered_by_all_miners(tmp_path: Path) -> None:
    """Each miner answers its share, several in a transaction; nobody who keeps the rules loses anything."""
    local = LocalFederation(tmp_path, terms=WINDOW_TERMS)
    griefer = Griefer(local, Trees.ROWS, moves=0, count=24)
    local.schedule.parties[MINERS].append(griefer)  # type: ignore[arg-type]
    stakes = {a: m.stake for a, m in local.history.miners.items()}
    round_ = local.play()
    assert (round_.status, round_.refutations, round_.skipped) == ("finalized", [], [])
    assert {a: m.stake for a, m in local.history.miners.items()} == stakes
    answers = list(local.ledger.contract.events(name="NodesShown"))
    assert len(answers) == 24
    assert {event.args["answerer"] for event in answers} == set(stakes)
    assert len({event.transaction for event in answers}) < 24
    assert local.ledger.contract.call("credits", griefer.account.address) == 0
    assert audit_findings(local) == [()] * 3
