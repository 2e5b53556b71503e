"""terms.vy: the constructor refuses what no round could be carried to its end under."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from bcfl.protocol.docket import longest_round
from bcfl.protocol.types import Terms
from testkit.harness import CHALLENGED, TERMS, Federation, reverts

LONGEST = 8 * 600  # seconds of a round with one turn
LONGEST_WITH_CHALLENGES = 7 * 600 + 1200 + 3 * 600  # and of a dispute about a tree of 32 leaves

REFUSALS = [
    ("terms: no parameters", {"parameters": 0}),
    ("terms: too many parameters", {"parameters": 2**40}),
    ("terms: scale too fine", {"scale_bits": 32}),
    ("terms: lanes of 8, 16 or 32 bits", {"lane_bits": 24}),
    ("terms: lanes of 8, 16 or 32 bits", {"lane_bits": 0}),
    ("terms: shift too large", {"lane_bits": 16, "shift": 17}),
    ("terms: shift too large", {"lane_bits": 32, "shift": 1}),
    ("terms: leaf size", {"leaf_lanes": 0}),
    ("terms: leaf size", {"leaf_lanes": 1040}),
    ("terms: leaf not of whole words", {"leaf_lanes": 24}),
    ("terms: a challenge would not fit", {"leaf_lanes": 64}),  # 1,024 rows of 132 bytes
    ("terms: a challenge would not fit", {"leaf_lanes": 1024, "lane_bits": 8, "max_updates": 110}),
    ("terms: unknown rule", {"rule": 3}),
    ("terms: trim too large", {"trim": 5000}),
    ("terms: unknown engine", {"engine": 4}),
    ("terms: unknown mode", {"mode": 3}),
    ("terms: committee size", {"committee_size": 0}),
    ("terms: committee size", {"committee_size": 65}),
    ("terms: proof of work", {"pow_target": 0}),
    ("terms: proof of work", {"pow_seconds": 0}),
    ("terms: proof of work", {"pow_seconds": 2**22 + 1}),
    ("terms: no updates", {"min_updates": 0}),
    ("terms: too few updates allowed", {"min_updates": 5, "max_updates": 4}),
    ("terms: too many updates", {"max_updates": 1025}),
    ("terms: no samples", {"max_samples": 0}),
    ("terms: too many samples", {"max_samples": 2**24, "max_updates": 2}),
    ("terms: too many samples", {"max_samples": 2**18, "max_updates": 1024}),
    ("terms: too many samples", {"max_samples": 2**256 - 1}),
    ("terms: time factor below one", {"time_factor": 9999}),
    ("terms: rate factor below one", {"rate_factor": 9999}),
    ("terms: rate factor too large", {"rate_factor": 2**32}),
    *[
        ("terms: phase length", {f"{phase}_seconds": seconds})
        for phase in ("commit", "reveal", "vote", "unveil", "elect", "propose", "attest", "answer", "tally")
        for seconds in (0, 2**22 + 1)
    ],
    ("terms: grace too long", {"grace": 301}),
    ("terms: too many blocks", {"min_blocks": 65}),
    ("terms: too few updates allowed", {"min_updates": 3, "max_updates": 4}),
    ("terms: exit rounds", {"exit_rounds": 0}),
    ("terms: exit rounds", {"exit_rounds": 2**16}),
    ("terms: exit before the last round is judged", {"exit_seconds": LONGEST - 1}),
    ("terms: exit too late", {"exit_seconds": 2**31}),
    ("terms: suspended within three rounds", {"absence_seconds": 3 * LONGEST - 1}),
    ("terms: never suspended", {"absence_seconds": 2**29}),
    ("terms: no stake", {"min_stake": 0}),
    ("terms: amount too large", {"min_stake": 2**96}),
    ("terms: stake below the reward", {"reward": TERMS.min_stake + 1}),
    ("terms: shares above one", {"device_share": 10_001, "miner_share": 0}),
    ("terms: shares above one", {"device_share": 0, "miner_share": 10_001}),
    ("terms: nothing left for the leader", {"device_share": 6501}),
    ("terms: price of absence", {"absence_penalty": 49}),
    ("terms: price of absence", {"absence_penalty": 501}),
    ("terms: penalty below what it deters", {"vote_penalty": TERMS.reward * 3 // 40 - 1}),
    ("terms: penalty above stake", {"vote_penalty": TERMS.min_stake + 1}),
    ("terms: penalty above stake", {"leader_penalty": TERMS.min_stake + 1}),
    ("terms: penalties above half of the stake", {"leader_penalty": TERMS.min_stake * 37 // 100 + 1}),
    ("terms: slash of attesters", {"attest_slash": 999}),
    ("terms: slash of attesters", {"attest_slash": 10_001}),
    ("terms: bond without challenges", {"challenge_bond": 1}),
]
EDGES = [
    {"parameters": 1, "lane_bits": 8, "shift": 24, "leaf_lanes": 1024, "max_updates": 109},
    {"lane_bits": 16, "leaf_lanes": 48, "max_updates": 1024},
    {"parameters": 2**40 - 1, "lane_bits": 32, "shift": 0, "leaf_lanes": 8, "scale_bits": 31},
    {"rule": 2, "trim": 4999, "engine": 1, "pow_target": 1, "pow_seconds": 2**22},
    {
        "min_updates": 1024,
        "max_updates": 1024,
        "max_samples": 2**18 - 1,
        "time_factor": 10_000,
        "rate_factor": 10_000,
    },
    {"min_updates": 3, "max_updates": 5, "max_samples": 2**24 - 1, "grace": 300, "min_blocks": 64},
    {"commit_seconds": 2**22, "attest_seconds": 1, "exit_seconds": 2**31 - 1, "absence_seconds": 2**29 - 1},
    {"exit_seconds": LONGEST, "absence_seconds": 3 * LONGEST, "exit_rounds": 1},
    {"min_stake": 2**96 - 1, "reward": 2**92, "vote_penalty": 2**92, "exit_rounds": 65_535},
    {"vote_penalty": TERMS.reward * 3 // 40, "device_share": 6500, "attest_slash": 1000},
    {"leader_penalty": TERMS.min_stake * 37 // 100, "absence_penalty": 100, "attest_slash": 10_000},
    {"absence_penalty": 500, "vote_penalty": TERMS.min_stake // 5},
]
# The same where proposals can be challenged: a window of 1,200 seconds, answers within 600, a bond of 0.1.
REFUSALS_WITH_CHALLENGES = [
    ("terms: window too short", {"challenge_seconds": 1199}),
    ("terms: window too short", {"challenge_seconds": 3, "propose_seconds": 1, "answer_seconds": 1}),
    ("terms: window longer than its phase", {"challenge_seconds": 1201}),
    ("terms: time to answer too short", {"answer_seconds": 599}),
    ("terms: time to answer too short", {"answer_seconds": 299, "propose_seconds": 200}),
    ("terms: bond out of proportion", {"challenge_bond": TERMS.min_stake // 50 - 1}),
    ("terms: bond out of proportion", {"challenge_bond": TERMS.min_stake // 8 + 1}),
    ("terms: bond out of proportion", {"challenge_bond": 0}),
    ("terms: exit before the last round is judged", {"exit_seconds": LONGEST_WITH_CHALLENGES - 1}),
    ("terms: suspended within three rounds", {"absence_seconds": 3 * LONGEST_WITH_CHALLENGES - 1}),
]
EDGES_WITH_CHALLENGES = [
    {"challenge_seconds": 4, "propose_seconds": 2, "answer_seconds": 2},
    {"answer_seconds": 300, "propose_seconds": 300},
    {"challenge_bond": TERMS.min_stake // 50},
    {"challenge_bond": TERMS.min_stake // 8},
    {"exit_seconds": LONGEST_WITH_CHALLENGES, "absence_seconds": 3 * LONGEST_WITH_CHALLENGES},
]


def test_default_behavior() -> None:
    assert Federation().contract.call("agreed") == tuple(
        getattr(TERMS, field.name) for field in fields(Terms)
    )


@pytest.mark.parametrize(("reason", "changes"), REFUSALS, ids=str)
def test_refused(reason: str, changes: dict[str, int]) -> None:
    with reverts(reason):
        Federation(terms=replace(TERMS, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("changes", EDGES, ids=str)
def test_taken_at_the_edge(changes: dict[str, int]) -> None:
    terms = replace(TERMS, **changes)  # type: ignore[arg-type]
    assert Federation(terms=terms).contract.call("agreed") == tuple(vars(terms).values())


@pytest.mark.parametrize(("reason", "changes"), REFUSALS_WITH_CHALLENGES, ids=str)
def test_refused_with_challenges(reason: str, changes: dict[str, int]) -> None:
    with reverts(reason):
        Federation(terms=replace(CHALLENGED, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("changes", EDGES_WITH_CHALLENGES, ids=str)
def test_taken_at_the_edge_with_challenges(changes: dict[str, int]) -> None:
    terms = replace(CHALLENGED, **changes)  # type: ignore[arg-type]
    assert Federation(terms=terms).contract.call("agreed") == tuple(vars(terms).values())


@pytest.mark.parametrize(
    "terms",
    [TERMS, CHALLENGED, replace(CHALLENGED, parameters=20)],
    ids=["without challenges", "with challenges", "a tree of one leaf"],
)
def test_the_longest_round_is_the_twins(terms: Terms) -> None:
    longest = longest_round(terms)
    Federation(terms=replace(terms, exit_seconds=longest))
    with reverts("terms: exit before the last round is judged"):
        Federation(terms=replace(terms, exit_seconds=longest - 1))
