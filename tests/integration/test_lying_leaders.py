"""A leader that lies about its model, or keeps it back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bcfl.ledger.transcript import gather
from bcfl.ports import ContractCall
from bcfl.protocol.types import Phase
from bcfl.roles.auditor.audit import Audit
from bcfl.roles.common.aggregation import NewModel
from bcfl.roles.common.archive import Archive
from bcfl.roles.common.snapshot import RoundSnapshot
from bcfl.roles.miner.miner import Miner
from bcfl.storage import DirectoryStore
from tests.local_federation import LAYOUT, LocalFederation


@pytest.mark.parametrize("wrong", ["root", "rows"])
def test_a_wrong_model_finds_no_support(tmp_path: Path, wrong: str) -> None:
    local = LocalFederation(tmp_path)
    for miner in local.miner_parties:
        lie(miner, wrong)
    round_ = local.play()
    assert round_.status == "finalized"
    assert [proposal.attested for proposal in round_.proposals[:1]] == [(round_.skipped[0],)]
    assert round_.block is not None
    assert local.archive.model(round_.block).shape == (38,)


def test_a_wrong_cid_costs_nobody_anything(tmp_path: Path) -> None:
    """The others put the model on the store and say where it lies; devices read it there; audits tell."""
    local = LocalFederation(tmp_path)
    for miner in local.miner_parties:
        lie(miner, "cid")
    round_ = local.play()
    assert (round_.status, round_.skipped) == ("finalized", [])
    assert round_.block is not None
    assert round_.block.cid == b"\x07" * 32
    fresh = Archive(DirectoryStore(local.store.path), LAYOUT, local.terms)
    parent = local.history.model_before(round_.number)
    right = fresh.next_model(parent, round_.accepted_submissions(), local.history)
    assert set(round_.corrected_cids.values()) == {right.cid}
    assert len(round_.corrected_cids) == len(round_.proposals[-1].attested) - 1
    assert local.history.model_cids(round_.block) == [b"\x07" * 32, right.cid]
    for submission in round_.submissions:  # nothing has to be computed anew
        local.archive.mark_unavailable(submission)
    assert local.archive.model(round_.block, local.history).tolist() == right.model.tolist()
    assert local.play().status == "finalized"
    verdicts = list(Audit(gather(local.ledger.contract), fresh).verdicts())
    assert [verdict.findings for verdict in verdicts] == [()] * len(verdicts)
    assert any("another CID" in note for note in verdicts[round_.number].notes)


def lie(miner: Miner, field: str, turn: int = 0) -> None:
    """Let a miner that leads at a turn propose something else than it computes."""
    honest = miner.lead.propose

    def propose(snapshot: RoundSnapshot) -> str | None:
        current = snapshot.current
        is_its_turn = (current.leader, len(current.elections)) == (miner.account.address, turn + 1)
        if snapshot.due or not is_its_turn:
            return honest(snapshot)
        model = miner.lead._compute(snapshot)
        assert model is not None
        forgery: NewModel = replace(model, **{field: b"\x07" * 32})  # type: ignore[arg-type]
        content = (forgery.root, forgery.cid, forgery.rows)
        miner.lead.context.send(ContractCall("propose", (miner.lead._accepted(snapshot), *content)))
        return "lied"

    miner.lead.propose = propose  # type: ignore[method-assign]


def test_content_that_comes_back_is_its_first_authors(tmp_path: Path) -> None:
    """Nobody attests at the first two turns, and something else stands in between; audit and twin follow."""
    local = LocalFederation(tmp_path)
    for miner in local.miner_parties:
        lie(miner, "root", turn=1)
        is_right = miner.lead._is_right
        miner.lead._is_right = lambda m, p, b=is_right: len(m.current.elections) > 2 and b(m, p)  # type: ignore[method-assign, misc]
    round_ = local.play()
    first, other, back = round_.proposals
    assert (first.content == back.content, other.content == back.content) == (True, False)
    assert (back.author, back.leader == first.leader) == (first.leader, False)
    assert round_.block is not None
    assert round_.block.leader == first.leader
    local.play()
    assert local.history.credits == {
        seat: int(credit)
        for seat, credit in enumerate(local.ledger.contract.call("turn_credits")[: local.miners])
    }
    verdicts = list(Audit(gather(local.ledger.contract), local.archive).verdicts())
    assert [verdict.findings for verdict in verdicts] == [()] * len(verdicts)


def test_a_leader_that_keeps_the_bytes_back_delays_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever attests puts the model on the store."""
    local = LocalFederation(tmp_path)
    local.until(Phase.VOTE)
    puts = 0
    original = local.archive.publish_model

    def forgetful(model: Any) -> Any:
        nonlocal puts
        puts += 1
        return model.cid if puts == 1 else original(model)

    monkeypatch.setattr(local.archive, "publish_model", forgetful)
    round_ = local.play()
    assert (round_.status, round_.skipped, puts > 1) == ("finalized", [], True)
    assert round_.block is not None
    fresh = Archive(DirectoryStore(local.store.path), LAYOUT, local.terms)
    assert fresh.model(round_.block).shape == (38,)
