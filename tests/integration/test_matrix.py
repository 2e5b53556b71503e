"""Every role in every phase, absent, late, silent, back later: the round ends, and who stayed away pays."""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from bcfl.protocol.election import ranking
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
STAKE = 20 * ETHER - 1  # nine penalties do not change its weight
Villages = dict[Engine, LocalFederation]


@pytest.fixture(scope="module")
def villages(tmp_path_factory: pytest.TempPathFactory) -> Villages:
    """A village for each engine, in which round follows round; the one that draws by resources is `full`."""
    made: Villages = {}
    for engine in Engine:
        full = engine is Engine.RESOURCE
        terms = replace(
            TERMS, engine=engine, committee_size=COMMITTEE, pow_target=2**255,
            mode=Mode.FULL if full else Mode.PARTIAL,
        )  # fmt: skip
        miners = DEVICES if full else MINERS
        made[engine] = LocalFederation(
            tmp_path_factory.mktemp(engine.name.lower()), devices=DEVICES, miners=miners, terms=terms,
            shared=miners if full else 0, stakes=(STAKE,) * miners,
        )  # fmt: skip
        for miner in made[engine].offices:  # what toy models look like to them is not what is tested here
            miner.voting.verifier.checks = CHECKS
    return made


def line_of(local: LocalFederation) -> list[Miner]:
    """The miners that may vote in the running round, in the order in which they lead if all of them do."""
    history, current = local.history, local.history.current
    assert current is not None
    offices = {miner.account.address: miner for miner in local.offices}
    voters = {history.voter(member.account).word: member.account for member in history.electors()}
    scores = {int(account, 16): score for account, score in current.scores.items()}
    return [offices[voters[item]] for item in ranking(current.seed, list(voters), scores)]


def batcher_of(local: LocalFederation) -> Miner:
    """Who brings the openings of the running round, if everybody votes."""
    electors = [member.account for member in local.history.electors()]
    account = electors[max(local.history.rounds) % len(electors)]
    return next(miner for miner in local.offices if miner.account.address == account)


def cast(local: LocalFederation, role: str) -> Device | Miner:
    """Who has a role in the running round."""
    line, batcher = line_of(local), batcher_of(local)
    if role == "device":
        return local.homes[1]
    if role == "outsider":  # a miner that is not drawn into the committee
        return next(miner for miner in local.offices if miner not in line)
    return {"leader": line[0], "clerk": batcher}.get(role) or next(m for m in line[1:] if m is not batcher)


def roles_of(local: LocalFederation, party: Device | Miner) -> list[Device | Miner]:
    """Everything that its account does."""
    everybody: list[Device | Miner] = [*local.homes, *local.offices]
    return [each for each in everybody if each.account.address == party.account.address]


def misses(phase: Phase, manner: Manner, step: Phase) -> bool:
    """Whether somebody who is away from `phase` on is away in `step`."""
    return step is phase if manner is Manner.LATE else step >= phase


def limit(local: LocalFederation, played: Round) -> int:
    """The most seconds that a round may take: deadlines, more turns, the patience of whoever pushes on."""
    turns = 1 + len(played.skipped)
    seconds = [phase_seconds(step, local.terms) * (turns if step > Phase.TALLY else 1) for step in TIMED]
    return sum(seconds) + (3 + turns) * TURN_SECONDS * len(local.offices)


def earned(local: LocalFederation, account: str, played: Round) -> bool:
    """Whether a miner has something to claim of a round."""
    found = claims(local.history, local.ledger.domain, account, [played.number])
    return any(claim.as_miner for claim in found)


def check(local: LocalFederation, played: Round, gone: Device | Miner, phase: Phase, manner: Manner) -> None:
    """The round has ended as the protocol says of who was away."""
    me = gone.account.address
    assert (played.status, played.void) == ("finalized", None)
    assert (played.closed or 0) - played.opened <= limit(local, played)
    taken = {local.history.devices[item.update.device] for item in played.accepted_submissions()}
    silenced = {me} if misses(phase, manner, Phase.COMMIT) or misses(phase, manner, Phase.REVEAL) else set()
    assert taken == {home.account.address for home in local.homes} - silenced
    voters = [vote.voter.account for vote in played.votes]
    promised = not misses(phase, manner, Phase.VOTE)
    due = [local.terms.vote_penalty] if promised and misses(phase, manner, Phase.UNVEIL) else []
    if isinstance(gone, Miner) and me in played.vote_commits:
        assert promised
        assert (me in voters) is not bool(due)
    elif isinstance(gone, Miner):
        due = []
    line = [voter.account for voter in played.leader_order()]
    if line and me == line[0] and misses(phase, manner, Phase.PROPOSE):
        due = [local.terms.leader_penalty]
        assert played.skipped == [me]
        line = line[1:]
    if line:
        assert played.leader == line[0]
    assert played.penalties == [(me, amount) for amount in due]
    if isinstance(gone, Miner):
        assert earned(local, me, played) is (me in voters)


ALL = [
    *product([Engine.STAKE], ["device"], [Phase.COMMIT, Phase.REVEAL], Manner),
    *product([Engine.STAKE], ["miner", "leader", "clerk"], STEPS, Manner),
    *product([Engine.COMMITTEE], ["miner", "leader", "clerk"], STEPS, Manner),
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
def test_who_is_away(villages: Villages, engine: Engine, role: str, phase: Phase, manner: Manner) -> None:
    local = villages[engine]
    gone = cast(local, role)
    with away(local, phase, manner, *roles_of(local, gone)):
        check(local, local.play(), gone, phase, manner)
        if manner is Manner.RETURNING:
            check(local, local.play(), gone, Phase.COMMIT, Manner.ABSENT)
            check_back(local, local.play(), gone)


def check_back(local: LocalFederation, played: Round, back: Device | Miner) -> None:
    """Who was away takes part again, as if nothing had been."""
    me = back.account.address
    assert (played.status, played.penalties, played.skipped) == ("finalized", [], [])
    assert len(played.accepted_submissions()) == len(local.homes)
    if isinstance(back, Miner):
        assert me in played.commits
        assert (me in [vote.voter.account for vote in played.votes]) is (me in (played.committee or [me]))


ONE = {"engine": Engine.COMMITTEE, "committee_size": 1}


@pytest.mark.parametrize(
    ("phase", "manner", "reason", "penalty"),
    [
        (Phase.VOTE, Manner.ABSENT, VoidReason.NO_VOTES, None),
        (Phase.UNVEIL, Manner.LATE, VoidReason.NO_QUORUM, "vote_penalty"),
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
    gone = line_of(local)[0]
    with away(local, phase, manner, gone):
        played = local.play()
    assert played.void is reason
    assert (played.closed or 0) - played.opened <= limit(local, played)
    due = [] if penalty is None else [(gone.account.address, getattr(local.terms, penalty))]
    assert played.penalties == due
    assert local.play().status == "finalized"


@pytest.mark.parametrize(("absent", "outcome"), [(2, None), (3, VoidReason.FEW_UPDATES)])
def test_half_of_a_full_federation_is_away(tmp_path: Path, absent: int, outcome: VoidReason | None) -> None:
    terms = replace(TERMS, mode=Mode.FULL, engine=Engine.RESOURCE)
    local = LocalFederation(tmp_path, shared=4, terms=terms)
    gone = [role for home in local.homes[:absent] for role in roles_of(local, home)]
    with away(local, Phase.COMMIT, Manner.ABSENT, *gone):
        played = local.play()
    assert (played.void, played.penalties) == (outcome, [])
    again = local.play()
    assert (again.status, len(again.accepted_submissions()), len(again.votes)) == ("finalized", 4, 4)
