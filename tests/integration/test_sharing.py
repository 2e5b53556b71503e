"""Miners of one process find what follows from updates alone once, and judge as if each had found it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bcfl.adversaries.rehearsal import StagedArchive
from bcfl.config import Config
from bcfl.federation import initialization, simulation
from bcfl.protocol.types import Phase, Verdict
from bcfl.roles.checks.pipeline import Checks
from bcfl.roles.common.archive import Archive
from bcfl.roles.common.snapshot import take_snapshot
from bcfl.roles.miner import findings, verifier
from bcfl.roles.miner.contributions import Contributions
from bcfl.roles.miner.sketches import Signs
from bcfl.roles.miner.verifier import Verifier
from tests.local_federation import LocalFederation

CROWD = {
    "devices": 24,
    "miners": 3,
    "rounds": 3,
    "task": "digits",
    "adversary": "free-rider:0.25:kind=stale",
    "check_time": False,
}


@pytest.fixture
def matrices(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of updates of which matrices were made, one after the other."""
    counts, as_matrix = list[int](), verifier.as_matrix

    def count(updates: list[np.ndarray], *rest: object) -> np.ndarray:
        counts.append(len(updates))
        return as_matrix(updates, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(verifier, "as_matrix", count)
    return counts


def judgement_of(folder: Path, **changes: object) -> list[object]:
    """Return what a run comes to: models, levels and each miner's findings, to the last digit."""
    report = simulation.run(Config(**CROWD | {"runs": folder} | changes))  # type: ignore[arg-type]
    journals = sorted((Path(report.run_dir) / "journal").glob(f"*/{findings.FILE}"))
    notes = [(file.parent.name, findings.read(file.parent)) for file in journals]
    assert len(notes) == CROWD["miners"]
    return [[(r.global_root, r.loss, r.accepted, r.rejected) for r in report.rounds], notes]


def test_a_run_is_the_same_whether_its_miners_share_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, matrices: list[int]
) -> None:
    together = judgement_of(tmp_path / "together")
    assert matrices == [24] * 3  # one a round
    matrices.clear()
    monkeypatch.setattr(initialization, "Signs", lambda: None)
    assert judgement_of(tmp_path / "apart") == together
    assert matrices == [24] * 9


def judged(local: LocalFederation, archive: Archive, place: int, signs: Signs | None) -> list[object]:
    """Return what a miner says of the running round of updates as an archive has them."""
    learner = local.miner_parties[place].voting.verifier.learner
    miner, snapshot = Verifier(learner, local.ledger, archive, Checks(), signs), take_snapshot(local.ledger)
    assert snapshot is not None
    verdicts = miner.verdicts(snapshot.history, snapshot.current)
    return [verdicts, miner.levels, miner.findings]


def test_federations_of_one_process_do_not_mix_whatever_they_share(tmp_path: Path) -> None:
    """Their miners have the same signs here, and act by turns."""
    signs, places = Signs(), range(4)
    one, other = LocalFederation(tmp_path / "one"), LocalFederation(tmp_path / "other", devices=6)
    for _ in range(2):
        for local in (one, other):
            local.until(Phase.VOTE)
        by_turns = [
            (i, local, judged(local, local.archive, i, signs)) for i in places for local in (one, other)
        ]
        for i, local, together in by_turns:
            assert together == judged(local, local.archive, i, None)
        for local in (one, other):
            local.play()


def test_other_numbers_under_the_same_root_are_judged_as_what_they_are(tmp_path: Path) -> None:
    """Whatever an archive gives: what was found of the right numbers is not said of these."""
    local, signs = LocalFederation(tmp_path), Signs()
    local.play()
    local.until(Phase.VOTE)
    item = local.history.rounds[local.history.number].submissions[2]
    staged = StagedArchive(local.archive, {item.update.root: -100 * local.archive.update(item)})
    accepted, *_ = judged(local, local.archive, 0, signs)
    verdicts, *_ = result = judged(local, staged, 1, signs)
    assert accepted == (Verdict.ACCEPTED,) * 4
    assert verdicts[2] is not Verdict.ACCEPTED  # type: ignore[index]
    assert judged(local, local.archive, 1, signs)[0] == accepted
    assert result == judged(local, staged, 1, None)


def test_after_a_restart_earlier_updates_are_sketched_once(
    tmp_path: Path, matrices: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    local, signs = LocalFederation(tmp_path), Signs()
    local.play(2)
    local.until(Phase.VOTE)
    monkeypatch.setattr(Contributions, "of", lambda *_: [None] * 4)  # which each reads by itself
    matrices.clear()
    miners = [judged(local, local.archive, place, signs) for place in range(4)]
    assert matrices == [4] * 3  # of this round and two before
    assert miners == [judged(local, local.archive, place, None) for place in range(4)]
