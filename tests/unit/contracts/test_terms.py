"""terms.vy: the constructor refuses what no round could be carried to its end under."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from bcfl.protocol.types import Terms
from testkit.harness import TERMS, Federation, reverts

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
    ("terms: amount too large", {"challenge_bond": 2**128}),
    ("terms: phase length", {"answer_seconds": 0}),
    ("terms: proof of work", {"pow_target": 0}),
    ("terms: proof of work", {"pow_seconds": 0}),
    ("terms: proof of work", {"pow_seconds": 2**30 + 1}),
    ("terms: no updates", {"min_updates": 0}),
    ("terms: too few updates allowed", {"min_updates": 5, "max_updates": 4}),
    ("terms: too many updates", {"max_updates": 1025}),
    ("terms: no samples", {"max_samples": 0}),
    ("terms: too many samples", {"max_samples": 2**24, "max_updates": 2}),
    ("terms: too many samples", {"max_samples": 2**21, "max_updates": 1024}),
    ("terms: too many samples", {"max_samples": 2**256 - 1}),
    ("terms: time factor below one", {"time_factor": 9999}),
    *[
        ("terms: phase length", {f"{phase}_seconds": seconds})
        for phase in ("commit", "reveal", "vote", "unveil", "elect", "propose", "attest")
        for seconds in (0, 2**30 + 1)
    ],
    ("terms: phase length", {"grace": 2**30 + 1}),
    ("terms: window longer than its phase", {"challenge_seconds": 601}),
    ("terms: no stake", {"min_stake": 0}),
    ("terms: amount too large", {"min_stake": 2**128}),
    ("terms: amount too large", {"reward": 2**128}),
    ("terms: penalty above stake", {"vote_penalty": TERMS.min_stake + 1}),
    ("terms: penalty above stake", {"leader_penalty": TERMS.min_stake + 1}),
    ("terms: exit too late", {"exit_rounds": 2**16}),
    ("terms: shares above one", {"device_share": 10_001, "miner_share": 0}),
    ("terms: shares above one", {"device_share": 0, "miner_share": 10_001}),
    ("terms: shares above one", {"device_share": 7001, "miner_share": 3000}),
]
EDGES = [
    {"parameters": 1, "lane_bits": 8, "shift": 24, "leaf_lanes": 1024, "max_updates": 109},
    {"lane_bits": 16, "leaf_lanes": 48, "max_updates": 1024},
    {"parameters": 2**40 - 1, "lane_bits": 32, "shift": 0, "leaf_lanes": 8, "scale_bits": 31},
    {"rule": 2, "trim": 4999, "engine": 1, "pow_target": 1, "pow_seconds": 2**30},
    {"min_updates": 1024, "max_updates": 1024, "max_samples": 2**21 - 1, "time_factor": 10_000},
    {"max_updates": 64, "max_samples": 2**24 - 1, "grace": 2**30, "challenge_seconds": 600},
    {"commit_seconds": 2**30, "attest_seconds": 1, "challenge_seconds": 1},
    {"min_stake": 2**128 - 1, "reward": 2**128 - 1, "exit_rounds": 65_535},
    {"vote_penalty": TERMS.min_stake, "leader_penalty": 0, "device_share": 10_000, "miner_share": 0},
    {"device_share": 7000, "miner_share": 3000},
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
