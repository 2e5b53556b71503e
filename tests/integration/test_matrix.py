"""Every role in every phase is absent, late, silent or back later: the round ends, and absentees pay."""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from bcfl.protocol import turns
from bcfl.protocol.limits import BASIS_POINTS
from bcfl.protocol.rounds import Round
from bcfl.protocol.types import Engine, Mode, Phase, VoidReason
from bcfl.roles.background.claims import claims
from bcfl.roles.checks.pipeline import Checks
from bcfl.roles.common.snapshot import TURN_SECONDS, phase_seconds
from bcfl.roles.device.device import Device
from bcfl.roles.miner.miner import Miner
from tests.absences import Manner, away
from tests.local_federation import ETHER, TERMS, LocalFederation

STEPS = [Phase.COMMIT, Phase.REVEAL, Phase.VOTE, Phase.UNVEIL, Phase.TALLY, Phase.PROPOSE, Phase.ATTEST]
TIMED = [step for step in STEPS if step is not Phase.TALLY]
MINERS, DEVICES, COMMITTEE = 5, 4, 4
CHECKS = Checks(duplicate=False, quality=False, norm=False, clusters=False, direction=False)
SPELL = 3  # misses that have a price; a leader that is away keeps its turn, and may be away again
STAKE = 50 * ETHER - 1  # what the absent pay never leaves one miner with half of the weight
Federations = dict[Engine, LocalFederation]


@pytest.fixture(scope="module")
def federations(tmp_path_factory: pytest.TempPathFactory) -> Federations:
    """A federation for each engine, in which round follows round; that of the resource engine is `full`."""
    federations: Federations = {}
    for engine in Engine:
        full = engine is Engine.RESOURCE
        terms = replace(
            TERMS, engine=engine, committee_size=COMMITTEE, pow_target=2**255,
            mode=Mode.FULL if full else Mode.PARTIAL,
        )  # fmt: skip
        miners = DEVICES if full else MINERS
        federations[engine] = LocalFederation(
            tmp_path_factory.mktemp(engine.name.lower()), devices=DEVICES, miners=miners, terms=terms,
            dual_accounts=miners if full else 0, stakes=(STAKE,) * miners,
        )  # fmt: skip
        for miner in federations[engine].miner_parties:  # what toy models look like is not what is tested
            miner.voting.verifier.checks = CHECKS
        federations[engine].play()  # in which a committee is drawn
    return federations


def line_of(local: LocalFederation) -> list[Miner]:
    """The miners that may vote in the running round, in the order in which they lead if all of them do."""
    history, current = local.history, local.history.current
    assert current is not None
    miners = {miner.account.address: miner for miner in local.miner_parties}
    voters = {history.voter(member.account).index: member.account for member in history.electors()}
    shares = {
        seat: current.scores.get(account, history.voter(account).weight) for seat, account in voters.items()
    }
    line, credits = [], dict(history.credits)
    while shares:
        leader, credits = turns.take_turn(credits, shares)
        line.append(miners[voters[leader]])
        del shares[leader]
    return line


def batcher_of(local: LocalFederation) -> Miner:
    """Who brings the openings of the running round, if everybody votes."""
    electors = [member.account for member in local.history.electors()]
    account = electors[max(local.history.rounds) % len(electors)]
    return next(miner for miner in local.miner_parties if miner.account.address == account)


def party_of(local: LocalFederation, role: str) -> Device | Miner:
    """Who has a role in the running round."""
    line, batcher = line_of(local), batcher_of(local)
    if role == "device":
        return local.device_parties[1]
    if role == "outsider":  # a miner that is not drawn into the committee
        return next(miner for miner in local.miner_parties if miner not in line)
    return {"leader": line[0], "batcher": batcher}.get(role) or next(m for m in line[1:] if m is not batcher)


def roles_of(local: LocalFederation, party: Device | Miner) -> list[Device | Miner]:
    """Everything that its account does."""
    everybody: list[Device | Miner] = [*local.device_parties, *local.miner_parties]
    return [each for each in everybody if each.account.address == party.account.address]


def misses(phase: Phase, manner: Manner, step: Phase) -> bool:
    """Whether somebody who is away from `phase` on is away in `step`."""
    return step is phase if manner is Manner.LATE else step >= phase


def limit(local: LocalFederation, round_: Round) -> int:
    """The most seconds that a round may take: deadlines, more turns, the turns of who ends a phase."""
    turns = 1 + len(round_.skipped)
    seconds = [phase_seconds(step, local.terms) * (turns if step > Phase.TALLY else 1) for step in TIMED]
    return sum(seconds) + (3 + turns) * TURN_SECONDS * len(local.miner_parties)


def earned(local: LocalFederation, account: str, round_: Round) -> bool:
    """Whether a miner has something to claim of a round."""
    shares = claims(local.history, local.ledger.domain, account, [round_.number])
    return any(claim.as_miner for claim in shares)


def missed(local: LocalFederation, party: Device | Miner) -> int:
    """How many rounds of a spell a miner has missed by now; 0 of a device."""
    return (
        int(local.ledger.contract.call("rest", party.account.address)[0]) if isinstance(party, Miner) else 0
    )


def check(local: LocalFederation, absentee: Device | Miner, phase: Phase, manner: Manner) -> None:
    """Play a round that ends as the protocol says of who is away; the first misses of a spell cost."""
    account, misses_before = absentee.account.address, missed(local, absentee)
    round_ = local.play()
    assert (round_.status, round_.void) == ("finalized", None)
    assert (round_.closed or 0) - round_.opened <= limit(local, round_)
    participants = {local.history.devices[item.update.device] for item in round_.accepted_submissions()}
    missing = (
        {account} if misses(phase, manner, Phase.COMMIT) or misses(phase, manner, Phase.REVEAL) else set()
    )
    assert participants == {home.account.address for home in local.device_parties} - missing
    voters = [vote.voter.account for vote in round_.votes]
    penalties = []
    if isinstance(absentee, Miner) and account in (round_.committee or [account]) and account not in voters:
        assert misses(phase, manner, Phase.VOTE) or misses(phase, manner, Phase.UNVEIL)
        if misses_before < SPELL or account in round_.vote_commits:
            penalties = [price_of_absence(local, round_, account)]
    line = [voter.account for voter in round_.leader_order()]
    if line and account == line[0] and misses(phase, manner, Phase.PROPOSE):
        penalties = [local.terms.leader_penalty]
        assert round_.skipped == [account]
        line = line[1:]
    if line:
        assert round_.leader == line[0]
    assert round_.penalties == [(account, amount) for amount in penalties]
    if isinstance(absentee, Miner):
        assert earned(local, account, round_) is (account in voters)


def price_of_absence(local: LocalFederation, round_: Round, account: str) -> int:
    """What a miner pays that could vote and did not, from what its stake was."""
    stake = local.history.miners[account].stake + sum(
        paid for miner, paid in round_.penalties if miner == account
    )
    if account in round_.vote_commits:
        return local.terms.vote_penalty * (stake // local.terms.min_stake)
    return stake * local.terms.absence_penalty // BASIS_POINTS


ALL = [
    *product([Engine.STAKE], ["device"], [Phase.COMMIT, Phase.REVEAL], Manner),
    *product([Engine.STAKE], ["miner", "leader", "batcher"], STEPS, Manner),
    *product([Engine.COMMITTEE], ["miner", "leader", "batcher"], STEPS, Manner),
    *product([Engine.COMMITTEE], ["outsider"], [Phase.COMMIT, Phase.REVEAL], Manner),
    *product([Engine.POW], ["miner"], [Phase.UNVEIL, Phase.ELECT, Phase.ATTEST], Manner),
    *product([Engine.RESOURCE], ["miner", "leader"], STEPS, Manner),
]
# `make matrix` plays all of them; otherwise every role misses every phase in one manner, each in turn.
CELLS = ALL if os.environ.get("LIVENESS") == "all" else ALL[::5]


@pytest.mark.parametrize(
    ("engine", "role", "phase", "manner"),
    CELLS,
    ids=lambda value: value if isinstance(value, str) else str(value.name).lower(),
)
def test_who_is_away(
    federations: Federations, engine: Engine, role: str, phase: Phase, manner: Manner
) -> None:
    local = federations[engine]
    if role == "outsider" and local.history.current is not None and not local.history.current.committee:
        local.play()  # in which everybody votes
    absentee = party_of(local, role)
    with away(local, phase, manner, *roles_of(local, absentee)):
        check(local, absentee, phase, manner)
        if manner is Manner.RETURNING:
            check(local, absentee, Phase.COMMIT, Manner.ABSENT)
            check_back(local, local.play(), absentee)


def check_back(local: LocalFederation, round_: Round, party: Device | Miner) -> None:
    """Who was away takes part again, as if nothing had been."""
    account = party.account.address
    assert (round_.status, round_.penalties, round_.skipped) == ("finalized", [], [])
    assert len(round_.accepted_submissions()) == len(local.device_parties)
    if isinstance(party, Miner):
        assert account in round_.commits
        assert (account in [vote.voter.account for vote in round_.votes]) is (
            account in (round_.committee or [account])
        )


ONE = {"engine": Engine.COMMITTEE, "committee_size": 1}


@pytest.mark.parametrize(
    ("phase", "manner", "reason", "penalty"),
    [
        (Phase.VOTE, Manner.ABSENT, VoidReason.NO_VOTES, None),
        (Phase.UNVEIL, Manner.LATE, VoidReason.NO_QUORUM, None),  # nobody voted: nobody has missed anything
        (Phase.PROPOSE, Manner.LATE, VoidReason.NO_LEADER, "leader_penalty"),
    ],
)
@pytest.mark.parametrize(("miners", "terms"), [(4, ONE), (1, {})], ids=["committee of one", "single miner"])
def test_the_only_one_is_away(
    tmp_path: Path,
    miners: int,
    terms: dict[str, Any],
    phase: Phase,
    manner: Manner,
    reason: VoidReason,
    penalty: str | None,
) -> None:
    local = LocalFederation(tmp_path, miners=miners, stakes=(STAKE,) * miners, terms=replace(TERMS, **terms))
    local.play()  # in which everybody votes, and draws the committee
    absentee = line_of(local)[0]
    with away(local, phase, manner, absentee):
        round_ = local.play()
    assert round_.void is reason
    assert (round_.closed or 0) - round_.opened <= limit(local, round_)
    penalties = [] if penalty is None else [(absentee.account.address, getattr(local.terms, penalty))]
    assert round_.penalties == penalties
    assert local.play().status == "finalized"


@pytest.mark.parametrize(
    ("absent", "outcome", "payers"),
    [(1, None, 1), (2, VoidReason.NO_QUORUM, 2), (3, VoidReason.FEW_UPDATES, 0)],
)
def test_half_of_a_full_federation_is_away(
    tmp_path: Path, absent: int, outcome: VoidReason | None, payers: int
) -> None:
    terms = replace(TERMS, mode=Mode.FULL, engine=Engine.RESOURCE)
    local = LocalFederation(tmp_path, dual_accounts=4, terms=terms)
    absentees = [role for home in local.device_parties[:absent] for role in roles_of(local, home)]
    with away(local, Phase.COMMIT, Manner.ABSENT, *absentees):
        round_ = local.play()
    assert (round_.void, len(round_.penalties)) == (outcome, payers)
    next_round = local.play()
    assert (next_round.status, len(next_round.accepted_submissions()), len(next_round.votes)) == (
        "finalized",
        4,
        4,
    )
