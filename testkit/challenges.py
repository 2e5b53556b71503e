"""Play forged and right proposals against one honest challenger, and measure what a challenge costs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from random import Random

import numpy as np

from bcfl.protocol import aggregation, merkle
from bcfl.protocol.challenges import Candidate, ChallengeContext, SumChallenge, lane_of, weights_digest
from bcfl.protocol.fixedpoint import lane_dtype
from bcfl.protocol.hashing import keccak
from bcfl.protocol.limits import TRANSACTION_BYTES, TRANSACTION_GAS
from bcfl.protocol.types import Rule, Tally, Terms
from bcfl.protocol.verification import tally_digest
from testkit.forged_proposals import (
    FORGERIES,
    Forgery,
    evidence,
    forge,
    hostile_challenge,
    random_terms,
    ruling,
)
from testkit.harness import CHALLENGED
from testkit.proposal_fixture import ProposalFixture

FORGED_CASES = 10_000  # cases of the campaign
NOBODY = "0x" + "00" * 20
ENVELOPE = 256  # bytes of a transaction around its calldata, at most


def forgery_of(number: int) -> tuple[Random, Forgery]:
    """Return the randomness and the kind of forgery of a case."""
    return Random(number), FORGERIES[number % len(FORGERIES)]


def on_the_twin(count: int) -> Counter[str]:
    """Count the forged proposals of each kind that are refuted; a survivor ends it."""
    counts: Counter[str] = Counter()
    for number in range(count):
        rng, forgery = forgery_of(number)
        wrong = forge(rng, forgery)
        challenge = wrong.find()
        if challenge is None or ruling(challenge, wrong.context) is not True:
            raise SystemExit(f"case {number}: {forgery.__name__} stands")
        counts[forgery.__name__] += 1
    return counts


def against_honest(count: int) -> Counter[str]:
    """Count the twin's rulings on hostile challenges of right proposals; one that is upheld ends it."""
    rulings: Counter[str] = Counter()
    for number in range(count):
        rng = Random(number)
        right = evidence(rng, random_terms(rng), rng.randint(1, 7))
        verdict = ruling(hostile_challenge(rng, right), right.context)
        if verdict is True or (number % 10 == 0 and right.find() is not None):
            raise SystemExit(f"case {number}: a right proposal was refuted")
        rulings["right there, bond lost" if verdict is False else str(verdict)] += 1
    return rulings


def on_the_contract(count: int, seed: int = 0) -> Counter[str]:
    """Play cases of the campaign, drawn at random, on the contract: each forgery, and a hostile challenge."""
    counts: Counter[str] = Counter()
    for number in Random(seed).sample(range(FORGED_CASES), count):
        rng, forgery = forgery_of(number)
        terms = random_terms(rng)
        fixture = ProposalFixture(terms)
        wrong = None
        while wrong is None:
            wrong = forgery(rng, evidence(rng, terms, rng.randint(1, 7), fixture.setting))
            forgery = FORGERIES[rng.randrange(len(FORGERIES))] if wrong is None else forgery
        challenge = wrong.find()
        fixture.put_proposal(wrong.context)
        if challenge is None or fixture.ruling(challenge) is not True:
            raise SystemExit(f"case {number}: {forgery.__name__} stands on the contract")
        evidence_ = evidence(rng, terms, rng.randint(1, 7), fixture.setting)
        fixture.put_proposal(evidence_.context)
        attack = hostile_challenge(rng, evidence_)
        verdict = fixture.ruling(attack)
        if verdict is True or verdict != ruling(attack, evidence_.context):
            raise SystemExit(f"case {number}: hostile challenge: {verdict}")
        counts[f"{Rule(terms.rule).name.lower()}, {terms.lane_bits} bits"] += 1
    return counts


@dataclass(frozen=True)
class Cost:
    """What one challenge took, once it was announced."""

    gas: int
    size: int  # bytes of the transaction

    @property
    def fits(self) -> bool:
        """Whether a node takes it."""
        return self.gas <= TRANSACTION_GAS and self.size <= TRANSACTION_BYTES


def terms_of(updates: int, parameters: int, leaf_lanes: int, lane_bits: int, rule: Rule) -> Terms:
    """Return the terms of a task of a size."""
    shift = {32: 0, 16: 8, 8: 16}[lane_bits]
    return replace(
        CHALLENGED, parameters=parameters, leaf_lanes=leaf_lanes, max_updates=updates, lane_bits=lane_bits,
        shift=shift, rule=rule,
    )  # fmt: skip


def lone_place(fixture: ProposalFixture, updates: int) -> tuple[ChallengeContext, SumChallenge]:
    """Forge a proposal of which one place exists: its leaves are real, the siblings up to the roots random.

    The contract checks what it would check of a whole tree, and no tree of 100,000,000 lanes is built.
    """
    terms, rng = fixture.terms, np.random.default_rng(updates)
    setting, depth = fixture.setting, merkle.depth(fixture.terms.parameters, fixture.terms.leaf_lanes)
    bounds = np.iinfo(lane_dtype(terms.lane_bits))
    table = rng.integers(bounds.min, bounds.max, (updates, terms.leaf_lanes), bounds.dtype, endpoint=True)
    samples = [int(item) for item in rng.integers(1, terms.max_samples, updates)]
    old = rng.integers(-(2**30), 2**30, terms.leaf_lanes, np.int32)
    delta = aggregation.aggregate(terms.rule, list(table), samples, terms.shift, terms.trim)
    new = aggregation.apply(old, delta)
    new[-1] ^= 1
    leaf, lane = merkle.leaves(terms.parameters, terms.leaf_lanes) // 2, terms.leaf_lanes - 1
    leaves = [b"\x00" + vector.astype(f">i{vector.itemsize}").tobytes() for vector in (table, old, new)]
    row, old_path, new_path = (tuple(rng.bytes(32) for _ in range(depth)) for _ in leaves)
    paths = zip(leaves, (row, old_path, new_path), strict=True)
    roots = [merkle.climb(keccak(content), leaf, path) for content, path in paths]
    points = tuple(rng.bytes(32) for _ in range(-(-updates // 32)))
    matches = (updates,) * len(setting.voters)
    tally = Tally(points, rng.bytes(32), setting.voters, matches, (1,) * updates, max(samples), sum(samples))
    candidate, accepted = (
        Candidate(roots[2], weights_digest(samples), roots[0]),
        tally_digest(tally),
    )
    digests = (candidate.digest(setting.round, accepted), roots[1], accepted)
    values = [
        lane_of(b"\x00" + bytes(row.tobytes()), lane, row.itemsize)
        for row in table.astype(table.dtype.newbyteorder(">"))
    ]
    low, high = aggregation.bounds(terms.rule, values, terms.trim) or (0, 0)
    proofs = (row, old_path, new_path)
    challenge = SumChallenge(
        candidate, tally, leaf, lane, low, high, tuple(samples), proofs, leaves[1], leaves[2], leaves[0]
    )
    return ChallengeContext(terms, setting.domain, setting.round, *digests), challenge


def cost(
    updates: int,
    parameters: int,
    leaf_lanes: int,
    lane_bits: int = 16,
    rule: Rule = Rule.MEAN,
    attesters: int = 3,
) -> Cost:
    """Measure the opening of a challenge of one lane of a proposal, attested by so many of five miners."""
    fixture = ProposalFixture(terms_of(updates, parameters, leaf_lanes, lane_bits, rule), 5)
    context, challenge = lone_place(fixture, updates)
    put_attested(fixture, context, attesters)
    return cost_of(fixture, challenge)


def put_attested(fixture: ProposalFixture, context: ChallengeContext, attesters: int) -> None:
    """Put a proposal that so many have attested, its author among them.

    The zero address holds something, as on every public chain; where it does not, the first refutation of the
    chain takes 25,000 gas more.
    """
    fixture.put_proposal(context, (1 << attesters) - 1)
    fixture.storage.put_balance(NOBODY, 1)


def cost_of(fixture: ProposalFixture, challenge: SumChallenge) -> Cost:
    """Measure the opening of a challenge of the proposal that was put."""
    receipt = fixture.send(challenge)
    assert any(event.name == "Refuted" for event in receipt.events)
    return Cost(receipt.gas_used, fixture.size(challenge) + ENVELOPE)
