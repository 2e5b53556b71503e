"""One honest outsider is enough: a wrong model that all miners attest never becomes a block."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bcfl.federation.observers import WatchObserver
from bcfl.federation.schedule import MINERS
from bcfl.federation.watchtower import start_watchtower
from bcfl.ledger.transcript import gather
from bcfl.protocol import cid, merkle, payload
from bcfl.protocol.types import Phase
from bcfl.roles.auditor.audit import Audit
from bcfl.roles.common.aggregation import NewModel
from bcfl.roles.common.archive import Archive
from bcfl.roles.common.snapshot import RoundSnapshot
from bcfl.roles.watchtower.spool import Spool
from bcfl.roles.watchtower.watchtower import Watchtower
from tests.daemons import client_of
from tests.local_federation import ETHER, LAYOUT, TERMS, LocalFederation

WINDOW_TERMS = replace(
    TERMS, propose_seconds=30, challenge_seconds=60, challenge_bond=ETHER // 10, answer_seconds=60
)
FORGED_ROUND = 2  # the round in which the miners collude

Compute = Callable[[RoundSnapshot], NewModel | None]


def forge(local: LocalFederation, compute: Compute, turns: int, attest: bool) -> Compute:
    """Compute a model with one lane off by one in the first `turns` turns of one round; its trees fit it.

    `attest`: also when it is another's; else only to propose it.
    """

    def compute_forged(snapshot: RoundSnapshot) -> NewModel | None:
        proposal = compute(snapshot)
        if proposal is None or snapshot.round != FORGED_ROUND or len(snapshot.current.skipped) >= turns:
            return proposal
        if not attest and snapshot.clock.phase is not Phase.PROPOSE:
            return proposal
        model = proposal.model.copy()
        model[7] += 1
        root = merkle.root(model, local.terms.leaf_lanes)
        name = cid.compute(payload.encode(LAYOUT, model))
        return replace(proposal, model=model, root=root, cid=cid.digest(name))

    return compute_forged


def collude(local: LocalFederation, turns: int, attest: bool = True) -> None:
    for context in local.miner_parties:
        context.lead._compute = forge(local, context.lead._compute, turns, attest)  # type: ignore[assignment, method-assign]


def add_watchtower(local: LocalFederation) -> Watchtower:
    """An outsider with some ether and nothing else."""
    outsider = local.device_accounts[-1]  # funded; what it knows as a device is of no use here
    watchtower = Watchtower(outsider, local.ledger, Archive(local.store, LAYOUT, local.terms))
    local.schedule.parties[MINERS].append(watchtower)  # type: ignore[arg-type]
    return watchtower


def roots(local: LocalFederation) -> list[bytes]:
    return [block.root for block in local.history.blocks]


def honest_roots(local: LocalFederation) -> list[bytes]:
    """What the accepted updates of every finished round come to, computed anew."""
    archive, model_roots = Archive(local.store, LAYOUT, local.terms), []
    for block in local.history.blocks[1:]:
        parent = local.history.model_before(block.round)
        model_roots.append(
            archive.next_model(parent, local.history.rounds[block.round].accepted_submissions()).root
        )
    return model_roots


def test_default_behavior(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path, terms=WINDOW_TERMS)
    collude(local, turns=1, attest=False)
    watchtower = add_watchtower(local)
    rounds = [local.play() for _ in range(3)]
    assert [round_.status for round_ in rounds] == ["finalized"] * 3
    assert roots(local)[1:] == honest_roots(local)
    (leader, challenger), *refutations = rounds[1].refutations
    assert (challenger, refutations) == (watchtower.account.address, [])
    assert rounds[1].block is not None
    assert rounds[1].block.leader != leader
    # The author's whole stake: a quarter of it, and the bond, are the challenger's.
    stake = 2 * local.terms.min_stake - 1
    assert local.history.miners[leader].stake == 0
    assert local.ledger.contract.call("credits", challenger) == stake // 4 + WINDOW_TERMS.challenge_bond
    verdicts = list(Audit(gather(local.ledger.contract), local.archive).verdicts())
    assert [verdict.findings for verdict in verdicts] == [()] * 5
    assert set(verdicts[FORGED_ROUND].lazy) >= {leader}


def test_without_the_watchtower_the_wrong_model_becomes_final(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path, terms=WINDOW_TERMS)
    collude(local, turns=1)
    local.play(3)
    assert roots(local)[1:] != honest_roots(local)
    verdicts = list(Audit(gather(local.ledger.contract), local.archive).verdicts())
    first = next(finding for verdict in verdicts for finding in verdict.findings)
    assert (first.round, first.field) == (FORGED_ROUND, "proposal.root")
    assert len(verdicts[FORGED_ROUND].lazy) >= 3


def test_all_miners_collude_and_too_few_are_left_to_judge(tmp_path: Path) -> None:
    """Whoever attested is slashed and out of this round, so the round is void, and the next one is honest."""
    local = LocalFederation(tmp_path, terms=WINDOW_TERMS)
    collude(local, turns=99)
    add_watchtower(local)
    local.play(2)
    round_ = local.history.rounds[FORGED_ROUND]
    assert (round_.status, len(round_.refutations)) == ("void", 1)
    stake = 2 * local.terms.min_stake - 1
    stakes = sorted(member.stake for member in local.history.miners.values())
    assert stakes == [0, *[stake - stake * WINDOW_TERMS.attest_slash // 10_000] * 3]
    assert local.play().status == "finalized"
    assert roots(local)[1:] == honest_roots(local)
    verdicts = list(Audit(gather(local.ledger.contract), local.archive).verdicts())
    assert [verdict.findings for verdict in verdicts] == [()] * len(verdicts)


MONEY = {
    "the refutation is not logged": ("Refuted", None, "challenges"),
    "the slash is one wei less": ("Penalized", lambda wei: wei - 1, "penalties"),
    "the announcement is not logged": ("ChallengeAnnounced", None, "logs.AnnouncementEnded"),
}


@pytest.mark.parametrize("name", MONEY)
def test_an_audit_follows_what_a_refutation_costs(tmp_path: Path, name: str) -> None:
    local = LocalFederation(tmp_path, terms=WINDOW_TERMS)
    collude(local, turns=1)
    add_watchtower(local)
    local.play(2)
    transcript, (kind, change, field) = gather(local.ledger.contract), MONEY[name]
    events = list(transcript.events)
    place = next(i for i, e in enumerate(events) if e.name == kind and e.args["round"] == FORGED_ROUND)
    if change is None:
        del events[place]
    else:
        args = events[place].args
        events[place] = replace(events[place], args={**args, "amount": change(args["amount"])})  # type: ignore[type-var]
    tampered_transcript = replace(transcript, events=events)
    verdicts = list(Audit(tampered_transcript, Archive(local.store, LAYOUT, local.terms)).verdicts())
    first = next(finding for verdict in verdicts for finding in verdict.findings)
    assert (first.round, first.field.split("[")[0]) == (FORGED_ROUND, field)


def test_the_command_watches_and_challenges(tmp_path: Path) -> None:
    reports: list[str] = []
    local = LocalFederation(tmp_path, terms=WINDOW_TERMS)
    collude(local, turns=1)
    local.play()
    client, _ = client_of(local)
    observer = WatchObserver(client)
    account, count = local.device_accounts[-1], observer.counters.count
    act_once = start_watchtower(client, account, local.store, reports.append, count)

    class CommandWatchtower:
        def act(self) -> str | None:
            act_once()
            return None

    local.schedule.parties[MINERS].append(CommandWatchtower())  # type: ignore[arg-type]
    assert local.play().refutations
    assert any("announced a challenge of the proposal: sum" in report for report in reports)
    assert any("challenged the proposal: sum" in report for report in reports)
    assert f"bcfl_acts_total {len(reports)}\n" in observer.counters.text()


class KilledWatchtower:
    """A watchtower whose process is killed after every act: memory is lost."""

    def __init__(self, local: LocalFederation) -> None:
        self.local, self.reports = local, list[str]()

    def act(self) -> str | None:
        archive = Archive(self.local.store, LAYOUT, self.local.terms)
        report = Watchtower(self.local.device_accounts[-1], self.local.ledger, archive).act()
        if report is None or "right" in report:
            return None  # it knows nothing of having said so before
        self.reports.append(report)
        return report


def test_a_watchtower_that_is_killed_opens_what_it_has_announced(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path, terms=WINDOW_TERMS)
    collude(local, turns=1)
    watchtower = KilledWatchtower(local)
    local.schedule.parties[MINERS].append(watchtower)  # type: ignore[arg-type]
    rounds = [local.play() for _ in range(2)]
    assert watchtower.reports == [
        "announced a challenge of the proposal: sum",
        "challenged the proposal: sum",
    ]
    assert len(rounds[1].refutations) == 1
    assert roots(local)[1:] == honest_roots(local)


def test_two_watchtowers_find_the_same_and_both_have_their_bonds(tmp_path: Path) -> None:
    """The first to open has the reward; the other gets its bond back, by itself."""
    local = LocalFederation(tmp_path, terms=WINDOW_TERMS)
    collude(local, turns=1)
    watchtowers = [add_watchtower(local), Watchtower(local.device_accounts[0], local.ledger, local.archive)]
    local.schedule.parties[MINERS].append(watchtowers[1])  # type: ignore[arg-type]
    local.play(3)
    names = [event.name for event in local.ledger.contract.events()]
    assert (names.count("ChallengeAnnounced"), names.count("AnnouncementEnded")) == (2, 2)
    assert names.count("Refuted") == 1
    credits = sorted(local.ledger.contract.call("credits", tower.account.address) for tower in watchtowers)
    stake = 2 * local.terms.min_stake - 1
    assert credits == [WINDOW_TERMS.challenge_bond, WINDOW_TERMS.challenge_bond + stake // 4]
    assert local.history.announcements == {}
    verdicts = list(Audit(gather(local.ledger.contract), local.archive).verdicts())
    assert [verdict.findings for verdict in verdicts] == [()] * len(verdicts)


def test_an_honest_proposal_is_left_alone(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path, terms=WINDOW_TERMS)
    watchtower = add_watchtower(local)
    local.play(2)
    assert local.ledger.contract.call("credits", watchtower.account.address) == 0
    assert [local.history.rounds[n].refutations for n in (1, 2)] == [[], []]


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_a_spooled_vector_is_the_vector(bits: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(bits)
    lanes = rng.integers(-100, 100, 1000, f"int{bits}")
    with Spool(tmp_path) as spool:
        vector = spool.add(lanes)
        assert len(vector) == 1000
        assert merkle.root(vector, 32) == merkle.root(lanes, 32)
        assert vector[5:9].tolist() == lanes[5:9].tolist()
        assert vector[990:5000].tolist() == lanes[990:].tolist()
        with pytest.raises(IndexError):
            vector[::2]
    assert list(tmp_path.iterdir()) == []
