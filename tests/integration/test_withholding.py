"""What happens when bytes cannot be had: before the vote, after it, and for who watches."""

from __future__ import annotations

from pathlib import Path

from bcfl.ledger.testimony import gather
from bcfl.protocol import cid as cids
from bcfl.protocol.challenges import Trees
from bcfl.protocol.types import Phase, Verdict
from bcfl.roles.archive import Archive
from bcfl.roles.auditor.audit import Audit
from bcfl.roles.moment import look
from bcfl.roles.watchtower import Watchtower
from bcfl.storage import DirectoryStore
from tests.integration.test_watchtower import WINDOWED
from tests.village import LAYOUT, Village


def drop(store: DirectoryStore, digest: bytes) -> None:
    name = str(cids.Cid(cids.RAW, digest))
    next(path for path in store.path.rglob(name)).unlink()


def test_an_update_that_nobody_can_get_is_rejected(tmp_path: Path) -> None:
    village = Village(tmp_path)
    village.until(Phase.VOTE)
    lost = village.history.rounds[1].submissions[2]
    drop(village.store, lost.update.cid)
    found = village.play()
    assert found.status == "finalized"
    assert set(found.reasons(2).values()) == {Verdict.UNAVAILABLE}
    assert found.accepted == (True, True, False, True)
    verdict = list(Audit(gather(village.federation.contract), village.archive).verdicts())[1]
    assert (verdict.findings, verdict.notes) == ((), ("rejected updates without the right bytes: 1",))


def test_a_watchtower_without_the_bytes_says_so(tmp_path: Path) -> None:
    village = Village(tmp_path, terms=WINDOWED)
    village.until(Phase.ATTEST)
    moment = look(village.ledger)
    assert moment is not None
    elsewhere = DirectoryStore(tmp_path / "elsewhere")
    for path in village.store.path.rglob("b*"):
        if path.is_file():
            elsewhere.put(path.read_bytes())
    tower = Watchtower(village.owner, village.ledger, Archive(elsewhere, LAYOUT, village.terms))
    proposal = moment.current.proposals[-1]
    assert tower.judge(moment, proposal).right
    drop(elsewhere, proposal.cid)
    assert tower.judge(moment, proposal).right  # the root is right, whoever has the bytes
    drop(elsewhere, moment.current.submissions[0].update.cid)
    found = tower.judge(moment, proposal)
    assert (found.right, found.challenge) == (False, None)
    assert "cannot be had" in found.reason


def test_a_wrong_model_whose_bytes_are_withheld_is_noticed_by_its_root(tmp_path: Path) -> None:
    village = Village(tmp_path, terms=WINDOWED)
    village.until(Phase.ATTEST)
    moment = look(village.ledger)
    assert moment is not None
    tower = Watchtower(village.owner, village.ledger, Archive(village.store, LAYOUT, village.terms))
    proposal = moment.current.proposals[-1]
    for changes, reason, tree in (
        ({"root": bytes(32)}, "the bytes of its model", Trees.MODEL),
        ({"rows": bytes(32)}, "what its rows are made of", Trees.ROWS),
    ):
        fields = {name: getattr(proposal, name) for name in ("leader", "root", "cid", "rows", "layer")}
        found = tower.judge(moment, type(proposal)(**fields | changes))
        assert (found.right, found.challenge, found.tree) == (False, None, tree)
        assert reason in found.reason
