"""An audit follows every engine and mode: who leads, which committee decides, by which rule."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bcfl.protocol.types import Engine, Mode, Phase
from tests.local_federation import TERMS, LocalFederation
from tests.recorded_run import Tampering, flip_bit, record, wei

ENGINES: dict[str, tuple[dict[str, Any], Tampering, int, str]] = {
    "committee of another size": (
        {"engine": Engine.COMMITTEE, "committee_size": 3},
        lambda run: run.with_args("RoundOpened", 2, committee=wei(1 << 64)),
        2,
        "committee",
    ),
    "no committee though one is drawn": (
        {"engine": Engine.COMMITTEE, "committee_size": 3},
        lambda run: run.with_args("RoundOpened", 2, committee=0),
        2,
        "committee",
    ),
    "pow": (
        {"engine": Engine.POW, "pow_target": 2**241},
        lambda run: run.with_args("Elected", 2, nonce=wei(1)),
        2,
        "leader",
    ),
    "pow from another block": (
        {"engine": Engine.POW, "pow_target": 2**241},
        lambda run: run.with_args("Tallied", 2, parent=flip_bit),
        2,
        "leader",
    ),
    "committee": (
        {"engine": Engine.COMMITTEE, "committee_size": 3},
        lambda run: run.with_args("RoundOpened", 2, committee=lambda mask: mask ^ 15),
        2,
        "committee",
    ),
    "resource": (
        {"engine": Engine.RESOURCE},
        lambda run: run.with_storage(
            scores={a: v + 1 for a, v in run.transcript.storage_snapshot.scores.items()}
        ),
        4,
        "contract.scores",
    ),
    "full": (
        {"mode": Mode.FULL, "engine": Engine.RESOURCE},
        lambda run: run.with_args("Elected", 3, turn=1),
        3,
        "leader",
    ),
    "hybrid": ({"mode": Mode.HYBRID}, lambda run: run.with_args("RoundOpened", 3, engine=2), 3, "engine"),
}


@pytest.mark.parametrize("name", ENGINES)
def test_every_engine_is_followed(tmp_path: Path, name: str) -> None:
    changes, tamper, number, field = ENGINES[name]
    local = LocalFederation(
        tmp_path, dual_accounts=4 if name == "full" else 2, terms=replace(TERMS, **changes)
    )
    local.play(3)
    recording = record(local)
    assert recording.audit().passed, recording.audit().first
    finding = tamper(recording).audit().first
    assert finding is not None
    assert (finding.round, finding.field.split("[")[0]) == (number, field)


COMMITTEES = replace(TERMS, engine=Engine.COMMITTEE, committee_size=3)


def sizes(local: LocalFederation) -> list[int]:
    """The members that each round has had; 0 where everybody votes."""
    return [len(round_.committee) for _, round_ in sorted(local.history.rounds.items())]


def test_an_audit_follows_a_committee_that_loses_a_member(tmp_path: Path) -> None:
    """A member that leaves counts as one that says no: two of three are not more than two thirds."""
    local = LocalFederation(tmp_path, miners=6, terms=COMMITTEES)
    local.play()
    gone = next(p for p in local.miner_parties if p.account.address in local.history.rounds[2].committee)
    local.send(gone.account, "leave_miner")
    local.remove(gone)
    local.play(5)
    members = [round_.committee for _, round_ in sorted(local.history.rounds.items())][2:4]
    assert not any(gone.account.address in committee for committee in members)
    recording = record(local)
    assert recording.audit().passed, recording.audit().first
    assert sizes(local)[:2] == [0, 3]
    rejoined = recording.with_args("RoundOpened", 3, committee=lambda mask: mask ^ 63)
    finding = rejoined.audit().first
    assert finding is not None
    assert (finding.round, finding.field) == (3, "committee")


def test_an_audit_follows_a_draw_that_a_voter_vetoes(tmp_path: Path) -> None:
    """One vote stays sealed, so nothing is drawn and everybody votes again."""
    local = LocalFederation(tmp_path, miners=6, terms=COMMITTEES)
    local.leave_in(Phase.UNVEIL, local.miner_parties[0])
    local.play(4)
    assert sizes(local)[:3] == [0, 0, 3]
    recording = record(local)
    assert recording.audit().passed, recording.audit().first
    drawn = recording.with_args("RoundOpened", 2, committee=wei(3 << 64 | 7))
    finding = drawn.audit().first
    assert finding is not None
    assert (finding.round, finding.field) == (2, "committee")


def test_lateness_where_phases_last_blocks_too_is_left_open_and_said(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    local.play(2)
    recording = record(local)
    late = recording.delayed("Proposed", 2)
    fields = [item.field for each in late.audit().rounds for item in each.findings]
    assert "deadlines.propose" in fields
    terms = replace(late.transcript.terms, min_blocks=3)
    verdict = replace(late, transcript=replace(late.transcript, terms=terms)).audit()
    assert "deadlines.propose" not in [item.field for each in verdict.rounds for item in each.findings]
    assert verdict.rounds[0].notes == ("whether anything came too late: phases last 3 blocks too",)
    assert not any(item.notes for item in recording.audit().rounds)
