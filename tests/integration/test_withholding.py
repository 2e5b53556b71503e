"""Bytes that cannot be had: before the vote, after it, and for a watchtower."""

from __future__ import annotations

from pathlib import Path

from bcfl.ledger.transcript import gather
from bcfl.protocol import cid as cids
from bcfl.protocol.challenges import Trees
from bcfl.protocol.types import Phase, Verdict
from bcfl.roles.auditor.audit import Audit
from bcfl.roles.common.archive import Archive
from bcfl.roles.common.snapshot import take_snapshot
from bcfl.roles.watchtower.watchtower import Watchtower
from bcfl.storage import DirectoryStore
from tests.integration.test_watchtower import WINDOW_TERMS
from tests.local_federation import LAYOUT, LocalFederation


def drop(store: DirectoryStore, digest: bytes) -> None:
    name = str(cids.Cid(cids.RAW, digest))
    next(path for path in store.path.rglob(name)).unlink()


def test_an_update_that_nobody_can_get_is_rejected(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    local.until(Phase.VOTE)
    submission = local.history.rounds[1].submissions[2]
    drop(local.store, submission.update.cid)
    round_ = local.play()
    assert round_.status == "finalized"
    assert set(round_.verdicts(2).values()) == {Verdict.UNAVAILABLE}
    assert round_.accepted == (True, True, False, True)
    verdict = list(Audit(gather(local.ledger.contract), local.archive).verdicts())[1]
    assert (verdict.findings, verdict.notes) == ((), ("rejected updates without the right bytes: 1",))


def test_a_watchtower_without_the_bytes_says_so(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path, terms=WINDOW_TERMS)
    local.until(Phase.ATTEST)
    snapshot = take_snapshot(local.ledger)
    assert snapshot is not None
    store = DirectoryStore(tmp_path / "copy")
    for path in local.store.path.rglob("b*"):
        if path.is_file():
            store.put(path.read_bytes())
    watchtower = Watchtower(local.owner, local.ledger, Archive(store, LAYOUT, local.terms))
    proposal = snapshot.current.proposals[-1]
    assert watchtower.judge(snapshot, proposal).right
    drop(store, proposal.cid)
    assert watchtower.judge(snapshot, proposal).right  # the root is right, whoever has the bytes
    drop(store, snapshot.current.submissions[0].update.cid)
    judgement = watchtower.judge(snapshot, proposal)
    assert (judgement.right, judgement.challenge) == (False, None)
    assert "cannot be had" in judgement.reason


def test_a_wrong_model_whose_bytes_are_withheld_is_noticed_by_its_root(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path, terms=WINDOW_TERMS)
    local.until(Phase.ATTEST)
    snapshot = take_snapshot(local.ledger)
    assert snapshot is not None
    watchtower = Watchtower(local.owner, local.ledger, Archive(local.store, LAYOUT, local.terms))
    proposal = snapshot.current.proposals[-1]
    for changes, reason, tree in (
        ({"root": bytes(32)}, "the bytes of its model", Trees.MODEL),
        ({"rows": bytes(32)}, "what its rows are made of", Trees.ROWS),
    ):
        fields = {name: getattr(proposal, name) for name in ("leader", "author", "root", "cid", "rows")}
        judgement = watchtower.judge(snapshot, type(proposal)(**fields | changes))
        assert (judgement.right, judgement.challenge, judgement.tree) == (False, None, tree)
        assert reason in judgement.reason
