"""A dispute that nobody answers, with answers due before the window ends: challenges go before silence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from bcfl.federation.schedule import MINERS
from bcfl.ledger.transcript import gather
from bcfl.ports import ContractCall
from bcfl.protocol.accounts import Account
from bcfl.protocol.docket import longest_wait_seconds
from bcfl.protocol.transcript import Transcript
from bcfl.protocol.types import Phase
from bcfl.roles.auditor.audit import Audit
from bcfl.roles.common.archive import Archive
from bcfl.roles.common.snapshot import take_snapshot, window_end
from tests.integration.test_disputes import GARBAGE, collude, no_rows
from tests.integration.test_watchtower import FORGED_ROUND, WINDOW_TERMS, add_watchtower
from tests.local_federation import LAYOUT, LocalFederation


class Delayer:
    """Announces, in the last seconds of a proposal's window, a challenge that it never opens."""

    def __init__(self, local: LocalFederation) -> None:
        self.local, self.account = local, local.device_accounts[0]
        self.announced = 0  # timestamp

    def act(self) -> str | None:
        snapshot = take_snapshot(self.local.ledger)
        if snapshot is None or snapshot.round != FORGED_ROUND or snapshot.clock.phase is not Phase.ATTEST:
            return None
        if self.announced or snapshot.now < window_end(snapshot) - 10:
            return None
        self.announced = snapshot.now
        call = ContractCall("announce_challenge", (GARBAGE,), snapshot.terms.challenge_bond)
        self.local.ledger.send(self.account, [call])
        return "announced nothing"


def record_ends(local: LocalFederation, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the times, seconds, at which anybody tries to end a dispute from now on."""
    times, send = list[int](), local.ledger.send

    def record(account: Account, calls: Sequence[ContractCall]) -> None:
        times.extend(local.ledger.now() for call in calls if call.function == "expire")
        send(account, calls)

    monkeypatch.setattr(local.ledger, "send", record)
    return times


@pytest.mark.parametrize("is_delayed", [False, True])
def test_silence_refutes_when_nobody_can_challenge_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_delayed: bool
) -> None:
    """All try to end the dispute when they may, and not before; answers are due in half of the window."""
    terms = replace(WINDOW_TERMS, answer_seconds=30)
    local = LocalFederation(tmp_path, terms=terms)
    collude(local, no_rows)
    watchtower, delayer = add_watchtower(local), Delayer(local)
    if is_delayed:
        local.schedule.parties[MINERS].append(delayer)  # type: ignore[arg-type]
    times = record_ends(local, monkeypatch)
    local.play(2)
    events = {e.name: e for e in local.ledger.contract.events() if e.args.get("round") == FORGED_ROUND}
    refutation, proposed = events["Refuted"], events["Proposed"].timestamp
    assert refutation.args["challenger"] == watchtower.account.address
    window = proposed + terms.challenge_seconds
    earliest = max(window, delayer.announced + 45) if is_delayed else window
    assert earliest <= refutation.timestamp <= earliest + 10
    assert min(times) >= earliest - 1  # of the block before the call's
    assert refutation.timestamp <= proposed + longest_wait_seconds(terms)
    transcript = gather(local.ledger.contract)
    assert findings_of(local, transcript) == []
    # An audit would notice if the contract had taken it earlier.
    early = [
        replace(e, timestamp=e.timestamp + 30)  # type: ignore[type-var]
        if e.name in ("Proposed", "ChallengeAnnounced") and e.args["round"] == FORGED_ROUND
        else e
        for e in transcript.events
    ]
    assert "deadlines.challenge" in findings_of(local, replace(transcript, events=early))


def findings_of(local: LocalFederation, transcript: Transcript) -> list[str]:
    verdicts = Audit(transcript, Archive(local.store, LAYOUT, local.terms)).verdicts()
    return [finding.field for verdict in verdicts for finding in verdict.findings]
