"""Every role in every phase, absent, late, silent, back later: the round ends, and who stayed away pays."""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from bcfl.protocol.election import ranking
from bcfl.protocol.rounds import Round
from bcfl.protocol.types import Engine, Mode, Phase, VoidReason
from bcfl.roles.claims import claims
from bcfl.roles.device import Device
from bcfl.roles.miner import Miner
from bcfl.roles.moment import TURN_SECONDS, phase_seconds
from bcfl.roles.panel import Checks
from tests.absences import Manner, away
from tests.village import ETHER, TERMS, Village

STEPS = [Phase.COMMIT, Phase.REVEAL, Phase.VOTE, Phase.UNVEIL, Phase.TALLY, Phase.PROPOSE, Phase.ATTEST]
TIMED = [step for step in STEPS if step is not Phase.TALLY]
MINERS, DEVICES, COMMITTEE = 5, 4, 4
CHECKS = Checks(duplicate=False, quality=False, norm=False, split=False, direction=False)
STAKE = 20 * ETHER - 1  # nine penalties do not change its weight
Villages = dict[Engine, Village]


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
        made[engine] = Village(
            tmp_path_factory.mktemp(engine.name.lower()), devices=DEVICES, miners=miners, terms=terms,
            shared=miners if full else 0, stakes=(STAKE,) * miners,
        )  # fmt: skip
        for miner in made[engine].offices:  # what toy models look like to them is not what is tested here
            miner.ballots.verifier.checks = CHECKS
    return made


def line_of(village: Village) -> list[Miner]:
    """The miners that may vote in the running round, in the order in which they lead if all of them do."""
    history, current = village.history, village.history.current
    assert current is not None
    offices = {miner.account.address: miner for miner in village.offices}
    voters = {history.voter(member.account).word: member.account for member in history.electors()}
    scores = {int(account, 16): score for account, score in current.scores.items()}
    return [offices[voters[item]] for item in ranking(current.seed, list(voters), scores)]


def clerk_of(village: Village) -> Miner:
    """Who brings the openings of the running round, if everybody votes."""
    electors = [member.account for member in village.history.electors()]
    account = electors[max(village.history.rounds) % len(electors)]
    return next(miner for miner in village.offices if miner.account.address == account)


def cast(village: Village, role: str) -> Device | Miner:
    """Who has a role in the running round."""
    line, clerk = line_of(village), clerk_of(village)
    if role == "device":
        return village.homes[1]
    if role == "outsider":  # a miner that is not drawn into the committee
        return next(miner for miner in village.offices if miner not in line)
    return {"leader": line[0], "clerk": clerk}.get(role) or next(m for m in line[1:] if m is not clerk)


def roles_of(village: Village, party: Device | Miner) -> list[Device | Miner]:
    """Everything that its account does."""
    everybody: list[Device | Miner] = [*village.homes, *village.offices]
    return [each for each in everybody if each.account.address == party.account.address]


def misses(phase: Phase, manner: Manner, step: Phase) -> bool:
    """Whether somebody who is away from `phase` on is away in `step`."""
    return step is phase if manner is Manner.LATE else step >= phase


def limit(village: Village, played: Round) -> int:
    """The most seconds that a round may take: deadlines, more turns, the patience of whoever pushes on."""
    turns = 1 + len(played.skipped)
    seconds = [phase_seconds(step, village.terms) * (turns if step > Phase.TALLY else 1) for step in TIMED]
    return sum(seconds) + (3 + turns) * TURN_SECONDS * len(village.offices)


def earned(village: Village, account: str, played: Round) -> bool:
    """Whether a miner has something to claim of a round."""
    found = claims(village.history, village.ledger.domain, account, [played.number])
    return any(claim.as_miner for claim in found)


def check(village: Village, played: Round, gone: Device | Miner, phase: Phase, manner: Manner) -> None:
    """The round has ended as the protocol says of who was away."""
    me = gone.account.address
    assert (played.status, played.void) == ("finalized", None)
    assert (played.closed or 0) - played.opened <= limit(village, played)
    taken = {village.history.devices[item.update.device] for item in played.taken()}
    silenced = {me} if misses(phase, manner, Phase.COMMIT) or misses(phase, manner, Phase.REVEAL) else set()
    assert taken == {home.account.address for home in village.homes} - silenced
    voters = [vote.voter.account for vote in played.votes]
    promised = not misses(phase, manner, Phase.VOTE)
    due = [village.terms.vote_penalty] if promised and misses(phase, manner, Phase.UNVEIL) else []
    if isinstance(gone, Miner) and me in played.vote_commits:
        assert promised
        assert (me in voters) is not bool(due)
    elif isinstance(gone, Miner):
        due = []
    line = [voter.account for voter in played.line()]
    if line and me == line[0] and misses(phase, manner, Phase.PROPOSE):
        due = [village.terms.leader_penalty]
        assert played.skipped == [me]
        line = line[1:]
    if line:
        assert played.leader == line[0]
    assert played.penalties == [(me, amount) for amount in due]
    if isinstance(gone, Miner):
        assert earned(village, me, played) is (me in voters)


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
    village = villages[engine]
    gone = cast(village, role)
    with away(village, phase, manner, *roles_of(village, gone)):
        check(village, village.play(), gone, phase, manner)
        if manner is Manner.RETURNING:
            check(village, village.play(), gone, Phase.COMMIT, Manner.ABSENT)
            check_back(village, village.play(), gone)


def check_back(village: Village, played: Round, back: Device | Miner) -> None:
    """Who was away takes part again, as if nothing had been."""
    me = back.account.address
    assert (played.status, played.penalties, played.skipped) == ("finalized", [], [])
    assert len(played.taken()) == len(village.homes)
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
    terms: dict[str, int],
    phase: Phase,
    manner: Manner,
    reason: VoidReason,
    penalty: str,
) -> None:
    village = Village(tmp_path, miners=miners, stakes=(STAKE,) * miners, terms=replace(TERMS, **terms))
    gone = line_of(village)[0]
    with away(village, phase, manner, gone):
        played = village.play()
    assert played.void is reason
    assert (played.closed or 0) - played.opened <= limit(village, played)
    due = [] if penalty is None else [(gone.account.address, getattr(village.terms, penalty))]
    assert played.penalties == due
    assert village.play().status == "finalized"


@pytest.mark.parametrize(("absent", "outcome"), [(2, None), (3, VoidReason.FEW_UPDATES)])
def test_half_of_a_full_federation_is_away(tmp_path: Path, absent: int, outcome: VoidReason | None) -> None:
    terms = replace(TERMS, mode=Mode.FULL, engine=Engine.RESOURCE)
    village = Village(tmp_path, shared=4, terms=terms)
    gone = [role for home in village.homes[:absent] for role in roles_of(village, home)]
    with away(village, Phase.COMMIT, Manner.ABSENT, *gone):
        played = village.play()
    assert (played.void, played.penalties) == (outcome, [])
    again = village.play()
    assert (again.status, len(again.taken()), len(again.votes)) == ("finalized", 4, 4)
